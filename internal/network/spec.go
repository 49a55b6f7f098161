package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/service"
)

// First, as the name of a link, is the first physical link by interface index.
const First = "first"

// Spec is the whole desired state of the host's network.
type Spec struct {
	// Hostname is left alone if empty.
	Hostname string
	// Links are in the order in which their default routes are used: the metric of a route is its link's place, from 1.
	Links []Link
	// Nameservers, if not empty, replace those learnt by DHCP.
	Nameservers []netip.Addr
	// Unreachable are ranges that nothing is ever sent to, such as that of service addresses: what is translated at the socket never has such a
	// destination, and all else would leave by the default route.
	Unreachable []netip.Prefix
	// Reserved are ranges that belong to others, such as the cluster's pods and services: a lease of an address in one of them is refused. Static addresses
	// are the configuration's own, which has none there.
	Reserved []netip.Prefix
	// Services are the cluster's service addresses. While they are nil, which is not known yet, what the kernel translates stays as it is.
	Services *service.Table
	// Keep says that what was wanted before is not known, and that this may be less: nothing is taken back that the domain, or an agent before this one, has set.
	Keep bool
}

// Link is the desired state of one link.
type Link struct {
	// Name is First, an interface name or a MAC address in lower case.
	Name      string
	DHCP      bool
	Addresses []netip.Prefix
	// Gateway is the next hop of the default route; the zero Addr means none of its own.
	Gateway netip.Addr
}

// NextHop is where a default route leads to.
type NextHop struct {
	Address netip.Addr
	// Metric is above 0. The kernel has one default route of a metric and an address family, and uses that of the lowest.
	Metric int
}

// String prints the next hop for logs and tests.
func (h NextHop) String() string { return fmt.Sprintf("%s metric %d", h.Address, h.Metric) }

// LinkState is one link as the kernel has it.
type LinkState struct {
	Index int
	Name  string
	// MAC is in lower case, with colons.
	MAC string
	// Physical says that the link is an Ethernet device and of no virtual kind (bridge, veth, …).
	Physical bool
	// Up is the administrative state; Carrier says that the link has a peer (IFF_LOWER_UP).
	Up, Carrier bool
	// Addresses are those of global scope, in the kernel's order.
	Addresses []netip.Prefix
	// Own are those of Addresses that this domain set.
	Own []netip.Prefix
	// Gateways are the next hops of the default routes that this domain set.
	Gateways []NextHop
}

// Lease is what a DHCP server granted.
type Lease struct {
	Address     netip.Prefix
	Gateway     netip.Addr
	Nameservers []netip.Addr
	// TimeServers are those of RFC 2132 section 8.3, option 42.
	TimeServers []netip.Addr
	// Expires is the end of the lease if no renewal succeeds.
	Expires time.Time
	// Refused is set by the client when it was told to: it has let go of the lease, and asks for another.
	Refused bool
}

// find returns the state of the link that name means.
func find(name string, links []LinkState) (LinkState, bool) {
	if name == First {
		var best LinkState
		for _, l := range links {
			if l.Physical && (best.Index == 0 || l.Index < best.Index) {
				best = l
			}
		}
		return best, best.Index != 0
	}
	i := slices.IndexFunc(links, func(l LinkState) bool { return l.Name == name || (strings.Contains(name, ":") && l.MAC == name) })
	if i < 0 {
		return LinkState{}, false
	}
	return links[i], true
}
