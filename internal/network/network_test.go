package network_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/networktest"
	"github.com/cyvive/cyvive/internal/service"
)

var (
	lease = network.Lease{
		Address: netip.MustParsePrefix("10.5.0.7/24"), Gateway: netip.MustParseAddr("10.5.0.1"),
		Nameservers: []netip.Addr{netip.MustParseAddr("10.5.0.1")}, Expires: time.Unix(1000, 0),
	}
	lease1 = network.Lease{Address: netip.MustParsePrefix("10.7.0.9/24"), Gateway: netip.MustParseAddr("10.7.0.1"), Expires: time.Unix(1000, 0)}
	byDHCP = network.Spec{Hostname: "node1", Links: []network.Link{{Name: network.First, DHCP: true}}}
)

func link(index int, name string, physical bool) network.LinkState {
	return network.LinkState{Index: index, Name: name, MAC: fmt.Sprintf("52:54:00:00:00:%02x", index), Physical: physical}
}

func hop(address string, metric int) network.NextHop {
	return network.NextHop{Address: netip.MustParseAddr(address), Metric: metric}
}

// with is a link with an address and default routes.
func with(l network.LinkState, address string, hops ...network.NextHop) network.LinkState {
	l.Addresses, l.Gateways = []netip.Prefix{netip.MustParsePrefix(address)}, hops
	return l
}

func TestDiffAndStatus(t *testing.T) {
	up := link(2, "eth0", true)
	up.Up, up.Carrier = true, true
	leased := up
	leased.Addresses, leased.Gateways = []netip.Prefix{lease.Address}, []network.NextHop{hop("10.5.0.1", 1)}
	static := network.Spec{Links: []network.Link{{
		Name: "52:54:00:00:00:02", Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}, Gateway: netip.MustParseAddr("10.5.0.1"),
	}}}
	renamed := network.Observed{Hostname: "node1", Resolver: true}
	other := link(3, "eth1", true)
	other.Up, other.Carrier = true, true
	two := network.Spec{Links: []network.Link{static.Links[0], {
		Name: "eth1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.0.2/24")}, Gateway: netip.MustParseAddr("10.7.0.1"),
	}}}
	left := with(other, "10.7.0.2/24", hop("10.7.0.1", 2))
	left.Own, left.Addresses = left.Addresses, append(slices.Clone(left.Addresses), netip.MustParsePrefix("10.8.0.1/24"))
	asking, pod := link(4, "eth2", true), with(link(5, "veth0", false), "10.244.0.1/32")
	asking.Up, pod.Up = true, true
	six := with(up, "10.5.0.2/24", hop("10.5.0.1", 1))
	six.Own = []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24"), netip.MustParsePrefix("fd00:5::2/64")}
	six.Addresses = append(slices.Clone(six.Own), netip.MustParsePrefix("2001:db8::5/64"))
	unknown := network.Spec{Links: byDHCP.Links, Keep: true}
	running := network.Observed{
		Resolver: true, Nameservers: []netip.Addr{netip.MustParseAddr("10.5.0.53")}, Unreachable: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
		Links: []network.LinkState{six, left},
	}
	running.Links[0].Gateways = []network.NextHop{hop("10.5.0.254", 1)}
	reserved := byDHCP
	reserved.Reserved = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.0.0.0/13")}
	refused := lease
	refused.Refused = true
	const isRefused = "the DHCP server on eth0 leases 10.5.0.7, which is in 10.0.0.0/13, a range of the cluster's pods or services, and is refused: " +
		"expected an address outside of podCIDR and serviceCIDR; change what the server leases, or the ranges of a cluster that is not made yet; " +
		"the node asks again each minute"
	answered := running
	answered.Clients = map[string]*network.Lease{"eth0": &lease}
	for _, test := range []struct {
		name   string
		spec   network.Spec
		obs    network.Observed
		want   []string
		reason string
	}{
		{"no link yet", byDHCP, renamed, nil, "waiting for a physical network link to appear"},
		{
			"named link is missing", static, network.Observed{Resolver: true}, nil,
			"waiting for network link 52:54:00:00:00:02 to appear",
		},
		{
			"virtual links are not the first", byDHCP,
			network.Observed{Hostname: "node1", Resolver: true, Links: []network.LinkState{link(1, "veth0", false), link(3, "eth1", true), link(2, "eth0", true)}},
			[]string{"set up eth0", "start DHCP on eth0"}, "link eth0 is down",
		},
		{
			"host name and resolver", byDHCP,
			network.Observed{Hostname: "(none)", Clients: map[string]*network.Lease{"eth0": nil}, Links: []network.LinkState{up}},
			[]string{"set host name node1", "set name servers []"}, "waiting for a DHCP server to answer on eth0",
		},
		{
			"lease won", byDHCP,
			network.Observed{Hostname: "node1", Resolver: true, Clients: map[string]*network.Lease{"eth0": &lease}, Links: []network.LinkState{up}},
			[]string{"add address to eth0 10.5.0.7/24", "add default route on eth0 via 10.5.0.1 metric 1", "set name servers [10.5.0.1]"},
			"0 of 1 addresses are set on eth0",
		},
		{
			"lease in place", byDHCP,
			network.Observed{
				Hostname: "node1", Resolver: true, Nameservers: lease.Nameservers,
				Clients: map[string]*network.Lease{"eth0": &lease}, Links: []network.LinkState{leased},
			}, nil, "",
		},
		{
			"an agent started anew keeps the old address and name servers until it knows better", byDHCP,
			network.Observed{
				Hostname: "node1", Resolver: true, Nameservers: lease.Nameservers,
				Clients: map[string]*network.Lease{"eth0": nil}, Links: []network.LinkState{leased},
			},
			nil, "waiting for a DHCP server to answer on eth0",
		},
		{
			"from DHCP to static", static,
			network.Observed{Resolver: true, Clients: map[string]*network.Lease{"eth0": &lease}, Links: []network.LinkState{leased}},
			[]string{"add address to eth0 10.5.0.2/24", "delete address from eth0 10.5.0.7/24", "stop DHCP on eth0"},
			"0 of 1 addresses are set on eth0",
		},
		{
			"no carrier", static,
			network.Observed{Resolver: true, Links: []network.LinkState{{
				Index: 2, Name: "eth0", MAC: "52:54:00:00:00:02", Up: true, Addresses: static.Links[0].Addresses, Gateways: []network.NextHop{hop("10.5.0.1", 1)},
			}}},
			nil, "link eth0 has no carrier (cable or peer)",
		},
		{
			"two links with a next hop each", two, network.Observed{Resolver: true, Links: []network.LinkState{up, other}},
			[]string{
				"add address to eth0 10.5.0.2/24", "add address to eth1 10.7.0.2/24",
				"add default route on eth0 via 10.5.0.1 metric 1", "add default route on eth1 via 10.7.0.1 metric 2",
			},
			"0 of 1 addresses are set on eth0; 0 of 1 addresses are set on eth1",
		},
		{
			"in another order", two,
			network.Observed{
				Resolver: true, Links: []network.LinkState{with(up, "10.5.0.2/24", hop("10.5.0.1", 2)), with(other, "10.7.0.2/24", hop("10.7.0.1", 1))},
			},
			[]string{
				"delete default route on eth0 via 10.5.0.1 metric 2", "delete default route on eth1 via 10.7.0.1 metric 1",
				"add default route on eth0 via 10.5.0.1 metric 1", "add default route on eth1 via 10.7.0.1 metric 2",
			}, "",
		},
		{
			"the route of an earlier lease makes room", network.Spec{Links: []network.Link{two.Links[1], {Name: "eth0", DHCP: true}}},
			network.Observed{
				Resolver: true, Clients: map[string]*network.Lease{"eth0": nil}, Links: []network.LinkState{leased, with(other, "10.7.0.2/24")},
			},
			[]string{
				"delete default route on eth0 via 10.5.0.1 metric 1",
				"add default route on eth1 via 10.7.0.1 metric 1", "add default route on eth0 via 10.5.0.1 metric 2",
			}, "waiting for a DHCP server to answer on eth0",
		},
		{
			"links that are not configured any longer, and those of others", static,
			network.Observed{
				Resolver: true, Clients: map[string]*network.Lease{"eth2": nil},
				Links: []network.LinkState{with(up, "10.5.0.2/24", hop("10.5.0.1", 1)), left, asking, pod},
			},
			[]string{"set down eth1", "delete address from eth1 10.7.0.2/24", "set down eth2", "stop DHCP on eth2"}, "",
		},
		{
			"an IPv6 address that is not configured any longer, and the kernel's own", static,
			network.Observed{Resolver: true, Links: []network.LinkState{six}}, []string{"delete address from eth0 fd00:5::2/64"}, "",
		},
		{
			"what a configuration wanted that is not known any more stays", unknown, running, []string{"start DHCP on eth0"},
			"waiting for a DHCP server to answer on eth0",
		},
		{
			"also when a DHCP server has answered", unknown, answered, []string{"add address to eth0 10.5.0.7/24"}, "0 of 1 addresses are set on eth0",
		},
		{
			"a lease in the cluster's ranges", reserved,
			network.Observed{Hostname: "node1", Resolver: true, Clients: map[string]*network.Lease{"eth0": &lease}, Links: []network.LinkState{up, pod}},
			[]string{"refuse lease on eth0 10.5.0.7/24"}, isRefused,
		},
		{
			"one that was taken before they were known", reserved,
			network.Observed{
				Hostname: "node1", Resolver: true, Nameservers: lease.Nameservers,
				Clients: map[string]*network.Lease{"eth0": &lease}, Links: []network.LinkState{leased, pod},
			},
			[]string{
				"refuse lease on eth0 10.5.0.7/24", "delete default route on eth0 via 10.5.0.1 metric 1", "delete address from eth0 10.5.0.7/24",
			}, isRefused,
		},
		{
			"it is refused once", reserved,
			network.Observed{Hostname: "node1", Resolver: true, Clients: map[string]*network.Lease{"eth0": &refused}, Links: []network.LinkState{up, pod}},
			nil, isRefused,
		},
		{
			"what was refused is not taken later either", byDHCP,
			network.Observed{Hostname: "node1", Resolver: true, Clients: map[string]*network.Lease{"eth0": &refused}, Links: []network.LinkState{up}},
			nil, "waiting for a DHCP server to answer on eth0",
		},
		{
			"without anything that could stay", unknown, network.Observed{Links: []network.LinkState{link(2, "eth0", true)}},
			[]string{"set up eth0", "start DHCP on eth0", "set name servers []"}, "link eth0 is down",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			domain := network.New(nil, nil, nil)
			var got []string
			for _, op := range domain.Diff(test.spec, test.obs) {
				got = append(got, op.String())
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("operations (-want +got):\n%s", d)
			}
			s := domain.Status(test.spec, test.obs)
			if s.Reason != test.reason || s.Ready != (test.reason == "") {
				t.Errorf("status: got %+v, want reason %q", s, test.reason)
			}
		})
	}
}

func TestServices(t *testing.T) {
	at := func(text string) service.Address {
		return service.Address{AddrPort: netip.MustParseAddrPort(text), Protocol: service.TCP}
	}
	two := service.New(map[service.Address][]netip.AddrPort{
		at("10.96.0.1:443"): {netip.MustParseAddrPort("10.5.0.2:6443")}, at("10.96.0.9:80"): nil,
	})
	kernel := &networktest.Services{}
	domain := network.New(&networktest.Host{}, &networktest.DHCP{}, kernel)
	step := func(what string, table *service.Table, want ...string) {
		t.Helper()
		spec := network.Spec{Services: table}
		obs, err := domain.Observe(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, op := range domain.Diff(spec, obs) {
			if err := domain.Apply(t.Context(), spec, op); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if op.Verb != network.SetNameservers {
				got = append(got, op.String())
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	step("not known", nil)
	step("known", two, "set services [tcp 10.96.0.1:443 has 1, tcp 10.96.0.9:80 has 0]", "attach services")
	step("twice is once", two)
	step("not known again", nil)
	kernel.Damage(2)
	step("damaged", two, "set services []")
	step("none", service.New(nil), "set services [tcp 10.96.0.1:443 gone, tcp 10.96.0.9:80 gone]")
	many := map[service.Address][]netip.AddrPort{}
	for i := range 6 {
		many[at(fmt.Sprintf("10.96.0.%d:80", i+1))] = nil
	}
	step("many", service.New(many), "set services [tcp 10.96.0.1:80 has 0, tcp 10.96.0.2:80 has 0, tcp 10.96.0.3:80 has 0, tcp 10.96.0.4:80 has 0, and 2 more]")

	// A kernel that cannot be read does not keep the links from being looked after, and the operation says why.
	kernel.Fail(errors.New("no such program type"))
	host := &networktest.Host{}
	domain = network.New(host, &networktest.DHCP{}, kernel)
	spec := network.Spec{Hostname: "node1", Services: two}
	obs, err := domain.Observe(t.Context(), spec)
	ops := domain.Diff(spec, obs)
	if err != nil || len(ops) < 2 || ops[0].Verb != network.SetHostname {
		t.Fatalf("services that cannot be read: %v, %v", ops, err)
	}
	if err := domain.Apply(t.Context(), spec, ops[len(ops)-1]); err == nil || !strings.Contains(err.Error(), "no such program type") {
		t.Errorf("got %v, want the reason", err)
	}
}

// TestRandomWalk goes through desired states, leases and failures in random order. After each step the host must be as a fresh one that was
// brought there directly.
func TestRandomWalk(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	specs := []network.Spec{
		byDHCP,
		{Links: []network.Link{{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}, Gateway: netip.MustParseAddr("10.5.0.1")}}},
		{Links: []network.Link{{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.3/24"), netip.MustParsePrefix("10.7.0.3/24")}}}},
		{Links: []network.Link{{Name: "eth0", DHCP: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.0.3/24")}}}, Nameservers: lease.Nameservers},
		{Links: []network.Link{
			{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24"), netip.MustParsePrefix("fd00:5::2/64")}},
			{Name: "eth1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}, Gateway: netip.MustParseAddr("10.0.0.2")},
		}},
		{Links: []network.Link{
			{Name: "eth1", DHCP: true},
			{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}, Gateway: netip.MustParseAddr("10.5.0.1")},
		}},
		{Links: []network.Link{{Name: "eth0", DHCP: true}, {Name: "eth1", DHCP: true}}},
		{Links: []network.Link{{Name: "eth1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24"), netip.MustParsePrefix("fd00:5::2/64")}}}},
		{
			Links:    []network.Link{{Name: "eth0", DHCP: true}, {Name: "eth1", DHCP: true}},
			Reserved: []netip.Prefix{netip.MustParsePrefix("10.7.0.0/16")},
		},
	}
	machine := func() (*networktest.Host, *networktest.DHCP, *network.Reconciler) {
		host, dhcp := &networktest.Host{}, &networktest.DHCP{}
		for i, name := range []string{"eth0", "eth1"} {
			host.AddLink(name, fmt.Sprintf("52:54:00:00:00:%02x", i+1), true)
			host.SetCarrier(name, true)
		}
		return host, dhcp, network.New(host, dhcp, &networktest.Services{})
	}
	bring := func(dhcp *networktest.DHCP, domain *network.Reconciler, spec network.Spec) {
		networktest.Converge(t, domain, spec)
		for _, l := range spec.Links {
			switch {
			case !l.DHCP:
			case l.Name == "eth1":
				dhcp.Grant("eth1", &lease1)
			default:
				dhcp.Grant("eth0", &lease)
			}
		}
		networktest.Converge(t, domain, spec)
	}
	host, dhcp, domain := machine()
	for range 200 {
		spec := specs[rng.IntN(len(specs))]
		spec.Hostname = "node1"
		bring(dhcp, domain, spec)
		fresh, freshDHCP, freshDomain := machine()
		bring(freshDHCP, freshDomain, spec)
		if d := cmp.Diff(sorted(fresh.String()), sorted(host.String())); d != "" {
			t.Fatalf("after %+v (-fresh +walked):\n%s", spec, d)
		}
	}
}

// sorted makes the order of addresses, which depends on the way, no difference.
func sorted(text string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		words := strings.Fields(strings.NewReplacer("[", " ", "]", " ").Replace(line))
		slices.Sort(words)
		lines = append(lines, strings.Join(words, " "))
	}
	return strings.Join(lines, "\n")
}
