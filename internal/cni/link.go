package cni

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// gateway is the pod's next hop: an address that no link has, and that every
// pod's neighbour table maps to the node's end of its own pair.
const gateway = "169.254.1.1"

// hostName returns the name of the node's end, of at most IFNAMSIZ-1 = 15 bytes.
func hostName(a attachment) string {
	sum := sha256.Sum256([]byte(a.String()))
	return "cy" + hex.EncodeToString(sum[:])[:11]
}

// ends are the two interfaces of a pair.
type ends struct {
	host, pod       string
	hostMAC, podMAC net.HardwareAddr
}

// connect makes the pair and configures both ends. What it made is removed if it
// fails.
func connect(a attachment, path string, address netip.Addr, mtu int) (e ends, err error) {
	pod, err := netns.GetFromPath(path)
	if err != nil {
		return ends{}, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer pod.Close()
	inside, err := netlink.NewHandleAt(pod)
	if err != nil {
		return ends{}, fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	defer inside.Close()
	host := hostName(a)
	if err := remove(host); err != nil { // of an attempt that was cut off
		return ends{}, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = host
	attrs.MTU = mtu
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: a.IfName, PeerNamespace: netlink.NsFd(int(pod))}
	if err := netlink.LinkAdd(pair); err != nil {
		return ends{}, fmt.Errorf("make veth pair %s: %w", host, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(host))
		}
	}()
	hostLink, err := netlink.LinkByName(host)
	if err != nil {
		return ends{}, fmt.Errorf("find link %s: %w", host, err)
	}
	podLink, err := inside.LinkByName(a.IfName)
	if err != nil {
		return ends{}, fmt.Errorf("find link %s of pod: %w", a.IfName, err)
	}
	e = ends{
		host: host, pod: a.IfName,
		hostMAC: hostLink.Attrs().HardwareAddr, podMAC: podLink.Attrs().HardwareAddr,
	}
	if err := filterSources(host); err != nil { // before anything can come by it
		return ends{}, err
	}
	if err := netlink.LinkSetUp(hostLink); err != nil {
		return ends{}, fmt.Errorf("set link %s up: %w", host, err)
	}
	if err := configurePod(inside, podLink, address, mtu, e.hostMAC); err != nil {
		return ends{}, err
	}
	return e, configureHost(hostLink, address, e.podMAC)
}

// configurePod gives the pod's end its address and the way out.
func configurePod(h *netlink.Handle, link netlink.Link, address netip.Addr, mtu int, peer net.HardwareAddr) error {
	index, next := link.Attrs().Index, net.ParseIP(gateway).To4()
	if mtu != 0 {
		if err := h.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("set MTU of pod: %w", err)
		}
	}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: single(address)}); err != nil {
		return fmt.Errorf("add address %s to pod: %w", address, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link of pod up: %w", err)
	}
	if err := h.NeighSet(neighbour(index, next, peer)); err != nil {
		return fmt.Errorf("add neighbour to pod: %w", err)
	}
	everything := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	route := &netlink.Route{LinkIndex: index, Dst: everything, Gw: next, Flags: int(netlink.FLAG_ONLINK)}
	if err := h.RouteAdd(route); err != nil {
		return fmt.Errorf("add default route to pod: %w", err)
	}
	return nil
}

// configureHost routes the pod's address to the node's end.
func configureHost(link netlink.Link, address netip.Addr, peer net.HardwareAddr) error {
	index := link.Attrs().Index
	if err := netlink.NeighSet(neighbour(index, address.AsSlice(), peer)); err != nil {
		return fmt.Errorf("add neighbour of pod: %w", err)
	}
	route := &netlink.Route{LinkIndex: index, Dst: single(address), Scope: netlink.SCOPE_LINK}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("add route to pod: %w", err)
	}
	return nil
}

func neighbour(index int, ip net.IP, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: ip, HardwareAddr: mac,
	}
}

func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

// remove deletes the node's end, and with it the pod's end and every route and
// neighbour of both. That it is not there is no error.
func remove(host string) error {
	link, err := netlink.LinkByName(host)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", host, err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", host, err)
	}
	return nil
}

// verify reports what of a pod's connection is not as connect made it.
func verify(a attachment, path string, address netip.Addr) error {
	if _, err := netlink.LinkByName(hostName(a)); err != nil {
		return fmt.Errorf("find link %s: %w", hostName(a), err)
	}
	pod, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer pod.Close()
	inside, err := netlink.NewHandleAt(pod)
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	defer inside.Close()
	link, err := inside.LinkByName(a.IfName)
	if err != nil {
		return fmt.Errorf("find link %s of pod: %w", a.IfName, err)
	}
	list, err := inside.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list addresses of pod: %w", err)
	}
	for _, have := range list {
		if have.IP.Equal(address.AsSlice()) {
			return nil
		}
	}
	return fmt.Errorf("check pod: it does not have address %s", address)
}

// confDir holds a folder of settings for each link of the node (/proc/sys/net/ipv4/conf
// in Documentation/networking/ip-sysctl.rst of Linux).
const confDir = "/proc/sys/net/ipv4/conf"

// filterSources has the node drop what comes by a link and has a source address that
// it does not reach by that link: strict filtering of the reverse path (RFC 3704, 2.2).
// Of this setting and that for all links the greater counts. Were that 2, which is
// loose, strict filtering would remain for a link without an address of its own, as
// the node's ends are (__fib_validate_source in net/ipv4/fib_frontend.c, Linux 6.12).
func filterSources(link string) error {
	if err := os.WriteFile(filepath.Join(confDir, link, "rp_filter"), []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("filter source addresses of link %s: %w", link, err)
	}
	return nil
}

// forwardingFile is the node's switch for IPv4 forwarding: the plane shares the
// node's network namespace.
const forwardingFile = "/proc/sys/net/ipv4/ip_forward"

// enableForwarding turns forwarding on if it is off.
func enableForwarding(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read forwarding: %w", err)
	}
	if len(data) > 0 && data[0] == '1' {
		return nil
	}
	if err := os.WriteFile(file, []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("enable forwarding: %w", err)
	}
	return nil
}
