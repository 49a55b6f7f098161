package rtnl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/network"
)

// routeProtocol marks the routes that the domain sets. The kernel gives numbers above RTPROT_STATIC (4) no meaning; this one is used by
// no daemon in include/uapi/linux/rtnetlink.h.
const routeProtocol netlink.RouteProtocol = 67

// Host implements network.Host. Its methods may be called concurrently.
type Host struct {
	handle *netlink.Handle
	// sockets are for what handle cannot do: one, of the family NETLINK_ROUTE.
	sockets map[int]*nl.SocketHandle
	// resolver is the path of the resolver configuration.
	resolver string
}

// Open returns a Host for the network namespace of the calling thread. The resolver configuration is written to the given path.
func Open(resolver string) (*Host, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return &Host{handle: handle, sockets: map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}, resolver: resolver}, nil
}

// Close releases the sockets.
func (h *Host) Close() {
	h.handle.Close()
	for _, s := range h.sockets {
		s.Close()
	}
}

// Links returns all links but loopback, by interface index.
func (h *Host) Links(ctx context.Context) ([]network.LinkState, error) {
	links, err := dump(ctx, func() ([]netlink.Link, error) { return h.handle.LinkList() })
	if err != nil {
		return nil, err
	}
	addresses, err := h.addresses(ctx)
	if err != nil {
		return nil, err
	}
	var out []network.LinkState
	for _, link := range links {
		attrs := link.Attrs()
		if attrs.Flags&net.FlagLoopback != 0 {
			continue
		}
		state := network.LinkState{
			Index: attrs.Index,
			Name:  attrs.Name,
			MAC:   strings.ToLower(attrs.HardwareAddr.String()),
			// Drivers of hardware set no IFLA_INFO_KIND, which the library shows as "device".
			Physical: link.Type() == "device" && attrs.EncapType == "ether",
			Up:       attrs.Flags&net.FlagUp != 0,
			Carrier:  attrs.RawFlags&unix.IFF_LOWER_UP != 0,
		}
		state.Addresses, state.Own = on(addresses, attrs.Index)
		if state.Gateways, err = h.gateways(ctx, link); err != nil {
			return nil, err
		}
		out = append(out, state)
	}
	slices.SortFunc(out, func(a, b network.LinkState) int { return a.Index - b.Index })
	return out, nil
}

func (h *Host) gateways(ctx context.Context, link netlink.Link) ([]network.NextHop, error) {
	filter := &netlink.Route{LinkIndex: link.Attrs().Index, Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN}
	routes, err := dump(ctx, func() ([]netlink.Route, error) {
		return h.handle.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes of %s: %w", link.Attrs().Name, err)
	}
	var out []network.NextHop
	for _, r := range routes {
		isDefault := r.Dst == nil
		if r.Dst != nil {
			ones, _ := r.Dst.Mask.Size()
			isDefault = ones == 0
		}
		if gw, ok := netip.AddrFromSlice(r.Gw); ok && isDefault {
			out = append(out, network.NextHop{Address: gw.Unmap(), Metric: r.Priority})
		}
	}
	return out, nil
}

// dump repeats a dump that the kernel marks as interrupted by a change (NLM_F_DUMP_INTR), until ctx ends.
func dump[T any](ctx context.Context, list func() (T, error)) (T, error) {
	for {
		out, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || ctx.Err() != nil {
			return out, err
		}
	}
}

// SetUp sets the link's administrative state to up.
func (h *Host) SetUp(_ context.Context, name string) error {
	return h.with(name, func(link netlink.Link) error { return h.handle.LinkSetUp(link) })
}

// SetDown sets the link's administrative state to down. The kernel drops the routes by it, and its IPv6 addresses.
func (h *Host) SetDown(_ context.Context, name string) error {
	return h.with(name, func(link netlink.Link) error { return h.handle.LinkSetDown(link) })
}

// AddAddress adds an address. One that is there already is success, and stays whose it is.
func (h *Host) AddAddress(_ context.Context, name string, address netip.Prefix) error {
	return h.with(name, func(link netlink.Link) error { return ignore(unix.EEXIST, h.addAddress(link.Attrs().Index, address)) })
}

// DeleteAddress removes an address. One that is gone already is success.
func (h *Host) DeleteAddress(_ context.Context, name string, address netip.Prefix) error {
	return h.with(name, func(link netlink.Link) error {
		return ignore(unix.EADDRNOTAVAIL, h.handle.AddrDel(link, &netlink.Addr{IPNet: ipNet(address)}))
	})
}

// AddGateway adds a default route. One that is there already is success. On a link whose addresses are alone in their networks, such as those
// that Google Cloud and Hetzner lease, the next hop is taken to be on the link, since no network says so.
//
// The kernel's EEXIST says that there is a default route of the metric, and not that it is this one (fib_table_insert in net/ipv4/fib_trie.c and
// fib6_add_rt2node in net/ipv6/ip6_fib.c look at the next hop only without NLM_F_EXCL).
func (h *Host) AddGateway(ctx context.Context, name string, gateway network.NextHop) error {
	return h.with(name, func(link netlink.Link) error {
		addresses, err := h.addresses(ctx)
		if err != nil {
			return err
		}
		route := defaultRoute(link, gateway)
		if all, _ := on(addresses, link.Attrs().Index); areAlone(all, gateway.Address.Is4()) {
			route.SetFlag(netlink.FLAG_ONLINK)
		}
		exists := h.handle.RouteAdd(route)
		if !errors.Is(exists, unix.EEXIST) {
			return exists
		}
		there, err := h.gateways(ctx, link)
		if err != nil || slices.Contains(there, gateway) {
			return err
		}
		return fmt.Errorf("another default route has the metric %d: %w", gateway.Metric, exists)
	})
}

// areAlone tells whether there are addresses of the family, and each is alone in its network.
func areAlone(addresses []netip.Prefix, is4 bool) bool {
	same := slices.DeleteFunc(slices.Clone(addresses), func(p netip.Prefix) bool { return p.Addr().Is4() != is4 })
	return len(same) > 0 && !slices.ContainsFunc(same, func(p netip.Prefix) bool { return !p.IsSingleIP() })
}

// DeleteGateway removes a default route. One that is gone already is success.
func (h *Host) DeleteGateway(_ context.Context, name string, gateway network.NextHop) error {
	return h.with(name, func(link netlink.Link) error {
		return ignore(unix.ESRCH, h.handle.RouteDel(defaultRoute(link, gateway)))
	})
}

// Unreachable returns the unreachable ranges that carry the domain's mark.
func (h *Host) Unreachable(ctx context.Context) ([]netip.Prefix, error) {
	filter := &netlink.Route{Type: unix.RTN_UNREACHABLE, Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN}
	routes, err := dump(ctx, func() ([]netlink.Route, error) {
		return h.handle.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_TYPE|netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		ones, _ := r.Dst.Mask.Size()
		if a, ok := netip.AddrFromSlice(r.Dst.IP); ok {
			out = append(out, netip.PrefixFrom(a.Unmap(), ones))
		}
	}
	return out, nil
}

// AddUnreachable adds a route of type unreachable. One that is there already is success.
func (h *Host) AddUnreachable(_ context.Context, prefix netip.Prefix) error {
	return ignore(unix.EEXIST, h.handle.RouteAdd(unreachable(prefix)))
}

// DeleteUnreachable removes it. One that is gone already is success.
func (h *Host) DeleteUnreachable(_ context.Context, prefix netip.Prefix) error {
	return ignore(unix.ESRCH, h.handle.RouteDel(unreachable(prefix)))
}

func unreachable(p netip.Prefix) *netlink.Route {
	return &netlink.Route{Dst: ipNet(p), Type: unix.RTN_UNREACHABLE, Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN}
}

func (h *Host) with(name string, do func(netlink.Link) error) error {
	link, err := h.handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	return do(link)
}

func defaultRoute(link netlink.Link, gateway network.NextHop) *netlink.Route {
	zero := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if gateway.Address.Is6() {
		zero = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: ipNet(zero), Gw: gateway.Address.AsSlice(), Priority: gateway.Metric,
		Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN,
	}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func ignore(ignored unix.Errno, err error) error {
	if errors.Is(err, ignored) {
		return nil
	}
	return err
}
