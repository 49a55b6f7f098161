package bpf

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/cyvive/cyvive/internal/service"
)

func at(protocol service.Protocol, text string) service.Address {
	return service.Address{AddrPort: netip.MustParseAddrPort(text), Protocol: protocol}
}

func TestAddressesGoThereAndBack(t *testing.T) {
	for _, a := range []service.Address{
		at(service.TCP, "10.96.0.1:443"), at(service.UDP, "[fd00::a]:53"), at(service.UDP, "255.255.255.255:65535"),
		service.Rest(netip.MustParseAddr("10.96.0.1")), service.Rest(netip.MustParseAddr("fd00::a")),
	} {
		if got := fromKernel(toKernel(a)); got != a {
			t.Errorf("got %s, want %s", got, a)
		}
	}
}

// TestStepsNeverMislead walks through random tables by random leftovers, and looks after each single step at what the programs would do: each
// service has old or new backends, and at the end there is the new table and nothing else.
func TestStepsNeverMislead(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	have := content{map[sockAddress]uint32{}, map[sockSlot]sockAddress{}}
	before := service.New(nil)
	for round := range 2000 {
		want := randomTable(rng)
		for _, s := range steps(have, want) {
			have.carryOut(s)
			have.check(t, before, want)
		}
		got, damaged := have.table()
		if !got.Equal(want) || damaged != 0 {
			t.Fatalf("round %d: %d damaged, got\n%swant\n%s", round, damaged, got, want)
		}
		if again := steps(have, want); len(again) != 0 {
			t.Fatalf("round %d: %d steps lead from a table to itself", round, len(again))
		}
		before = want
	}
}

func randomTable(rng *rand.Rand) *service.Table {
	entries := map[service.Address][]netip.AddrPort{}
	for range rng.IntN(4) {
		var backends []netip.AddrPort
		for range rng.IntN(5) {
			backends = append(backends, netip.MustParseAddrPort(fmt.Sprintf("10.244.0.%d:80", rng.IntN(8))))
		}
		entries[at(service.TCP, fmt.Sprintf("10.96.0.%d:80", rng.IntN(4)))] = backends
	}
	return service.New(entries)
}

// carryOut does to the content what carryOut of the objects does to the maps.
func (c content) carryOut(s step) {
	switch s.what {
	case putSlot:
		c.slots[s.slot] = s.backend
	case putService:
		c.counts[s.slot.Service] = s.count
	case dropService:
		delete(c.counts, s.slot.Service)
	case dropSlot:
		delete(c.slots, s.slot)
	}
}

// check chooses every slot that sock.c could, as it does.
func (c content) check(t *testing.T, before, after *service.Table) {
	t.Helper()
	for key, count := range c.counts {
		allowed := map[netip.AddrPort]bool{}
		for _, table := range []*service.Table{before, after} {
			list, _ := table.Backends(fromKernel(key))
			for _, b := range list {
				allowed[b] = true
			}
		}
		for i := range count {
			backend, ok := c.slots[sockSlot{Service: key, Index: i}]
			if !ok {
				t.Fatalf("%s has no slot %d of %d", fromKernel(key), i, count)
			}
			if to := fromKernel(backend).AddrPort; !allowed[to] {
				t.Fatalf("%s leads to %s, which is a backend neither before nor after", fromKernel(key), to)
			}
		}
	}
}

func TestDamageIsCounted(t *testing.T) {
	a, b := toKernel(at(service.TCP, "10.96.0.1:80")), toKernel(at(service.TCP, "10.96.0.2:80"))
	c := content{
		map[sockAddress]uint32{a: 1 << 31},
		map[sockSlot]sockAddress{{Service: a}: b, {Service: b}: a},
	}
	if _, damaged := c.table(); damaged == 0 {
		t.Error("a count without slots, and a slot without a service, pass for a table")
	}
	for _, s := range steps(c, service.New(nil)) {
		c.carryOut(s)
	}
	if len(c.counts)+len(c.slots) != 0 {
		t.Errorf("left behind: %v", c)
	}
}
