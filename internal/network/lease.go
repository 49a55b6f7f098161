package network

import (
	"fmt"
	"net/netip"
)

// reserved returns the reserved range that an address is in, and whether there is one.
func (s Spec) reserved(address netip.Addr) (netip.Prefix, bool) {
	for _, p := range s.Reserved {
		if p.Contains(address) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// within says in words that an address is in a reserved range; empty if it is in none.
func (s Spec) within(address netip.Addr) string {
	p, reserved := s.reserved(address)
	if !reserved {
		return ""
	}
	return fmt.Sprintf("in %s, a range of the cluster's pods or services", p)
}

// lease returns what the client of a link was granted, or nil if that is nothing that the node may have. One that was refused is none, whatever is reserved by
// now: its client has let go of it.
func (s Spec) lease(clients map[string]*Lease, link string) *Lease {
	lease := clients[link]
	if lease == nil || lease.Refused {
		return nil
	}
	if _, reserved := s.reserved(lease.Address.Addr()); reserved {
		return nil
	}
	return lease
}

// refuseOps refuses the lease of a link if it is of a reserved address, once.
func refuseOps(spec Spec, link string, lease *Lease) []Op {
	if lease == nil || lease.Refused {
		return nil
	}
	if _, reserved := spec.reserved(lease.Address.Addr()); !reserved {
		return nil
	}
	return []Op{{Verb: RefuseLease, Link: link, Address: lease.Address}}
}

// refusal says in words why the lease of a link is not taken; empty if there is none, or nothing against it.
func refusal(spec Spec, link string, lease *Lease) string {
	if lease == nil {
		return ""
	}
	within := spec.within(lease.Address.Addr())
	if within == "" {
		return ""
	}
	return fmt.Sprintf("the DHCP server on %s leases %s, which is %s, and is refused: expected an address outside of podCIDR and serviceCIDR; "+
		"change what the server leases, or the ranges of a cluster that is not made yet; the node asks again each minute", link, lease.Address.Addr(), within)
}
