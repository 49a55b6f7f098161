package network_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/network"
)

// TestNameserversOfTwoLinks: an agent that is started again has one lease before the other, and leaves the servers of both until then.
func TestNameserversOfTwoLinks(t *testing.T) {
	servers := func(list ...string) (out []netip.Addr) {
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	second := lease1
	second.Nameservers = servers("10.7.0.1")
	eth0, eth1 := with(link(2, "eth0", true), "10.5.0.7/24", hop("10.5.0.1", 1)), with(link(3, "eth1", true), "10.7.0.9/24", hop("10.7.0.1", 2))
	eth0.Up, eth0.Carrier, eth1.Up, eth1.Carrier = true, true, true, true
	unplugged := eth1
	unplugged.Carrier = false
	spec := network.Spec{Links: []network.Link{{Name: "eth0", DHCP: true}, {Name: "eth1", DHCP: true}}}
	both := servers("10.5.0.1", "10.7.0.1")
	for _, test := range []struct {
		name          string
		eth1          network.LinkState
		first, second *network.Lease
		found         []netip.Addr
		want          []netip.Addr // nil leaves them
	}{
		{"no lease yet", eth1, nil, nil, both, nil},
		{"the first lease", eth1, &lease, nil, both, nil},
		{"the second lease", eth1, nil, &second, both, nil},
		{"both", eth1, &lease, &second, both, nil},
		{"both, and one has been in force", eth1, &lease, &second, servers("10.5.0.1"), both},
		{"the first lease, and there was none", eth1, &lease, nil, nil, servers("10.5.0.1")},
		{"the first lease names another", eth1, &lease, nil, servers("10.5.0.53", "10.7.0.1"), servers("10.5.0.1")},
		{"the second link is unplugged", unplugged, &lease, nil, both, servers("10.5.0.1")},
	} {
		obs := network.Observed{
			Resolver: true, Nameservers: test.found, Links: []network.LinkState{eth0, test.eth1},
			Clients: map[string]*network.Lease{"eth0": test.first, "eth1": test.second},
		}
		var got []netip.Addr
		ops := network.New(nil, nil, nil).Diff(spec, obs)
		if i := slices.IndexFunc(ops, func(op network.Op) bool { return op.Verb == network.SetNameservers }); i >= 0 {
			got = ops[i].Nameservers
		}
		if d := cmp.Diff(test.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, d)
		}
	}
}
