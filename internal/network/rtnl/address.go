package rtnl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// ifaProto is IFA_PROTO of include/uapi/linux/if_addr.h, since Linux 5.18: who set an address. x/sys/unix does not have it, and the netlink
	// library neither writes nor reads it, which is why addresses are listed and added here.
	ifaProto = 11
	// addressProtocol marks the addresses that the domain sets, as routeProtocol does with routes. The kernel has 1 to 3 for its own.
	addressProtocol = uint8(routeProtocol)
)

// address is one of global scope, of any link.
type address struct {
	index  int
	prefix netip.Prefix
	own    bool
}

// on returns the addresses of a link, and which of them carry the mark.
func on(addresses []address, index int) (all, own []netip.Prefix) {
	for _, a := range addresses {
		if a.index != index {
			continue
		}
		all = append(all, a.prefix)
		if a.own {
			own = append(own, a.prefix)
		}
	}
	return all, own
}

// addresses returns those of all links, in the kernel's order.
func (h *Host) addresses(ctx context.Context) ([]address, error) {
	messages, err := dump(ctx, func() ([][]byte, error) {
		request := h.request(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		request.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
		return request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []address
	for _, m := range messages {
		a, global, err := parseAddress(m)
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		if global {
			out = append(out, a)
		}
	}
	return out, nil
}

// parseAddress reads the payload of an RTM_NEWADDR message. The second result says that the address is of global scope.
func parseAddress(m []byte) (address, bool, error) {
	if len(m) < unix.SizeofIfAddrmsg {
		return address{}, false, errors.New("a message of the kernel is too short")
	}
	header := nl.DeserializeIfAddrmsg(m)
	attributes, err := nl.ParseRouteAttr(m[header.Len():])
	if err != nil {
		return address{}, false, err
	}
	out := address{index: int(header.Index)}
	var local, remote netip.Addr
	for _, a := range attributes {
		switch a.Attr.Type {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_ADDRESS:
			remote, _ = netip.AddrFromSlice(a.Value)
		case ifaProto:
			out.own = len(a.Value) == 1 && a.Value[0] == addressProtocol
		}
	}
	bits := int(header.Prefixlen)
	switch {
	case !local.IsValid(): // IPv6 has it beside a peer's address only
		local = remote
	case remote.IsValid() && remote != local: // the length is that of the peer's network
		bits = local.BitLen()
	}
	out.prefix = netip.PrefixFrom(local, bits)
	return out, header.Scope == unix.RT_SCOPE_UNIVERSE && out.prefix.IsValid(), nil
}

// addAddress adds an address with the mark.
func (h *Host) addAddress(index int, p netip.Prefix) error {
	family := unix.AF_INET6
	if p.Addr().Is4() {
		family = unix.AF_INET
	}
	header := nl.NewIfAddrmsg(family)
	header.Index, header.Prefixlen = uint32(index), uint8(p.Bits())
	request := h.request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	request.AddData(header)
	local := p.Addr().AsSlice()
	request.AddData(nl.NewRtAttr(unix.IFA_LOCAL, local))
	request.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, local))
	request.AddData(nl.NewRtAttr(ifaProto, []byte{addressProtocol}))
	if p.Addr().Is4() && p.Bits() < 31 { // networks of one or two addresses have none, RFC 3021
		request.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast(p)))
	}
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) []byte {
	last := p.Addr().As4()
	for i, m := range net.CIDRMask(p.Bits(), p.Addr().BitLen()) {
		last[i] |= ^m
	}
	return last[:]
}

// request is one for the host's own socket, which stays in the network namespace that it was opened in.
func (h *Host) request(kind, flags int) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(kind, flags)
	request.Sockets = h.sockets
	return request
}
