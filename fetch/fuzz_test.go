package fetch

import (
	"net/netip"
	"testing"
)

// FuzzGuard holds what the guard lets through against the standard library's idea of addresses that are not public, in
// every way in which an IPv4 address can be written into an IPv6 one.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{
		"127.0.0.1:80", "10.0.0.1:443", "169.254.169.254:80", "100.64.0.1:80", "1.1.1.1:80", "[::1]:80", "[::ffff:127.0.0.1]:443", "[64:ff9b::7f00:1]:80",
		"[2002:7f00:1::]:80", "[fe80::1%eth0]:80", "[::127.0.0.1]:80", "[2606:4700::1]:443", "0.0.0.0:80", "224.0.0.1:80", "1.1.1.1:22", "", "x", ":80",
	} {
		f.Add(s)
	}
	g := newGuard(nil, false)
	only := newGuard(prefixes(f, "192.168.7.0/24"), true)
	f.Fuzz(func(t *testing.T, address string) {
		err := g.control("tcp", address, nil)
		target, parseErr := netip.ParseAddrPort(address)
		if parseErr != nil {
			if err == nil {
				t.Fatalf("%q: let through, and is no address", address)
			}
			return
		}
		addr := target.Addr().Unmap()
		if err == nil {
			if addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified() {
				t.Errorf("%q: let through", address)
			}
			if p := target.Port(); p != 80 && p != 443 {
				t.Errorf("%q: let through to port %d", address, p)
			}
		}
		if only.control("tcp", address, nil) == nil && !netip.MustParsePrefix("192.168.7.0/24").Contains(addr) {
			t.Errorf("%q: let out of the range that is opened", address)
		}
	})
}
