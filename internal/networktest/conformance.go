package networktest

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/network"
)

// Conformance runs the suite against a host that has a link of the given name with a carrier, down and without addresses. It leaves the
// link up and configured.
func Conformance(t *testing.T, host network.Host, link string) {
	domain := network.New(host, &DHCP{}, &Services{})
	one := network.Spec{
		Links: []network.Link{{
			Name: link, Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}, Gateway: netip.MustParseAddr("10.5.0.1"),
		}},
		Nameservers: []netip.Addr{netip.MustParseAddr("10.5.0.53")},
	}
	t.Run("from nothing", func(t *testing.T) {
		Converge(t, domain, one)
		expectLink(t, host, link, one.Links[0].Addresses, []netip.Addr{one.Links[0].Gateway})
	})
	t.Run("twice is once", func(t *testing.T) {
		if ops := diff(t, domain, one); len(ops) != 0 {
			t.Errorf("operations on a converged host: %v", ops)
		}
		for _, op := range []network.Op{
			{Verb: network.SetUp, Link: link},
			{Verb: network.AddAddress, Link: link, Address: one.Links[0].Addresses[0]},
			{Verb: network.AddGateway, Link: link, Gateway: one.Links[0].Gateway},
			{Verb: network.DeleteAddress, Link: link, Address: netip.MustParsePrefix("10.9.9.9/24")},
			{Verb: network.DeleteGateway, Link: link, Gateway: netip.MustParseAddr("10.5.0.99")},
		} {
			if err := domain.Apply(t.Context(), one, op); err != nil {
				t.Errorf("%s again: %v", op, err)
			}
		}
		expectLink(t, host, link, one.Links[0].Addresses, []netip.Addr{one.Links[0].Gateway})
	})
	t.Run("change of address", func(t *testing.T) {
		two := one
		two.Links = []network.Link{{
			Name: link, Addresses: []netip.Prefix{netip.MustParsePrefix("10.6.0.2/16")}, Gateway: netip.MustParseAddr("10.6.0.1"),
		}}
		Converge(t, domain, two)
		expectLink(t, host, link, two.Links[0].Addresses, []netip.Addr{two.Links[0].Gateway})
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
		expectLink(t, host, link, alone.Links[0].Addresses, []netip.Addr{alone.Links[0].Gateway})
		Converge(t, domain, one)
		expectLink(t, host, link, one.Links[0].Addresses, []netip.Addr{one.Links[0].Gateway})
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

func expectLink(t *testing.T, host network.Host, name string, addresses []netip.Prefix, gateways []netip.Addr) {
	t.Helper()
	links, err := host.Links(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(links, func(l network.LinkState) bool { return l.Name == name })
	if i < 0 {
		t.Fatalf("link %s is gone", name)
	}
	if !links[i].Up {
		t.Errorf("link %s is down", name)
	}
	v4 := slices.DeleteFunc(links[i].Addresses, func(p netip.Prefix) bool { return !p.Addr().Is4() })
	compare := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if d := cmp.Diff(addresses, v4, compare); d != "" {
		t.Errorf("addresses of %s (-want +got):\n%s", name, d)
	}
	if !slices.Equal(links[i].Gateways, gateways) {
		t.Errorf("gateways of %s: got %v, want %v", name, links[i].Gateways, gateways)
	}
}
