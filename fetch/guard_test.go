package fetch

import (
	"errors"
	"net/netip"
	"testing"
)

func prefixes(t testing.TB, list ...string) []netip.Prefix {
	t.Helper()
	out := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// The guard is called as the dialer would call it; no socket is involved.
func TestGuardRefusesWhatIsNotPublic(t *testing.T) {
	t.Parallel()
	g := newGuard(nil, false)
	for _, tc := range []struct {
		network, address string
		want             error
	}{
		{"tcp4", "1.1.1.1:80", nil},
		{"tcp4", "8.8.8.8:443", nil},
		{"tcp4", "172.15.255.255:80", nil},
		{"tcp4", "172.32.0.1:80", nil},
		{"tcp4", "100.63.255.255:443", nil},
		{"tcp4", "100.128.0.0:443", nil},
		{"tcp4", "223.255.255.255:80", nil},
		{"tcp6", "[2606:4700:4700::1111]:443", nil},
		{"tcp6", "[2a00:1450:4001::1]:80", nil},

		{"tcp4", "127.0.0.1:80", errAddress},
		{"tcp4", "127.255.255.254:443", errAddress},
		{"tcp4", "0.0.0.0:80", errAddress},
		{"tcp4", "0.1.2.3:80", errAddress},
		{"tcp4", "10.0.0.1:80", errAddress},
		{"tcp4", "172.16.0.1:80", errAddress},
		{"tcp4", "172.31.255.255:80", errAddress},
		{"tcp4", "192.168.1.1:80", errAddress},
		{"tcp4", "169.254.169.254:80", errAddress}, // AWS, Google Cloud, Azure and others
		{"tcp4", "169.254.170.2:80", errAddress},   // ECS task credentials
		{"tcp4", "100.64.0.1:80", errAddress},
		{"tcp4", "100.100.100.200:80", errAddress}, // Alibaba Cloud
		{"tcp4", "100.127.255.255:80", errAddress},
		{"tcp4", "192.0.0.192:80", errAddress}, // Oracle Cloud
		{"tcp4", "168.63.129.16:80", errAddress},
		{"tcp4", "192.0.2.1:80", errAddress},
		{"tcp4", "198.51.100.7:80", errAddress},
		{"tcp4", "203.0.113.7:80", errAddress},
		{"tcp4", "198.18.0.1:80", errAddress},
		{"tcp4", "224.0.0.1:80", errAddress},
		{"tcp4", "240.0.0.1:80", errAddress},
		{"tcp4", "255.255.255.255:80", errAddress},

		{"tcp6", "[::]:80", errAddress},
		{"tcp6", "[::1]:443", errAddress},
		{"tcp6", "[::ffff:10.0.0.1]:80", errAddress},
		{"tcp6", "[::ffff:127.0.0.1]:80", errAddress},
		{"tcp6", "[::ffff:169.254.169.254]:80", errAddress},
		{"tcp6", "[::ffff:1.1.1.1]:80", errAddress},
		{"tcp6", "[::10.0.0.1]:80", errAddress},
		{"tcp6", "[64:ff9b::10.0.0.1]:80", errAddress},
		{"tcp6", "[64:ff9b::1.1.1.1]:80", errAddress},
		{"tcp6", "[64:ff9b:1::a00:1]:80", errAddress},
		{"tcp6", "[2002:a00:1::]:80", errAddress},   // 6to4 of 10.0.0.1
		{"tcp6", "[2001:0:a00:1::]:80", errAddress}, // Teredo
		{"tcp6", "[2001:db8::1]:80", errAddress},
		{"tcp6", "[3fff::1]:80", errAddress},
		{"tcp6", "[fe80::1]:80", errAddress},
		{"tcp6", "[fe80::1%eth0]:80", errAddress},
		{"tcp6", "[2606:4700::1%eth0]:80", errAddress},
		{"tcp6", "[fc00::1]:80", errAddress},
		{"tcp6", "[fd00:ec2::254]:80", errAddress}, // AWS over IPv6
		{"tcp6", "[fec0::1]:80", errAddress},
		{"tcp6", "[ff02::1]:80", errAddress},
		{"tcp6", "[100::1]:80", errAddress},

		{"tcp4", "1.1.1.1:22", errPort},
		{"tcp4", "1.1.1.1:8080", errPort},
		{"tcp4", "1.1.1.1:0", errPort},
		{"tcp6", "[2606:4700:4700::1111]:25", errPort},
		{"tcp4", "10.0.0.1:6379", errAddress}, // the port of a refused address is not told

		{"udp4", "1.1.1.1:443", errAddress},
		{"tcp", "1.1.1.1:443", errAddress},
		{"unix", "/var/run/docker.sock", errAddress},
		{"tcp4", "1.1.1.1", errAddress},
		{"tcp4", "example.com:80", errAddress},
		{"tcp4", "", errAddress},
	} {
		err := g.control(tc.network, tc.address, nil)
		if !errors.Is(err, tc.want) || (tc.want == nil) != (err == nil) {
			t.Errorf("%s %s: got %v, want %v", tc.network, tc.address, err, tc.want)
		}
	}
}

func TestGuardOpensRanges(t *testing.T) {
	t.Parallel()
	allow := prefixes(t, "10.1.0.0/16", "192.168.7.9/32", "fd12::/16", "fe80::/10", "1.2.3.0/24")
	for _, tc := range []struct {
		network, address  string
		openly, onlyThese bool
	}{
		{"tcp4", "10.1.2.3:8080", true, true}, // any port
		{"tcp4", "10.1.2.3:1", true, true},
		{"tcp4", "192.168.7.9:9000", true, true},
		{"tcp4", "1.2.3.4:8443", true, true},
		{"tcp6", "[fd12::9]:5000", true, true},
		{"tcp6", "[fe80::1%eth0]:80", true, true},
		{"tcp4", "1.1.1.1:443", true, false},
		{"tcp6", "[2606:4700::1]:443", true, false},
		{"tcp4", "1.1.1.1:8080", false, false},
		{"tcp4", "10.2.0.1:80", false, false},
		{"tcp4", "192.168.7.10:80", false, false},
		{"tcp4", "127.0.0.1:80", false, false},
		{"tcp4", "169.254.169.254:80", false, false},
		{"tcp6", "[::ffff:10.1.2.3]:80", false, false},
		{"tcp6", "[64:ff9b::10.1.2.3]:80", false, false},
		{"udp4", "10.1.2.3:53", false, false},
	} {
		if got := newGuard(allow, false).control(tc.network, tc.address, nil) == nil; got != tc.openly {
			t.Errorf("%s %s: allowed %t, want %t", tc.network, tc.address, got, tc.openly)
		}
		if got := newGuard(allow, true).control(tc.network, tc.address, nil) == nil; got != tc.onlyThese {
			t.Errorf("only opened ranges: %s %s: allowed %t, want %t", tc.network, tc.address, got, tc.onlyThese)
		}
	}
}
