package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Caller is who talks to the node, by which of its addresses. Peer may be the zero Addr, which is not known.
type Caller struct{ Local, Peer netip.Addr }

// Cut says in words how a caller would lose a node that goes from one specification to another, or nothing if he would not, as far as can be told. What he
// would lose without the change too, such as the address of a lease that ended, is not its doing; nor is what is none of an observed link's, such as loopback.
// It is pure.
func Cut(from, to Spec, obs Observed, caller Caller) string {
	switch {
	case !isOfLink(obs, caller.Local) || !holds(from, obs, caller.Local):
		return ""
	case !holds(to, obs, caller.Local):
		return givesUp(to, obs, caller.Local)
	case reaches(from, obs, caller.Peer) && !reaches(to, obs, caller.Peer):
		return fmt.Sprintf("the node would have no route to %s, from where it is called: no link has a gateway%s", caller.Peer, absent(to, obs))
	}
	return ""
}

// Unlinked says in words that none of the links that a specification names is there, or that the lease by which the node is called would be refused while it
// has no other address, or nothing. Who does not call by an observed link does not need any.
func Unlinked(to Spec, obs Observed, caller Caller) string {
	if !isOfLink(obs, caller.Local) {
		return ""
	}
	there, addressed := false, false
	for _, link := range to.Links {
		if state, ok := find(link.Name, obs.Links); ok {
			addresses, _ := wants(link, to.lease(obs.Clients, state.Name))
			there, addressed = true, addressed || len(addresses) > 0
		}
	}
	_, reserved := to.reserved(caller.Local)
	switch {
	case !there:
		return "the node would be without a network" + absent(to, obs)
	case reserved && !addressed:
		return givesUp(to, obs, caller.Local)
	}
	return ""
}

// givesUp says in words that a specification takes an address from the node.
func givesUp(to Spec, obs Observed, address netip.Addr) string {
	text := fmt.Sprintf("the node would give up %s, by which it is reached", address)
	if within := to.within(address); within != "" {
		text += ": it is " + within
	}
	return text + absent(to, obs)
}

// absent names the links that are not there, and those that are.
func absent(spec Spec, obs Observed) string {
	var without, has []string
	for _, l := range spec.Links {
		if _, ok := find(l.Name, obs.Links); !ok {
			without = append(without, l.Name)
		}
	}
	if len(without) == 0 {
		return ""
	}
	for _, l := range obs.Links {
		if l.Physical {
			has = append(has, fmt.Sprintf("%s (%s)", l.Name, l.MAC))
		}
	}
	if len(has) == 0 {
		has = append(has, "none")
	}
	return fmt.Sprintf("; it has no link %s, its links are %s", strings.Join(without, ", "), strings.Join(has, ", "))
}

// isOfLink tells whether an address is on one of the links. One with a zone is link-local, and those are not observed.
func isOfLink(obs Observed, address netip.Addr) bool {
	return slices.ContainsFunc(obs.Links, func(l LinkState) bool { return l.bears(address) })
}

func (l LinkState) bears(address netip.Addr) bool {
	if zone := address.Zone(); zone != "" {
		return l.Name == zone
	}
	return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == address })
}

// holds tells whether an address stays that a link has. One that a DHCP server would have to grant first counts as lost, as it may be another one.
func holds(spec Spec, obs Observed, address netip.Addr) bool {
	is := func(p netip.Prefix) bool { return p.Addr() == address }
	named := map[string][]Link{}
	for _, link := range spec.Links {
		state, ok := find(link.Name, obs.Links)
		if !ok {
			continue
		}
		if slices.ContainsFunc(link.Addresses, is) {
			return true
		}
		named[state.Name] = append(named[state.Name], link)
	}
	for _, state := range obs.Links {
		if !state.bears(address) {
			continue
		}
		links, lease := named[state.Name], obs.Clients[state.Name]
		_, running := obs.Clients[state.Name]
		switch {
		case len(links) == 0:
			if spec.Keep || len(leaveOps(state, running)) == 0 {
				return true
			}
		case address.Is6() && !slices.ContainsFunc(state.Own, is):
			return true // the kernel has made it
		case address.Is4() && running && (lease == nil || is(lease.Address)):
			if _, reserved := spec.reserved(address); !reserved && slices.ContainsFunc(links, func(l Link) bool { return l.DHCP }) {
				return true
			}
		}
	}
	return false
}

// reaches tells whether there is a way to a peer: a network that it is in, or a default route. It may be that a lease brings one. Of IPv6, routes are the
// kernel's too, and are not known.
func reaches(spec Spec, obs Observed, peer netip.Addr) bool {
	if !peer.Is4() {
		return true
	}
	for _, link := range spec.Links {
		state, ok := find(link.Name, obs.Links)
		if !ok {
			continue
		}
		lease := spec.lease(obs.Clients, state.Name)
		if link.DHCP && lease == nil {
			return true
		}
		addresses, gateways := wants(link, lease)
		if slices.ContainsFunc(gateways, netip.Addr.Is4) || slices.ContainsFunc(addresses, func(p netip.Prefix) bool { return p.Contains(peer) }) {
			return true
		}
	}
	return spec.Keep || slices.ContainsFunc(obs.Links, func(l LinkState) bool {
		_, running := obs.Clients[l.Name]
		ours := isNamed(spec, obs, l) || len(leaveOps(l, running)) > 0
		return !ours && slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Contains(peer) })
	})
}

// isNamed tells whether a link is one that the specification names.
func isNamed(spec Spec, obs Observed, state LinkState) bool {
	return slices.ContainsFunc(spec.Links, func(l Link) bool {
		found, ok := find(l.Name, obs.Links)
		return ok && found.Name == state.Name
	})
}
