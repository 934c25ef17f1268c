package handlers

import (
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// FuzzClient: whatever stands in the header, a stranger is who it is, and a trusted proxy's word is an address or nothing.
func FuzzClient(f *testing.F) {
	for _, s := range []string{"", "203.0.113.1", "203.0.113.1, 10.0.0.1", "[2001:db8::1]:80", "::ffff:10.0.0.1", "fe80::1%eth0", ",", "unknown", "10.0.0.2,10.0.0.3"} {
		f.Add(s)
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, header string) {
		request := func(peer string) *http.Request {
			return &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {header}, "X-Forwarded-Proto": {"https"}}}
		}
		stranger := request("198.51.100.7:1234")
		if got := client(stranger, trusted); got != netip.MustParseAddr("198.51.100.7") || len(stranger.Header) != 0 {
			t.Errorf("%q: a stranger became %v with %v", header, got, stranger.Header)
		}
		if got := client(request("10.0.0.1:1234"), trusted); !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Errorf("%q: a client of a proxy became %v", header, got)
		}
	})
}

// Addresses that have rested are forgotten before there are too many of them.
func TestClientsAreForgotten(t *testing.T) {
	t.Parallel()
	c := newClients(60)
	now := time.Unix(1_700_000_000, 0)
	addr := netip.MustParseAddr("10.0.0.0")
	for range maxClients {
		if err := c.admit(addr, now); err != nil {
			t.Fatal(err)
		}
		addr = addr.Next()
	}
	now = now.Add(time.Minute)
	if err := c.admit(addr, now); err != nil {
		t.Fatal(err)
	}
	if len(c.known) != 1 {
		t.Errorf("%d addresses are remembered after a minute's rest", len(c.known))
	}
}
