package network

import (
	"maps"
	"net/netip"
	"slices"
)

// allLinksOps begins with links that are to be left: an address may move from one of them to another link.
func allLinksOps(spec Spec, obs Observed) []Op {
	var ops, links, routes []Op
	named, leased := map[string]bool{}, map[string]bool{}
	for place, link := range spec.Links {
		state, ok := find(link.Name, obs.Links)
		if !ok {
			continue
		}
		named[state.Name] = true
		if link.DHCP {
			leased[state.Name] = true
		}
		own, later := linkOps(spec, link, place+1, state, obs.Clients)
		links, routes = append(links, own...), append(routes, later...)
	}
	for _, state := range obs.Links {
		if _, running := obs.Clients[state.Name]; !named[state.Name] {
			ops = append(ops, leaveOps(state, running)...)
		}
	}
	ops = append(ops, links...)
	for _, name := range slices.Sorted(maps.Keys(obs.Clients)) {
		if !leased[name] {
			ops = append(ops, Op{Verb: StopDHCP, Link: name})
		}
	}
	return append(ops, routes...)
}

// leaveOps takes back what the domain has done to a link; running says that it has a DHCP client there. The link goes down, or the kernel would go on
// to take addresses and routes from router advertisements on it. Its routes go with that.
func leaveOps(state LinkState, running bool) []Op {
	var ops []Op
	if state.Up && (running || len(state.Own) > 0 || len(state.Gateways) > 0) {
		ops = append(ops, Op{Verb: SetDown, Link: state.Name})
	}
	for _, a := range state.Own {
		ops = append(ops, Op{Verb: DeleteAddress, Link: state.Name, Address: a})
	}
	return ops
}

// linkOps puts the new address before the removal of an old one. The routes to be added are apart: they need the addresses, and the metrics that
// routes of other links give up.
func linkOps(spec Spec, link Link, metric int, state LinkState, clients map[string]*Lease) (ops, routes []Op) {
	if !state.Up {
		ops = append(ops, Op{Verb: SetUp, Link: state.Name})
	}
	granted, running := clients[state.Name]
	switch {
	case link.DHCP && !running:
		ops = append(ops, Op{Verb: StartDHCP, Link: state.Name})
	case link.DHCP:
		ops = append(ops, refuseOps(spec, state.Name, granted)...)
	}
	addresses, gateways := wants(link, spec.lease(clients, state.Name))
	for _, a := range addresses {
		if !slices.Contains(state.Addresses, a) {
			ops = append(ops, Op{Verb: AddAddress, Link: state.Name, Address: a})
		}
	}
	// A restarted agent finds the address of an earlier lease. It stays until the new client knows better, and so do connections.
	kept := link.DHCP && granted == nil
	if kept {
		gateways = nil
		for _, h := range state.Gateways {
			gateways = append(gateways, h.Address)
		}
	}
	var hops []NextHop
	for _, g := range gateways {
		hops = append(hops, NextHop{Address: g, Metric: metric})
	}
	for _, h := range state.Gateways {
		if !slices.Contains(hops, h) {
			ops = append(ops, Op{Verb: DeleteGateway, Link: state.Name, Gateway: h})
		}
	}
	for _, a := range state.Addresses {
		ours := slices.Contains(state.Own, a)
		if a.Addr().Is4() {
			ours = !kept
		}
		if ours && !slices.Contains(addresses, a) {
			ops = append(ops, Op{Verb: DeleteAddress, Link: state.Name, Address: a})
		}
	}
	for _, h := range hops {
		if !slices.Contains(state.Gateways, h) {
			routes = append(routes, Op{Verb: AddGateway, Link: state.Name, Gateway: h})
		}
	}
	return ops, routes
}

// wants returns the addresses and next hops of a link, with those of its lease if it has one. A static gateway beats the lease's.
func wants(link Link, lease *Lease) (addresses []netip.Prefix, gateways []netip.Addr) {
	addresses = slices.Clone(link.Addresses)
	if link.Gateway.IsValid() {
		gateways = append(gateways, link.Gateway)
	}
	if link.DHCP && lease != nil {
		if !slices.Contains(addresses, lease.Address) {
			addresses = append(addresses, lease.Address)
		}
		if lease.Gateway.IsValid() && len(gateways) == 0 {
			gateways = append(gateways, lease.Gateway)
		}
	}
	return addresses, gateways
}
