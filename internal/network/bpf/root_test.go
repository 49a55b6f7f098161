package bpf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/networktest"
	"github.com/cyvive/cyvive/internal/service"
)

// rig is a cgroup with the test in it, a BPF file system, and services on both.
type rig struct {
	*Services
	t       *testing.T
	entries map[service.Address][]netip.AddrPort
}

// start moves the test into a cgroup of its own until it ends, with no service in it.
func start(t *testing.T) *rig {
	t.Helper()
	if os.Getenv("REQUIRE_ROOT") != "1" {
		t.Skip("needs root, and mount and network namespaces of its own; make root-test and make vm-test (CYVIVE_VM) provide them")
	}
	loopback, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(loopback)
	}
	if err != nil {
		t.Fatal(err)
	}
	root, own := mounted(t, "cgroup2"), "/"
	if data, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		_, own, _ = strings.Cut(strings.TrimSpace(string(data)), "0::")
	}
	group := filepath.Join(root, own, fmt.Sprintf("cyvive-test-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		move(t, filepath.Join(root, own))
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t: t, Services: New(filepath.Join(mounted(t, "bpf"), "cyvive"), group), entries: map[service.Address][]netip.AddrPort{}}
	t.Cleanup(func() { _ = r.Close() })
	r.apply()
	move(t, group)
	return r
}

// mounted mounts a file system of its own. It is detached at the end: whatever fails, the removal of the folder must not walk through it.
func mounted(t *testing.T, kind string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
		t.Fatalf("mount %s: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// apply makes the kernel translate the rig's entries, as the network domain does, and wants nothing to be left to do.
func (r *rig) apply() {
	r.t.Helper()
	networktest.Converge(r.t, network.New(&networktest.Host{}, &networktest.DHCP{}, r.Services), network.Spec{Services: service.New(r.entries)})
}

// move puts the test's own process into a cgroup.
func move(t *testing.T, group string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		t.Fatal(err)
	}
}

// serve adds a service to the rig.
func (r *rig) serve(at string, protocol service.Protocol, backends ...netip.AddrPort) {
	r.t.Helper()
	address := service.Address{AddrPort: netip.MustParseAddrPort(at), Protocol: protocol}
	r.entries[address], r.entries[service.Rest(address.Addr())] = backends, nil
	r.apply()
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
	r := start(t)
	first, second := listen(t, "tcp4", "127.0.0.1:0"), listen(t, "tcp4", "127.0.0.1:0")
	six := listen(t, "tcp6", "[::1]:0")
	r.serve("10.96.0.1:443", service.TCP, first, second)
	r.serve("[fd00::1]:443", service.TCP, six)
	r.serve("10.96.0.2:443", service.TCP)

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
	if _, err := net.Dial("tcp", "10.96.0.1:444"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a port that the service does not have: got %v, want connection refused", err)
	}
	r.entries = nil
	r.apply()
	if _, err := net.DialTimeout("tcp", "10.96.0.1:443", time.Second); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a service that is gone: got %v, want no route to it", err)
	}
}

// ask connects, wants the peer to be the address asked for, and returns the answer.
func ask(t *testing.T, address string) string {
	t.Helper()
	answer, err := try(address)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// keepAsking asks until the returned function is called, and reports each failure.
func keepAsking(t *testing.T, address string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() {
		for ctx.Err() == nil {
			if _, err := try(address); err != nil {
				t.Error(err)
			}
		}
	})
	return func() {
		cancel()
		asking.Wait()
	}
}

func try(address string) (string, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if got := c.RemoteAddr().String(); got != address {
		return "", fmt.Errorf("getpeername: got %s, want %s", got, address)
	}
	text := make([]byte, 64)
	n, err := c.Read(text)
	return string(text[:n]), err
}

// TestMappedAddresses uses IPv6 sockets for an IPv4 service.
func TestMappedAddresses(t *testing.T) {
	r := start(t)
	r.serve("10.96.0.1:443", service.TCP, listen(t, "tcp4", "127.0.0.1:0"))
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
	r := start(t)
	four, six := echo(t, "udp4", "127.0.0.1:0"), echo(t, "udp6", "[::1]:0")
	r.serve("10.96.0.10:53", service.UDP, four)
	r.serve("[fd00::10]:53", service.UDP, six)
	r.serve("10.96.0.11:53", service.UDP)
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

func (r *rig) observe() network.ServicesState {
	r.t.Helper()
	state, err := r.Observe(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return state
}

// TestWithoutAnAgent lets go of everything that the agent holds. Services work on; the next agent finds all in order.
func TestWithoutAnAgent(t *testing.T) {
	r := start(t)
	backend := listen(t, "tcp4", "127.0.0.1:0")
	r.serve("10.96.0.1:443", service.TCP, backend)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, "10.96.0.1:443"); got != backend.String() {
		t.Errorf("without an agent: answered by %q, want %s", got, backend)
	}
	r.Services = New(r.dir, r.cgroup)
	if state := r.observe(); !state.Attached || state.Damaged != 0 || !state.Table.Equal(service.New(r.entries)) {
		t.Errorf("the next agent finds attached %t, %d damaged,\n%s", state.Attached, state.Damaged, state.Table)
	}
}

// TestAnotherVersionTakesOver attaches other instructions in the place of one program, and leaves maps of another layout. This version takes
// the same link over while connections are made, and removes the maps.
func TestAnotherVersionTakesOver(t *testing.T) {
	r := start(t)
	backend := listen(t, "tcp4", "127.0.0.1:0")
	r.serve("10.96.0.1:443", service.TCP, backend)
	before := r.linkID("connect4")
	r.replace("connect4")
	old := filepath.Join(r.dir, mapsPrefix+"00000000")
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	if r.observe().Attached {
		t.Fatal("another version's program passes for this version's")
	}
	stop := keepAsking(t, "10.96.0.1:443")
	for range 20 {
		r.apply()
		r.replace("connect4")
	}
	r.apply()
	stop()
	if !r.observe().Attached || r.linkID("connect4") != before {
		t.Errorf("attached %t by link %d, want the link as before, %d", r.observe().Attached, r.linkID("connect4"), before)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("maps of the other layout: %v", err)
	}
}

// replace puts a program with one instruction more into the link.
func (r *rig) replace(name string) {
	r.t.Helper()
	spec, err := loadSock()
	if err != nil {
		r.t.Fatal(err)
	}
	program := spec.Programs[name]
	program.Instructions = slices.Insert(program.Instructions, 1, asm.Mov.Imm(asm.R0, 7)) // the first one bears the program's name
	objects := &sockObjects{}
	options := &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{
		"services": r.objects.Services, "slots": r.objects.Slots, "flows": r.objects.Flows, "peers": r.objects.Peers,
	}}
	if err := spec.LoadAndAssign(objects, options); err != nil {
		r.t.Fatal(err)
	}
	defer objects.Close()
	l, err := link.LoadPinnedLink(filepath.Join(r.dir, name), nil)
	if err == nil {
		defer l.Close()
		err = l.Update(objects.Connect4)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) linkID(name string) link.ID {
	r.t.Helper()
	l, err := link.LoadPinnedLink(filepath.Join(r.dir, name), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		r.t.Fatal(err)
	}
	return info.ID
}

// TestCgroupThatWasMadeAnew has the links of a cgroup that is gone replaced.
func TestCgroupThatWasMadeAnew(t *testing.T) {
	r := start(t)
	r.cgroup = filepath.Join(r.cgroup, "again")
	for round := range 2 {
		if err := os.Mkdir(r.cgroup, 0o755); err != nil {
			t.Fatal(err)
		}
		if r.observe().Attached {
			t.Errorf("round %d: attached to a cgroup that is new", round)
		}
		r.apply()
		if err := os.Remove(r.cgroup); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInterruptedChange leaves what an agent leaves that was killed in the middle of a change.
func TestInterruptedChange(t *testing.T) {
	r := start(t)
	backend := listen(t, "tcp4", "127.0.0.1:0")
	r.serve("10.96.0.1:443", service.TCP, backend)
	at := toKernel(service.Address{AddrPort: netip.MustParseAddrPort("10.96.0.1:443"), Protocol: service.TCP})
	gone := toKernel(service.Address{AddrPort: netip.MustParseAddrPort("10.96.0.7:443"), Protocol: service.TCP})
	for _, s := range []step{
		{what: putSlot, slot: sockSlot{Service: gone}, backend: at},
		{what: putSlot, slot: sockSlot{Service: at, Index: 5}, backend: at},
		{what: dropSlot, slot: sockSlot{Service: at}},
	} {
		if err := r.objects.carryOut(s); err != nil {
			t.Fatal(err)
		}
	}
	if state := r.observe(); state.Damaged != 3 {
		t.Errorf("%d entries are damaged, want 3", state.Damaged)
	}
	r.apply()
	if got := ask(t, "10.96.0.1:443"); got != backend.String() || r.observe().Damaged != 0 {
		t.Errorf("after repair: answered by %q, %d damaged", got, r.observe().Damaged)
	}
}

// TestBackendsChangeUnderLoad adds and takes backends while connections are made. All of those succeed, and a backend that was taken out
// gets no more of them.
func TestBackendsChangeUnderLoad(t *testing.T) {
	r := start(t)
	var all []netip.AddrPort
	for range 5 {
		all = append(all, listen(t, "tcp4", "127.0.0.1:0"))
	}
	r.serve("10.96.0.1:443", service.TCP, all...)
	stop, stopToo := keepAsking(t, "10.96.0.1:443"), keepAsking(t, "10.96.0.1:443")
	for round := range 200 {
		some := slices.Concat(all[round%5:], all[:round%5])[:1+round%4]
		r.serve("10.96.0.1:443", service.TCP, some...)
		if got := netip.MustParseAddrPort(ask(t, "10.96.0.1:443")); !slices.Contains(some, got) {
			t.Fatalf("round %d: answered by %s, which is not one of %v any more", round, got, some)
		}
	}
	stop()
	stopToo()
}

func TestTableThatIsTooLarge(t *testing.T) {
	r := start(t)
	r.serve("10.96.0.1:443", service.TCP, listen(t, "tcp4", "127.0.0.1:0"))
	many := map[service.Address][]netip.AddrPort{}
	for i := range r.objects.Services.MaxEntries() + 1 {
		ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		many[service.Rest(ip)] = nil
	}
	if err := r.Set(t.Context(), service.New(many)); err == nil || !r.observe().Table.Equal(service.New(r.entries)) {
		t.Errorf("got %v, want an error and the table as it was", err)
	}
}

// TestManyServices sets ten thousand services of three backends, changes one and reads all back.
func TestManyServices(t *testing.T) {
	r := start(t)
	many := map[service.Address][]netip.AddrPort{}
	for i := range 10_000 {
		at := service.Address{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 97, byte(i >> 8), byte(i)}), 80), Protocol: service.TCP}
		for j := range byte(3) {
			many[at] = append(many[at], netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244 + j, byte(i >> 8), byte(i)}), 8080))
		}
		many[service.Rest(at.Addr())] = nil
	}
	backend := listen(t, "tcp4", "127.0.0.1:0")
	set := func(what string) {
		t.Helper()
		began := time.Now()
		if err := r.Set(t.Context(), service.New(many)); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s", what, time.Since(began).Round(time.Millisecond))
	}
	set("all")
	at := service.Address{AddrPort: netip.MustParseAddrPort("10.97.7.7:80"), Protocol: service.TCP}
	many[at] = []netip.AddrPort{backend}
	set("one")
	if got := ask(t, at.AddrPort.String()); got != backend.String() {
		t.Errorf("answered by %q, want %s", got, backend)
	}
	began := time.Now()
	state := r.observe()
	t.Logf("read: %s", time.Since(began).Round(time.Millisecond))
	if !state.Table.Equal(service.New(many)) || state.Damaged != 0 {
		t.Errorf("%d entries with %d damaged, want %d with none", state.Table.Len(), state.Damaged, len(many))
	}
}
