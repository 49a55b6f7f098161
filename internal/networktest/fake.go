package networktest

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/service"
)

// Host is a fake of network.Host that keeps its state in memory. It may be used concurrently. The zero value is an empty machine.
type Host struct {
	mu          sync.Mutex
	links       []network.LinkState
	unreachable []netip.Prefix
	hostname    string
	nameservers []netip.Addr
	resolver    bool
	fail        error
}

// AddLink adds a link that is down, with the next index.
func (h *Host) AddLink(name, mac string, physical bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.links = append(h.links, network.LinkState{Index: len(h.links) + 2, Name: name, MAC: mac, Physical: physical})
}

// SetCarrier plugs a link in or out.
func (h *Host) SetCarrier(name string, on bool) {
	_ = h.with(name, func(l *network.LinkState) error {
		l.Carrier = on
		return nil
	})
}

// Fail makes every further call return err, until it is nil again.
func (h *Host) Fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = err
}

// String prints the whole state, for comparisons in tests.
func (h *Host) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "hostname %s\nnameservers %v %t\n", h.hostname, h.nameservers, h.resolver)
	fmt.Fprintf(&b, "unreachable %v\n", h.unreachable)
	for _, l := range h.links {
		fmt.Fprintf(&b, "%s up=%t %v via %v\n", l.Name, l.Up, l.Addresses, l.Gateways)
	}
	return b.String()
}

// Links implements network.Host.
func (h *Host) Links(context.Context) ([]network.LinkState, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []network.LinkState
	for _, l := range h.links {
		l.Addresses, l.Own, l.Gateways = slices.Clone(l.Addresses), slices.Clone(l.Own), slices.Clone(l.Gateways)
		l.Carrier = l.Carrier && l.Up
		out = append(out, l)
	}
	return out, h.fail
}

func (h *Host) with(name string, do func(*network.LinkState) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	for i := range h.links {
		if h.links[i].Name == name {
			return do(&h.links[i])
		}
	}
	return fmt.Errorf("find link %s: not there", name)
}

// SetUp implements network.Host.
func (h *Host) SetUp(_ context.Context, name string) error {
	return h.with(name, func(l *network.LinkState) error {
		l.Up = true
		return nil
	})
}

// SetDown implements network.Host. As in the kernel, routes by the link go with it, and IPv6 addresses.
func (h *Host) SetDown(_ context.Context, name string) error {
	return h.with(name, func(l *network.LinkState) error {
		is6 := func(p netip.Prefix) bool { return p.Addr().Is6() }
		l.Up, l.Gateways = false, nil
		l.Addresses, l.Own = slices.DeleteFunc(l.Addresses, is6), slices.DeleteFunc(l.Own, is6)
		return nil
	})
}

// AddAddress implements network.Host.
func (h *Host) AddAddress(_ context.Context, name string, a netip.Prefix) error {
	return h.with(name, func(l *network.LinkState) error {
		if !slices.Contains(l.Addresses, a) {
			l.Addresses, l.Own = append(l.Addresses, a), append(l.Own, a)
		}
		return nil
	})
}

// DeleteAddress implements network.Host. As in the kernel, routes that need the address go with it.
func (h *Host) DeleteAddress(_ context.Context, name string, a netip.Prefix) error {
	return h.with(name, func(l *network.LinkState) error {
		l.Addresses = slices.DeleteFunc(l.Addresses, func(o netip.Prefix) bool { return o == a })
		l.Own = slices.DeleteFunc(l.Own, func(o netip.Prefix) bool { return o == a })
		l.Gateways = slices.DeleteFunc(l.Gateways, func(g network.NextHop) bool {
			return !slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Contains(g.Address) })
		})
		return nil
	})
}

// AddGateway implements network.Host. As in the kernel, the next hop must be in the network of an address of a link that is up, unless those
// networks are of one address each, and there is one default route of a metric, whatever its next hop and link.
func (h *Host) AddGateway(_ context.Context, name string, g network.NextHop) error {
	return h.with(name, func(l *network.LinkState) error {
		reached := slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Contains(g.Address) })
		alone := len(l.Addresses) > 0 && !slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return !p.IsSingleIP() })
		if !l.Up || !reached && !alone {
			return fmt.Errorf("add route via %s: network is unreachable", g)
		}
		if slices.Contains(l.Gateways, g) {
			return nil
		}
		for _, other := range h.links {
			if slices.ContainsFunc(other.Gateways, func(o network.NextHop) bool { return o.Metric == g.Metric && o.Address.Is4() == g.Address.Is4() }) {
				return fmt.Errorf("add route via %s: %w", g, fs.ErrExist)
			}
		}
		l.Gateways = append(l.Gateways, g)
		return nil
	})
}

// DeleteGateway implements network.Host.
func (h *Host) DeleteGateway(_ context.Context, name string, g network.NextHop) error {
	return h.with(name, func(l *network.LinkState) error {
		l.Gateways = slices.DeleteFunc(l.Gateways, func(o network.NextHop) bool { return o == g })
		return nil
	})
}

// Unreachable implements network.Host.
func (h *Host) Unreachable(context.Context) ([]netip.Prefix, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.unreachable), h.fail
}

// AddUnreachable implements network.Host.
func (h *Host) AddUnreachable(_ context.Context, prefix netip.Prefix) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Contains(h.unreachable, prefix) {
		h.unreachable = append(h.unreachable, prefix)
	}
	return h.fail
}

// DeleteUnreachable implements network.Host.
func (h *Host) DeleteUnreachable(_ context.Context, prefix netip.Prefix) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unreachable = slices.DeleteFunc(h.unreachable, func(p netip.Prefix) bool { return p == prefix })
	return h.fail
}

// Hostname implements network.Host.
func (h *Host) Hostname() (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hostname, h.fail
}

// SetHostname implements network.Host.
func (h *Host) SetHostname(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hostname = name
	return h.fail
}

// Nameservers implements network.Host.
func (h *Host) Nameservers() ([]netip.Addr, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.nameservers), h.resolver, h.fail
}

// SetNameservers implements network.Host.
func (h *Host) SetNameservers(servers []netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nameservers, h.resolver = slices.Clone(servers), true
	return h.fail
}

// DHCP is a fake of network.DHCP whose leases the test grants.
type DHCP struct {
	mu      sync.Mutex
	clients map[string]*network.Lease
}

// Grant gives the link's client a lease, or takes it with nil.
func (d *DHCP) Grant(link string, lease *network.Lease) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.clients == nil {
		d.clients = map[string]*network.Lease{}
	}
	d.clients[link] = lease
}

// Start implements network.DHCP.
func (d *DHCP) Start(link string) {
	if _, running := d.Clients()[link]; !running {
		d.Grant(link, nil)
	}
}

// Stop implements network.DHCP.
func (d *DHCP) Stop(link string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.clients, link)
}

// Refuse implements network.DHCP.
func (d *DHCP) Refuse(link string, address netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if lease := d.clients[link]; lease != nil && lease.Address == address {
		refused := *lease
		refused.Refused = true
		d.clients[link] = &refused
	}
}

// Clients implements network.DHCP.
func (d *DHCP) Clients() map[string]*network.Lease {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.clients)
}

// Services is a fake of network.Services in memory. It may be used concurrently. The zero value translates nothing, and is not attached.
type Services struct {
	mu    sync.Mutex
	state network.ServicesState
	fail  error
}

// Damage makes n entries belong to nothing, as an interrupted Set does.
func (s *Services) Damage(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Damaged = n
}

// Fail makes every further call return err, until it is nil again.
func (s *Services) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// String prints the whole state, for comparisons in tests.
func (s *Services) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf("attached=%t damaged=%d\n", s.state.Attached, s.state.Damaged)
	if s.state.Table != nil {
		text += s.state.Table.String()
	}
	return text
}

// Observe implements network.Services.
func (s *Services) Observe(context.Context) (network.ServicesState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.state
	if state.Table == nil {
		state.Table = service.New(nil)
	}
	return state, s.fail
}

// Set implements network.Services.
func (s *Services) Set(_ context.Context, table *service.Table) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.state.Table, s.state.Damaged = table, 0
	}
	return s.fail
}

// Attach implements network.Services.
func (s *Services) Attach(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.state.Attached = true
	}
	return s.fail
}
