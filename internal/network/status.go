package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Status is what others need to know of the network.
type Status struct {
	// Ready means that every link of the specification is there, has a carrier and has an address.
	Ready bool
	// Reason says in words what it waits for while not Ready.
	Reason string
	// Link is the name of the first link of the specification, once it is there.
	Link string
	// Addresses are those of the specified links, in their order, without addresses that are not the domain's.
	Addresses []netip.Prefix
	// TimeServers are those that DHCP names on the specified links, in their order.
	TimeServers []netip.Addr
	// ServicesAttached means that the kernel translates service addresses, by this program's version. It is false while there are none to
	// be translated.
	ServicesAttached bool
}

// Status sums up an observation.
func (r *Reconciler) Status(spec Spec, obs Observed) Status {
	s := Status{ServicesAttached: spec.Services != nil && obs.Services.Attached}
	var waits []string
	for _, link := range spec.Links {
		state, ok := find(link.Name, obs.Links)
		if !ok {
			waits = append(waits, missing(link.Name))
			continue
		}
		if s.Link == "" {
			s.Link = state.Name
		}
		lease := spec.lease(obs.Clients, state.Name)
		addresses, _ := wants(link, lease)
		if link.DHCP && lease != nil {
			s.TimeServers = append(s.TimeServers, lease.TimeServers...)
		}
		found := 0
		for _, a := range addresses {
			if slices.Contains(state.Addresses, a) {
				s.Addresses = append(s.Addresses, a)
				found++
			}
		}
		refused := refusal(spec, state.Name, obs.Clients[state.Name])
		if wait := linkWaits(link, state, refused, found, len(addresses)); wait != "" {
			waits = append(waits, wait)
		}
	}
	s.Reason = strings.Join(waits, "; ")
	s.Ready = s.Reason == "" && len(s.Addresses) > 0
	if !s.Ready && s.Reason == "" {
		s.Reason = "no link with an address is configured"
	}
	return s
}

func missing(name string) string {
	if name == First {
		return "waiting for a physical network link to appear"
	}
	return fmt.Sprintf("waiting for network link %s to appear", name)
}

// linkWaits says what one link waits for; refused is why its lease is not taken.
func linkWaits(link Link, state LinkState, refused string, found, wanted int) string {
	switch {
	case !state.Up:
		return fmt.Sprintf("link %s is down", state.Name)
	case !state.Carrier:
		return fmt.Sprintf("link %s has no carrier (cable or peer)", state.Name)
	case link.DHCP && refused != "":
		return refused
	case link.DHCP && wanted == len(link.Addresses):
		return fmt.Sprintf("waiting for a DHCP server to answer on %s", state.Name)
	case found < wanted:
		return fmt.Sprintf("%d of %d addresses are set on %s", found, wanted, state.Name)
	}
	return ""
}
