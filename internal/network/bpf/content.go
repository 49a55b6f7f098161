package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/cyvive/cyvive/internal/service"
)

// content is what the maps hold, whether it makes sense or not.
type content struct {
	// counts are the backends of each service, slots the backends themselves.
	counts map[sockAddress]uint32
	slots  map[sockSlot]sockAddress
}

// batch is how many entries one system call reads.
const batch = 4096

func (o *sockObjects) read() (content, error) {
	services, err := entries[sockAddress, sockService](o.Services)
	if err != nil {
		return content{}, fmt.Errorf("read map services: %w", err)
	}
	c := content{counts: make(map[sockAddress]uint32, len(services))}
	for at, s := range services {
		c.counts[at] = s.Backends
	}
	if c.slots, err = entries[sockSlot, sockAddress](o.Slots); err != nil {
		return content{}, fmt.Errorf("read map slots: %w", err)
	}
	return c, nil
}

// entries reads a whole map (BPF_MAP_LOOKUP_BATCH, Linux 5.6).
func entries[K comparable, V any](m *ebpf.Map) (map[K]V, error) {
	found := map[K]V{}
	var cursor ebpf.MapBatchCursor
	keys, values := make([]K, batch), make([]V, batch)
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			found[keys[i]] = values[i]
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) { // the end
			return found, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// table returns what the programs make of the content, and the number of slots that they never use or miss. An interrupted agent leaves such.
func (c content) table() (*service.Table, int) {
	table := make(map[service.Address][]netip.AddrPort, len(c.counts))
	used, missing := 0, 0
	for at, count := range c.counts {
		backends := []netip.AddrPort{}
		// A count that no agent wrote would be a long walk.
		for i := range min(count, uint32(len(c.slots))+1) {
			backend, ok := c.slots[sockSlot{Service: at, Index: i}]
			if !ok {
				missing++
				continue
			}
			used++
			backends = append(backends, fromKernel(backend).AddrPort)
		}
		table[fromKernel(at)] = backends
	}
	return service.New(table), len(c.slots) - used + missing
}

// step is one change of one entry.
type step struct {
	what    action
	slot    sockSlot // of what is about a service, Service alone
	backend sockAddress
	count   uint32
}

type action int

const (
	putSlot action = iota
	putService
	dropService
	dropSlot
)

// steps returns what leads from have to want. The programs run meanwhile. They choose a slot below the service's count, so slots are filled
// before the count grows, and emptied after it shrank; at any time they find the old backends or the new ones of a service.
func steps(have content, want *service.Table) []step {
	var out, last []step
	wanted := map[sockAddress]uint32{}
	for at, backends := range want.All() {
		key := toKernel(at)
		wanted[key] = uint32(len(backends))
		for i, b := range backends {
			slot, backend := sockSlot{Service: key, Index: uint32(i)}, toKernel(service.Address{AddrPort: b, Protocol: at.Protocol})
			if now, ok := have.slots[slot]; !ok || now != backend {
				out = append(out, step{what: putSlot, slot: slot, backend: backend})
			}
		}
		if now, ok := have.counts[key]; !ok || now != uint32(len(backends)) {
			out = append(out, step{what: putService, slot: sockSlot{Service: key}, count: uint32(len(backends))})
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(have.counts), compare) {
		if _, ok := wanted[key]; !ok {
			out = append(out, step{what: dropService, slot: sockSlot{Service: key}})
		}
	}
	for slot := range have.slots {
		if slot.Index >= wanted[slot.Service] {
			last = append(last, step{what: dropSlot, slot: slot})
		}
	}
	// The first slot goes last: the programs fall back to it.
	slices.SortFunc(last, func(a, b step) int {
		if c := compare(a.slot.Service, b.slot.Service); c != 0 {
			return c
		}
		return int(b.slot.Index) - int(a.slot.Index)
	})
	return append(out, last...)
}

func (o *sockObjects) carryOut(s step) error {
	switch s.what {
	case putSlot:
		return o.Slots.Put(s.slot, s.backend)
	case putService:
		return o.Services.Put(s.slot.Service, sockService{Backends: s.count})
	case dropService:
		return ignoreAbsent(o.Services.Delete(s.slot.Service))
	case dropSlot:
		return ignoreAbsent(o.Slots.Delete(s.slot))
	}
	panic(fmt.Sprintf("bpf: unknown step %d", s.what))
}

func compare(a, b sockAddress) int { return fromKernel(a).Compare(fromKernel(b)) }

// toKernel returns an address as the maps have it: in network byte order, IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
func toKernel(a service.Address) sockAddress {
	k := sockAddress{Protocol: uint8(a.Protocol), Port: binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, a.Port()))}
	ip := a.Addr().As16()
	for i := range k.Ip {
		k.Ip[i] = binary.NativeEndian.Uint32(ip[4*i:])
	}
	return k
}

func fromKernel(k sockAddress) service.Address {
	var ip [16]byte
	for i, word := range k.Ip {
		binary.NativeEndian.PutUint32(ip[4*i:], word)
	}
	port := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, k.Port))
	return service.Address{
		AddrPort: netip.AddrPortFrom(netip.AddrFrom16(ip).Unmap(), port), Protocol: service.Protocol(k.Protocol),
	}
}

// size says whether a table fits.
func (o *sockObjects) size(t *service.Table) error {
	backends := 0
	for _, list := range t.All() {
		backends += len(list)
	}
	for _, m := range []struct {
		what string
		m    *ebpf.Map
		need int
	}{{"service addresses", o.Services, t.Len()}, {"backends", o.Slots, backends}} {
		if most := int(m.m.MaxEntries()); m.need > most {
			return fmt.Errorf("the cluster's services have %d %s, and the kernel's map takes %d; nothing was changed", m.need, m.what, most)
		}
	}
	return nil
}
