package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// start attaches the programs to a cgroup of the test's own, and moves the test into it until it ends.
func start(t *testing.T) *sockObjects {
	t.Helper()
	if os.Getenv("REQUIRE_ROOT") != "1" {
		t.Skip("needs root, and mount and network namespaces of its own; make root-test provides them")
	}
	loopback, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(loopback)
	}
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := unix.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
		t.Fatalf("mount cgroup2: %v", err)
	}
	// On its own, and detached: whatever fails, the removal of the folder must not walk through the machine's cgroups.
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, home, _ := strings.Cut(strings.TrimSpace(string(own)), "0::")
	group := filepath.Join(root, home, fmt.Sprintf("cyvive-test-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		move(t, filepath.Join(root, home))
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	objects := &sockObjects{}
	if err := loadSockObjects(objects, nil); err != nil {
		t.Fatalf("load programs: %+v", err)
	}
	t.Cleanup(func() { _ = objects.Close() })
	attach(t, group, objects)
	move(t, group)
	return objects
}

func attach(t *testing.T, group string, o *sockObjects) {
	t.Helper()
	for at, program := range map[ebpf.AttachType]*ebpf.Program{
		ebpf.AttachCGroupInet4Connect: o.Connect4, ebpf.AttachCGroupInet6Connect: o.Connect6,
		ebpf.AttachCGroupUDP4Sendmsg: o.Sendmsg4, ebpf.AttachCGroupUDP6Sendmsg: o.Sendmsg6,
		ebpf.AttachCGroupUDP4Recvmsg: o.Recvmsg4, ebpf.AttachCGroupUDP6Recvmsg: o.Recvmsg6,
		ebpf.AttachCgroupInet4GetPeername: o.Getpeername4, ebpf.AttachCgroupInet6GetPeername: o.Getpeername6,
	} {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: group, Attach: at, Program: program})
		if err != nil {
			t.Fatalf("attach %s: %v", at, err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
}

// move puts the test's own process into a cgroup.
func move(t *testing.T, group string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		t.Fatal(err)
	}
}

// key is an address as the maps have it.
func key(address netip.AddrPort, protocol uint8) sockAddress {
	a := sockAddress{Protocol: protocol, Port: binary.LittleEndian.Uint16(binary.BigEndian.AppendUint16(nil, address.Port()))}
	ip := address.Addr().As16()
	for i := range a.Ip {
		a.Ip[i] = binary.LittleEndian.Uint32(ip[4*i:])
	}
	return a
}

// serve puts a service into the maps.
func serve(t *testing.T, o *sockObjects, service string, protocol uint8, backends ...netip.AddrPort) {
	t.Helper()
	at := key(netip.MustParseAddrPort(service), protocol)
	for i, b := range backends {
		if err := o.Slots.Put(sockSlot{Service: at, Index: uint32(i)}, key(b, protocol)); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Services.Put(at, sockService{Backends: uint32(len(backends))}); err != nil {
		t.Fatal(err)
	}
}

// listen accepts connections and closes each.
func listen(t *testing.T, network, address string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			_, _ = fmt.Fprint(c, l.Addr())
			_ = c.Close()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestConnect(t *testing.T) {
	o := start(t)
	first, second := listen(t, "tcp4", "127.0.0.1:0"), listen(t, "tcp4", "127.0.0.1:0")
	six := listen(t, "tcp6", "[::1]:0")
	serve(t, o, "10.96.0.1:443", unix.IPPROTO_TCP, first, second)
	serve(t, o, "[fd00::1]:443", unix.IPPROTO_TCP, six)
	serve(t, o, "10.96.0.2:443", unix.IPPROTO_TCP)

	seen := map[string]int{}
	for range 64 { // one of two is missed once in 2^63 runs
		seen[ask(t, "10.96.0.1:443")]++
	}
	if seen[first.String()] == 0 || seen[second.String()] == 0 || len(seen) != 2 {
		t.Errorf("answers by backend: %v, want some of %s and %s each", seen, first, second)
	}
	if got := ask(t, "[fd00::1]:443"); got != six.String() {
		t.Errorf("IPv6: answered by %s, want %s", got, six)
	}
	if got := ask(t, first.String()); got != first.String() {
		t.Errorf("an address that is no service: answered by %s, want %s", got, first)
	}
	if _, err := net.Dial("tcp", "10.96.0.2:443"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("no backend: got %v, want connection refused", err)
	}
}

// ask connects, wants the peer to be the address asked for, and returns the answer.
func ask(t *testing.T, address string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.RemoteAddr().String(); got != address {
		t.Errorf("getpeername: got %s, want %s", got, address)
	}
	text := make([]byte, 64)
	n, err := c.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(text[:n])
}

// TestMappedAddresses uses IPv6 sockets for an IPv4 service.
func TestMappedAddresses(t *testing.T) {
	o := start(t)
	serve(t, o, "10.96.0.1:443", unix.IPPROTO_TCP, listen(t, "tcp4", "127.0.0.1:0"))
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	want := unix.SockaddrInet6{Port: 443, Addr: netip.MustParseAddr("::ffff:10.96.0.1").As16()}
	if err := unix.Connect(fd, &want); err != nil {
		t.Fatal(err)
	}
	peer, err := unix.Getpeername(fd)
	if err != nil {
		t.Fatal(err)
	}
	if got := peer.(*unix.SockaddrInet6); got.Addr != want.Addr || got.Port != want.Port {
		t.Errorf("getpeername: got %v port %d, want %v port %d", got.Addr, got.Port, want.Addr, want.Port)
	}
}

// TestDatagrams sends to a service from sockets that are not connected, and wants the answer to come from the service.
func TestDatagrams(t *testing.T) {
	o := start(t)
	four, six := echo(t, "udp4", "127.0.0.1:0"), echo(t, "udp6", "[::1]:0")
	serve(t, o, "10.96.0.10:53", unix.IPPROTO_UDP, four)
	serve(t, o, "[fd00::10]:53", unix.IPPROTO_UDP, six)
	serve(t, o, "10.96.0.11:53", unix.IPPROTO_UDP)
	for _, test := range []struct{ network, local, service string }{
		{"udp4", "127.0.0.1:0", "10.96.0.10:53"},
		{"udp6", "[::1]:0", "[fd00::10]:53"},
		{"udp", "[::]:0", "10.96.0.10:53"}, // an IPv6 socket, IPv4-mapped
	} {
		c, err := net.ListenPacket(test.network, test.local)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		service := netip.MustParseAddrPort(test.service)
		if _, err := c.WriteTo([]byte("question"), net.UDPAddrFromAddrPort(service)); err != nil {
			t.Errorf("send to %s on %s: %v", service, test.network, err)
			continue
		}
		_, from, err := c.ReadFrom(make([]byte, 64))
		if err != nil || from.String() != test.service {
			t.Errorf("answer on %s: from %v, %v, want %s", test.network, from, err, service)
		}
	}
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.WriteTo([]byte("question"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.96.0.11:53")))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("no backend: got %v, want connection refused", err)
	}
}

// echo answers datagrams.
func echo(t *testing.T, network, address string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		text := make([]byte, 64)
		for n, from, err := c.ReadFrom(text); err == nil; n, from, err = c.ReadFrom(text) {
			_, _ = c.WriteTo(text[:n], from)
		}
	}()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}
