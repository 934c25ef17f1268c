package fetch

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"code.dny.dev/ssrf"
)

// Reasons for which the guard refuses a dial.
var (
	errAddress = errors.New("address is not allowed")
	errPort    = errors.New("port is not allowed")
)

// azurePlatform is the one metadata service that answers on a public address: Azure's wire server.
// The others are link-local, shared address space or unique local and denied with their ranges.
var azurePlatform = netip.MustParsePrefix("168.63.129.16/32")

// guard decides which socket addresses may be dialled. Its control method belongs in net.Dialer.Control, where it
// sees the address that a name has resolved to, so that neither DNS rebinding nor a redirect gets past it.
type guard struct {
	allow  []netip.Prefix
	only   bool
	public *ssrf.Guardian
}

func newGuard(allow []netip.Prefix, only bool) *guard {
	return &guard{
		allow: slices.Clone(allow),
		only:  only,
		public: ssrf.New(
			ssrf.WithPorts(80, 443),
			ssrf.WithDeniedV4Prefixes(azurePlatform),
		),
	}
}

// control refuses a connection before its first packet. The signature is net.Dialer.Control's.
func (g *guard) control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: network %q", errAddress, network)
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", errAddress, err)
	}
	return g.check(target)
}

// check allows the opened ranges on any port and, unless only those are wanted, public addresses on ports 80 and 443.
// The opened ranges come first because the public guardian looks at the port before it looks at any range.
func (g *guard) check(target netip.AddrPort) error {
	if g.opened(target.Addr()) {
		return nil
	}
	if g.only {
		return fmt.Errorf("%w: %s is outside of the opened ranges", errAddress, target)
	}
	switch err := g.public.SafeAddrPort(target); {
	case err == nil:
		return nil
	case errors.Is(err, ssrf.ErrProhibitedPort):
		// A caller is told about the port only where the address would do: otherwise the two messages would
		// tell apart what lies behind one and the same firewall.
		if addrErr := g.public.SafeAddr(target.Addr()); addrErr != nil {
			return fmt.Errorf("%w: %w", errAddress, addrErr)
		}
		return fmt.Errorf("%w: %w", errPort, err)
	default:
		return fmt.Errorf("%w: %w", errAddress, err)
	}
}

// opened reports whether an address lies in one of the opened ranges. An IPv4 range does not cover IPv4 addresses
// written as IPv6: those stay refused, since no honest URL needs them.
func (g *guard) opened(addr netip.Addr) bool {
	addr = addr.WithZone("") // no range contains an address with a zone
	return slices.ContainsFunc(g.allow, func(p netip.Prefix) bool { return p.Contains(addr) })
}
