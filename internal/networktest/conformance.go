package networktest

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/network"
)

// Conformance runs the suite against a host that has two links of the given names with a carrier, down and without addresses. It leaves them
// up and configured.
func Conformance(t *testing.T, host network.Host, link, other string) {
	domain := network.New(host, &DHCP{}, &Services{})
	one := network.Spec{
		Links: []network.Link{{
			Name: link, Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}, Gateway: netip.MustParseAddr("10.5.0.1"),
		}},
		Nameservers: []netip.Addr{netip.MustParseAddr("10.5.0.53")},
	}
	t.Run("from nothing", func(t *testing.T) {
		Converge(t, domain, one)
		expectLink(t, host, link, one.Links[0].Addresses, []network.NextHop{hop(one.Links[0].Gateway, 1)})
	})
	t.Run("twice is once", func(t *testing.T) {
		if ops := diff(t, domain, one); len(ops) != 0 {
			t.Errorf("operations on a converged host: %v", ops)
		}
		for _, op := range []network.Op{
			{Verb: network.SetUp, Link: link},
			{Verb: network.AddAddress, Link: link, Address: one.Links[0].Addresses[0]},
			{Verb: network.AddGateway, Link: link, Gateway: hop(one.Links[0].Gateway, 1)},
			{Verb: network.DeleteAddress, Link: link, Address: netip.MustParsePrefix("10.9.9.9/24")},
			{Verb: network.DeleteGateway, Link: link, Gateway: hop(netip.MustParseAddr("10.5.0.99"), 1)},
		} {
			if err := domain.Apply(t.Context(), one, op); err != nil {
				t.Errorf("%s again: %v", op, err)
			}
		}
		expectLink(t, host, link, one.Links[0].Addresses, []network.NextHop{hop(one.Links[0].Gateway, 1)})
	})
	t.Run("change of address", func(t *testing.T) {
		two := one
		two.Links = []network.Link{{
			Name: link, Addresses: []netip.Prefix{netip.MustParsePrefix("10.6.0.2/16")}, Gateway: netip.MustParseAddr("10.6.0.1"),
		}}
		Converge(t, domain, two)
		expectLink(t, host, link, two.Links[0].Addresses, []network.NextHop{hop(two.Links[0].Gateway, 1)})
		if s := status(t, domain, two); !s.Ready || s.Link != link {
			t.Errorf("status after the change: %+v", s)
		}
	})
	t.Run("an address alone in its network", func(t *testing.T) {
		// As Google Cloud and Hetzner lease them.
		alone := one
		alone.Links = []network.Link{{
			Name: link, Addresses: []netip.Prefix{netip.MustParsePrefix("10.128.0.2/32")}, Gateway: netip.MustParseAddr("10.128.0.1"),
		}}
		Converge(t, domain, alone)
		expectLink(t, host, link, alone.Links[0].Addresses, []network.NextHop{hop(alone.Links[0].Gateway, 1)})
		Converge(t, domain, one)
		expectLink(t, host, link, one.Links[0].Addresses, []network.NextHop{hop(one.Links[0].Gateway, 1)})
	})
	t.Run("link that is not there", func(t *testing.T) {
		if err := host.SetUp(t.Context(), "absent0"); err == nil {
			t.Error("setting an absent link up succeeded")
		}
	})
	t.Run("unreachable ranges", func(t *testing.T) {
		for _, texts := range [][]string{{"10.96.0.0/12", "fd00:96::/108"}, {"10.96.0.0/12"}, {}, {"10.112.0.0/12"}} {
			three := one
			for _, text := range texts {
				three.Unreachable = append(three.Unreachable, netip.MustParsePrefix(text))
			}
			Converge(t, domain, three)
			got, err := host.Unreachable(t.Context())
			slices.SortFunc(got, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
			if err != nil || !slices.Equal(got, three.Unreachable) {
				t.Errorf("unreachable: got %v, %v, want %v", got, err, three.Unreachable)
			}
			for _, p := range three.Unreachable {
				if err := host.AddUnreachable(t.Context(), p); err != nil {
					t.Errorf("%s again: %v", p, err)
				}
			}
			if err := host.DeleteUnreachable(t.Context(), netip.MustParsePrefix("10.128.0.0/12")); err != nil {
				t.Errorf("a range that is none: %v", err)
			}
		}
		Converge(t, domain, one)
	})
	t.Run("name servers", func(t *testing.T) {
		got, ok, err := host.Nameservers()
		if err != nil || !ok || !slices.Equal(got, one.Nameservers) {
			t.Errorf("name servers: got %v %t %v, want %v", got, ok, err, one.Nameservers)
		}
	})
	t.Run("two links with a next hop each", func(t *testing.T) { twoHops(t, host, domain, one, other) })
	t.Run("what is not configured any longer", func(t *testing.T) { leave(t, host, domain, one, other) })
}

// leave takes IPv6 addresses from a link, and then the whole of another link.
func leave(t *testing.T, host network.Host, domain *network.Reconciler, one network.Spec, other string) {
	six := one
	six.Links = []network.Link{one.Links[0], {
		Name: other, Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.0.2/24"), netip.MustParsePrefix("fd00:7::2/64")},
	}}
	six.Links[0].Addresses = append(slices.Clone(six.Links[0].Addresses), netip.MustParsePrefix("fd00:5::2/64"))
	own := func(name string) []netip.Prefix {
		out := stateOf(t, host, name).Own
		slices.SortFunc(out, netip.Prefix.Compare)
		return out
	}
	expectOwn := func(want network.Spec) {
		t.Helper()
		for _, l := range want.Links {
			if got := own(l.Name); !slices.Equal(got, l.Addresses) {
				t.Errorf("the domain's addresses on %s: got %v, want %v", l.Name, got, l.Addresses)
			}
		}
	}
	Converge(t, domain, six)
	expectOwn(six)
	Converge(t, domain, one)
	expectOwn(one)
	expectLink(t, host, one.Links[0].Name, one.Links[0].Addresses, []network.NextHop{hop(one.Links[0].Gateway, 1)})
	if left := stateOf(t, host, other); left.Up || len(left.Addresses) > 0 || len(left.Gateways) > 0 {
		t.Errorf("left on %s: %+v", other, left)
	}
	Converge(t, domain, six)
	expectOwn(six)
}

// twoHops has a second link with a next hop, then another order of the two.
func twoHops(t *testing.T, host network.Host, domain *network.Reconciler, one network.Spec, other string) {
	two := one
	two.Links = []network.Link{one.Links[0], {
		Name: other, Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.0.2/24")}, Gateway: netip.MustParseAddr("10.7.0.1"),
	}}
	expect := func() {
		t.Helper()
		for i, l := range two.Links {
			expectLink(t, host, l.Name, l.Addresses, []network.NextHop{hop(l.Gateway, i+1)})
		}
	}
	Converge(t, domain, two)
	expect()
	slices.Reverse(two.Links)
	Converge(t, domain, two)
	expect()
	for name, taken := range map[string]network.NextHop{
		other: hop(netip.MustParseAddr("10.7.0.9"), 1), one.Links[0].Name: hop(one.Links[0].Gateway, 1),
	} {
		if err := host.AddGateway(t.Context(), name, taken); !errors.Is(err, fs.ErrExist) {
			t.Errorf("another default route in the place of one, on %s by %s: got %v", name, taken, err)
		}
	}
	expect()
}

func hop(address netip.Addr, metric int) network.NextHop {
	return network.NextHop{Address: address, Metric: metric}
}

// Converge applies operations until none is needed, and fails the test if that takes more than a few rounds.
func Converge(t *testing.T, domain *network.Reconciler, spec network.Spec) {
	t.Helper()
	for range 4 {
		ops := diff(t, domain, spec)
		if len(ops) == 0 {
			return
		}
		for _, op := range ops {
			if err := domain.Apply(t.Context(), spec, op); err != nil {
				t.Fatalf("%s: %v", op, err)
			}
		}
	}
	t.Fatalf("still to do: %v", diff(t, domain, spec))
}

func diff(t *testing.T, domain *network.Reconciler, spec network.Spec) []network.Op {
	t.Helper()
	obs, err := domain.Observe(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return domain.Diff(spec, obs)
}

func status(t *testing.T, domain *network.Reconciler, spec network.Spec) network.Status {
	t.Helper()
	obs, err := domain.Observe(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return domain.Status(spec, obs)
}

func stateOf(t *testing.T, host network.Host, name string) network.LinkState {
	t.Helper()
	links, err := host.Links(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(links, func(l network.LinkState) bool { return l.Name == name })
	if i < 0 {
		t.Fatalf("link %s is gone", name)
	}
	return links[i]
}

func expectLink(t *testing.T, host network.Host, name string, addresses []netip.Prefix, gateways []network.NextHop) {
	t.Helper()
	state := stateOf(t, host, name)
	if !state.Up {
		t.Errorf("link %s is down", name)
	}
	v4 := slices.DeleteFunc(state.Addresses, func(p netip.Prefix) bool { return !p.Addr().Is4() })
	compare := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if d := cmp.Diff(addresses, v4, compare); d != "" {
		t.Errorf("addresses of %s (-want +got):\n%s", name, d)
	}
	if !slices.Equal(state.Gateways, gateways) {
		t.Errorf("gateways of %s: got %v, want %v", name, state.Gateways, gateways)
	}
}
