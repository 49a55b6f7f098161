package network_test

import (
	"net/netip"
	"testing"

	"github.com/cyvive/cyvive/internal/network"
)

// TestCut: who would lose the node by another specification is told so, and who would not, or would have lost it anyway, is not.
func TestCut(t *testing.T) {
	up := func(l network.LinkState) network.LinkState {
		l.Up, l.Carrier = true, true
		return l
	}
	eth0 := up(with(link(2, "eth0", true), "10.5.0.7/24", hop("10.5.0.1", 1)))
	eth0.Own = eth0.Addresses
	links := []network.LinkState{eth0, up(link(3, "eth1", true))}
	leased := network.Observed{Links: links, Clients: map[string]*network.Lease{"eth0": &lease}}
	waiting := network.Observed{Links: links, Clients: map[string]*network.Lease{"eth0": nil}}
	another := network.Observed{Links: links, Clients: map[string]*network.Lease{"eth0": &lease1}}
	static := network.Observed{Links: links}
	named := func(links ...network.Link) network.Spec { return network.Spec{Links: links} }
	dhcp := func(name string) network.Link { return network.Link{Name: name, DHCP: true} }
	fixed := func(name, address, gateway string) network.Link {
		l := network.Link{Name: name, Addresses: []netip.Prefix{netip.MustParsePrefix(address)}}
		if gateway != "" {
			l.Gateway = netip.MustParseAddr(gateway)
		}
		return l
	}
	kept := func(spec network.Spec) network.Spec {
		spec.Reserved = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/13")}
		return spec
	}
	const (
		taken  = ": it is in 10.0.0.0/13, a range of the cluster's pods or services"
		gives  = "the node would give up 10.5.0.7, by which it is reached"
		misses = "; it has no link eht0, its links are eth0 (52:54:00:00:00:02), eth1 (52:54:00:00:00:03)"
	)
	for _, test := range []struct {
		name        string
		from, to    network.Spec
		obs         network.Observed
		local, peer string
		want        string
	}{
		{"a misspelt link", byDHCP, named(dhcp("eht0")), leased, "10.5.0.7", "10.5.0.2", gives + misses},
		{"a misspelt link while the lease is renewed", byDHCP, named(dhcp("eht0")), waiting, "10.5.0.7", "10.5.0.2", gives + misses},
		{"a misspelt link beside a right one", byDHCP, named(dhcp("eth0"), dhcp("eht0")), leased, "10.5.0.7", "10.5.0.2", ""},
		{"the link by its name", byDHCP, named(dhcp("eth0")), leased, "10.5.0.7", "192.0.2.1", ""},
		{"the link by its MAC address", byDHCP, named(dhcp("52:54:00:00:00:02")), waiting, "10.5.0.7", "192.0.2.1", ""},
		{"another link", byDHCP, named(dhcp("eth1")), leased, "10.5.0.7", "10.5.0.2", gives},
		{"no link", byDHCP, named(), leased, "10.5.0.7", "10.5.0.2", gives},
		{"another address", byDHCP, named(fixed("first", "10.5.0.9/24", "10.5.0.1")), leased, "10.5.0.7", "10.5.0.2", gives},
		{"the address of the lease", byDHCP, named(fixed("eth0", "10.5.0.7/24", "10.5.0.1")), leased, "10.5.0.7", "192.0.2.1", ""},
		{
			"no gateway any more", byDHCP, named(fixed("eth0", "10.5.0.7/24", "")), leased, "10.5.0.7", "192.0.2.1",
			"the node would have no route to 192.0.2.1, from where it is called: no link has a gateway",
		},
		{"no gateway any more, and none is needed", byDHCP, named(fixed("eth0", "10.5.0.7/24", "")), leased, "10.5.0.7", "10.5.0.2", ""},
		{"no gateway, as before", named(fixed("eth0", "10.5.0.7/24", "")), named(fixed("first", "10.5.0.7/24", "")), static, "10.5.0.7", "192.0.2.1", ""},
		{"an address that DHCP may not give", named(fixed("eth0", "10.5.0.7/24", "10.5.0.1")), named(dhcp("eth0")), static, "10.5.0.7", "10.5.0.2", gives},
		{"the address moves to another link", byDHCP, named(fixed("eth1", "10.5.0.7/24", "10.5.0.1")), leased, "10.5.0.7", "192.0.2.1", ""},
		{"an address that goes anyway", byDHCP, named(dhcp("eht0")), another, "10.5.0.7", "10.5.0.2", ""},
		{"a lease in ranges of the cluster", byDHCP, kept(byDHCP), leased, "10.5.0.7", "10.5.0.2", gives + taken},
		{"a lease that is waited for, in ranges of the cluster", byDHCP, kept(byDHCP), waiting, "10.5.0.7", "10.5.0.2", gives + taken},
		{"from the node itself", byDHCP, named(dhcp("eht0")), leased, "127.0.0.1", "127.0.0.1", ""},
		{
			"a link-local address", byDHCP, named(dhcp("eht0")), leased, "fe80::1%eth0", "fe80::2%eth0",
			"the node would give up fe80::1%eth0, by which it is reached" + misses,
		},
		{"a link-local address that stays", byDHCP, named(fixed("eth0", "10.5.0.9/24", "")), leased, "fe80::1%eth0", "fe80::2%eth0", ""},
	} {
		caller := network.Caller{Local: netip.MustParseAddr(test.local), Peer: netip.MustParseAddr(test.peer)}
		if got := network.Cut(test.from, test.to, test.obs, caller); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	caller := network.Caller{Local: netip.MustParseAddr("10.5.0.7")}
	for want, spec := range map[string]network.Spec{
		"the node would be without a network" + misses: named(dhcp("eht0")),
		"the node would be without a network":          named(),
		"":                                             named(dhcp("eht0"), fixed("eth1", "10.7.0.2/24", "")),
		gives + taken:                                  kept(named(dhcp("eth0"))),
	} {
		if got := network.Unlinked(spec, leased, caller); got != want {
			t.Errorf("links %v: got %q, want %q", spec.Links, got, want)
		}
	}
	if got := network.Unlinked(kept(named(dhcp("eth0"), fixed("eth1", "192.0.2.7/24", ""))), leased, caller); got != "" {
		t.Errorf("a lease in ranges of the cluster, and an address beside it: got %q", got)
	}
	if got := network.Unlinked(named(), leased, network.Caller{Local: netip.IPv6Loopback()}); got != "" {
		t.Errorf("from the node itself: got %q", got)
	}
}
