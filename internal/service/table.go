// Package service holds the terms of service addresses: what one domain learns of the cluster and another makes the kernel do. It knows
// neither Kubernetes nor the kernel.
package service

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Protocol is an IP protocol by its number (IANA, "Assigned Internet Protocol Numbers").
type Protocol uint8

// The protocols that are translated.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// String returns the protocol's name in lower case.
func (p Protocol) String() string {
	switch p {
	case 0:
		return "any"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// Address is what clients of a service connect to. Port 0 with protocol 0 stands for all that has no entry of its own at the IP address.
type Address struct {
	netip.AddrPort
	Protocol Protocol
}

// Rest returns the entry for all ports of an IP address that have none of their own.
func Rest(ip netip.Addr) Address { return Address{AddrPort: netip.AddrPortFrom(ip, 0)} }

// String prints the address as "tcp 10.96.0.1:443".
func (a Address) String() string { return a.Protocol.String() + " " + a.AddrPort.String() }

// Compare orders addresses.
func (a Address) Compare(b Address) int {
	return cmp.Or(a.AddrPort.Compare(b.AddrPort), cmp.Compare(a.Protocol, b.Protocol))
}

// Table says which backends stand behind each service address. A service with no backend refuses connections. A table is never changed, and
// may be used concurrently.
type Table struct{ entries map[Address][]netip.AddrPort }

// New returns a table of entries, which it copies. The order of backends has no meaning, and a backend that is named twice counts once.
func New(entries map[Address][]netip.AddrPort) *Table {
	t := &Table{entries: make(map[Address][]netip.AddrPort, len(entries))}
	for at, backends := range entries {
		sorted := slices.Clone(backends)
		slices.SortFunc(sorted, netip.AddrPort.Compare)
		t.entries[at] = slices.Compact(sorted)
	}
	return t
}

// Len is the number of service addresses.
func (t *Table) Len() int { return len(t.entries) }

// Backends returns the backends of a service in ascending order, and whether there is such a service. The caller must not change them.
func (t *Table) Backends(at Address) ([]netip.AddrPort, bool) {
	backends, ok := t.entries[at]
	return backends, ok
}

// All goes through the entries in the order of their addresses.
func (t *Table) All() iter.Seq2[Address, []netip.AddrPort] {
	return func(yield func(Address, []netip.AddrPort) bool) {
		for _, at := range slices.SortedFunc(maps.Keys(t.entries), Address.Compare) {
			if !yield(at, t.entries[at]) {
				return
			}
		}
	}
}

// Equal reports whether both tables say the same. A nil table equals nil only.
func (t *Table) Equal(o *Table) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t == o || maps.EqualFunc(t.entries, o.entries, slices.Equal[[]netip.AddrPort])
}

// Changes lists the addresses whose entries differ between t and o, in order. A nil table has no entries.
func (t *Table) Changes(o *Table) []Address {
	if o == nil {
		o = &Table{}
	}
	var changed []Address
	for at, backends := range t.entries {
		if other, ok := o.entries[at]; !ok || !slices.Equal(backends, other) {
			changed = append(changed, at)
		}
	}
	for at := range o.entries {
		if _, ok := t.entries[at]; !ok {
			changed = append(changed, at)
		}
	}
	slices.SortFunc(changed, Address.Compare)
	return changed
}

// String prints one line an entry.
func (t *Table) String() string {
	var b strings.Builder
	for at, backends := range t.All() {
		fmt.Fprintf(&b, "%s ->", at)
		for _, backend := range backends {
			fmt.Fprintf(&b, " %s", backend)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
