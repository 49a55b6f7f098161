package service

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func at(p Protocol, text string) Address {
	return Address{AddrPort: netip.MustParseAddrPort(text), Protocol: p}
}

func backends(texts ...string) (list []netip.AddrPort) {
	for _, t := range texts {
		list = append(list, netip.MustParseAddrPort(t))
	}
	return list
}

func TestTable(t *testing.T) {
	given := backends("10.244.0.7:80", "10.244.0.5:80", "10.244.0.7:80")
	a := New(map[Address][]netip.AddrPort{
		at(UDP, "10.96.0.10:53"): backends("10.244.0.2:1053"), at(TCP, "10.96.0.9:80"): given, Rest(netip.MustParseAddr("10.96.0.9")): nil,
	})
	given[0] = netip.MustParseAddrPort("192.0.2.1:1")
	want := "any 10.96.0.9:0 ->\ntcp 10.96.0.9:80 -> 10.244.0.5:80 10.244.0.7:80\nudp 10.96.0.10:53 -> 10.244.0.2:1053\n"
	if d := cmp.Diff(want, a.String()); d != "" || a.Len() != 3 {
		t.Errorf("table of %d (-want +got):\n%s", a.Len(), d)
	}
	if list, ok := a.Backends(at(TCP, "10.96.0.9:80")); !ok || len(list) != 2 {
		t.Errorf("backends: got %v %t", list, ok)
	}
	if _, ok := a.Backends(at(TCP, "10.96.0.9:81")); ok {
		t.Error("a port that nobody named has an entry")
	}
}

func TestEqualAndChanges(t *testing.T) {
	a := New(map[Address][]netip.AddrPort{at(TCP, "10.96.0.1:1"): backends("10.0.0.1:1", "10.0.0.2:1"), at(TCP, "10.96.0.2:1"): nil})
	same := New(map[Address][]netip.AddrPort{at(TCP, "10.96.0.1:1"): backends("10.0.0.2:1", "10.0.0.1:1"), at(TCP, "10.96.0.2:1"): {}})
	other := New(map[Address][]netip.AddrPort{at(TCP, "10.96.0.1:1"): backends("10.0.0.1:1"), at(UDP, "10.96.0.2:1"): nil})
	if !a.Equal(same) || len(a.Changes(same)) != 0 {
		t.Errorf("the same in another order: %v", a.Changes(same))
	}
	want := []Address{at(TCP, "10.96.0.1:1"), at(TCP, "10.96.0.2:1"), at(UDP, "10.96.0.2:1")}
	if d := cmp.Diff(want, a.Changes(other), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" || a.Equal(other) {
		t.Errorf("changes (-want +got):\n%s", d)
	}
	if a.Equal(nil) || !(*Table)(nil).Equal(nil) {
		t.Error("a nil table equals nil, and nothing else")
	}
}
