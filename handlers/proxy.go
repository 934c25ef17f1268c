package handlers

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// What a proxy says about the client it speaks for. From anybody else it is a lie at worst, so it is taken away before
// anything looks at it.
var forwarded = []string{
	"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Real-Ip", "Forwarded",
}

// client is the address of the client of a request: the nearest one that is no trusted proxy. The invalid address
// where there is none. What a stranger says of itself is removed from the header.
func client(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer := parseAddr(r.RemoteAddr)
	if !isTrusted(peer, trusted) {
		for _, name := range forwarded {
			r.Header.Del(name)
		}
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr := parseAddr(strings.TrimSpace(hop))
		if !addr.IsValid() {
			return peer // what stands before a hop that nobody can read was said by nobody we know
		}
		peer = addr
		if !isTrusted(addr, trusted) {
			break
		}
	}
	return peer
}

// parseAddr reads an address with or without a port, without its zone.
func parseAddr(s string) netip.Addr {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
