// Package discover says which addresses to ask where nodes are looked for.
package discover

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
)

// Max is how many addresses are asked at most.
const Max = 4096

// maxLocal is how many addresses a network of this machine has at most to be asked without being named.
const maxLocal = 1024

// Target is one address.
type Target struct {
	// Address is HOST:PORT.
	Address string
	// Named says that it was given by itself, and not as a part of a network.
	Named bool
}

// Targets are the addresses that arguments mean, each once: HOST, HOST:PORT, or a network such as 10.5.0.0/24, whose own address and broadcast address
// are left out.
func Targets(args []string) ([]Target, error) {
	var all []Target
	seen := map[string]bool{}
	for _, arg := range args {
		some, err := targets(arg, Max-len(all))
		if err != nil {
			return nil, err
		}
		for _, t := range some {
			if !seen[t.Address] {
				seen[t.Address] = true
				all = append(all, t)
			}
		}
	}
	return all, nil
}

func targets(arg string, room int) ([]Target, error) {
	if !strings.Contains(arg, "/") {
		address, err := contexts.Address(arg)
		if err != nil {
			return nil, err
		}
		if room < 1 {
			return nil, fmt.Errorf("more than %d addresses are too many: ask for fewer at once", Max)
		}
		return []Target{{address, true}}, nil
	}
	p, err := netip.ParsePrefix(arg)
	if err != nil || p.Addr().Is4In6() {
		return nil, fmt.Errorf("address %q: expected HOST, HOST:PORT or a network such as 10.5.0.0/24", arg)
	}
	p = p.Masked()
	if size(p) > room {
		return nil, fmt.Errorf("the network %s has too many addresses: %d are asked at most, which is a /20 of IPv4 or a /116 of IPv6", p, Max)
	}
	var out []Target
	for a, last := p.Addr(), lastOf(p); ; a = a.Next() {
		if ends := a.Is4() && p.Bits() < 31 && (a == p.Addr() || a == last); !ends {
			out = append(out, Target{net.JoinHostPort(a.String(), contexts.DefaultPort), false})
		}
		if a == last {
			return out, nil
		}
	}
}

// size is how many addresses a network has, or more than any limit.
func size(p netip.Prefix) int {
	bits := p.Addr().BitLen() - p.Bits()
	if bits > 20 {
		return 1 << 20
	}
	return 1 << bits
}

func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for i := p.Bits(); i < len(raw)*8; i++ {
		raw[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(raw) // it has an address's length
	return last
}

// Local are the networks among the addresses of this machine that may be asked without being named: of IPv4, private, and not large.
func Local(addresses []net.Addr) []string {
	var out []string
	seen := map[netip.Prefix]bool{}
	for _, a := range addresses {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().Is4() || !p.Addr().IsPrivate() || size(p) > maxLocal || seen[p.Masked()] {
			continue
		}
		seen[p.Masked()] = true
		out = append(out, p.Masked().String())
	}
	return out
}
