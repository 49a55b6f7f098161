package cni

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const testConfig = `{"cniVersion":"1.1.0","name":"cyvive","type":"cyvive","podCIDR":"10.244.3.0/29","mtu":1400}`

// node is a fresh network namespace that stands for the node's. The test's
// goroutine is bound to it.
type node struct {
	t      *testing.T
	plugin plugin
	ns     netns.NsHandle
}

func newNode(t *testing.T) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("REQUIRE_ROOT") == "1" {
			t.Fatal("REQUIRE_ROOT=1, but this is not root")
		}
		t.Skip("needs root, to make network namespaces")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	// /proc/sys shows the network namespace of the thread that looks.
	n := &node{t: t, ns: ns, plugin: plugin{dir: t.TempDir(), forwarding: forwardingFile}}
	up(t, "lo")
	return n
}

func up(t *testing.T, name string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// pod makes a network namespace and returns it with a path to it.
func (n *node) pod() (netns.NsHandle, string) {
	n.t.Helper()
	pod, err := netns.New()
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = pod.Close() })
	up(n.t, "lo")
	if err := netns.Set(n.ns); err != nil {
		n.t.Fatal(err)
	}
	return pod, fmt.Sprintf("/proc/self/fd/%d", int(pod))
}

// call runs a command of the plugin and returns what it prints.
func (n *node) call(command func(*skel.CmdArgs) error, id, path string) (string, error) {
	n.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		n.t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = write
	failure := command(&skel.CmdArgs{ContainerID: id, Netns: path, IfName: "eth0", StdinData: []byte(testConfig)})
	os.Stdout = stdout
	_ = write.Close()
	var output strings.Builder
	if _, err := fmt.Fscan(read, new(string)); err == nil {
		output.WriteString("result")
	}
	_ = read.Close()
	return output.String(), failure
}

func (n *node) add(id, path string) {
	n.t.Helper()
	if _, err := n.call(n.plugin.add, id, path); err != nil {
		n.t.Fatal(err)
	}
}

// address returns what the plugin recorded.
func (n *node) address(id string) netip.Addr {
	n.t.Helper()
	s, err := openAddresses(n.plugin.dir)
	if err != nil {
		n.t.Fatal(err)
	}
	defer s.Close()
	address, ok, err := s.of(attachment{id, "eth0"})
	if err != nil || !ok {
		n.t.Fatalf("address of %s: got %t, %v", id, ok, err)
	}
	return address
}

// serve answers one TCP connection in a namespace; it returns when it listens.
func serve(t *testing.T, ns netns.NsHandle, address string) {
	t.Helper()
	listening := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			listening <- err
			return
		}
		l, err := net.Listen("tcp4", address)
		listening <- err
		if err != nil {
			return
		}
		defer l.Close()
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write([]byte(c.RemoteAddr().String()))
			_ = c.Close()
		}
	}()
	if err := <-listening; err != nil {
		t.Fatal(err)
	}
}

// ask connects from a namespace and returns by which address the server saw it.
func ask(ns netns.NsHandle, address string) (string, error) {
	type answer struct {
		text string
		err  error
	}
	done := make(chan answer)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			done <- answer{err: err}
			return
		}
		c, err := net.DialTimeout("tcp4", address, 5*time.Second)
		if err != nil {
			done <- answer{err: err}
			return
		}
		defer c.Close()
		var text string
		_, err = fmt.Fscan(c, &text)
		host, _, _ := net.SplitHostPort(text)
		done <- answer{host, err}
	}()
	a := <-done
	return a.text, a.err
}

// own gives the node an address of its own. Kernels for containers lack dummy links, so
// it is on the loopback link, which routing does not tell from any other.
func (n *node) own(text string) {
	n.t.Helper()
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		n.t.Fatal(err)
	}
	address, err := netlink.ParseAddr(text)
	if err == nil {
		err = netlink.AddrAdd(loopback, address)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

func TestPodsReachEachOtherAndTheNode(t *testing.T) {
	n := newNode(t)
	n.own("10.5.0.2/32")
	one, onePath := n.pod()
	two, twoPath := n.pod()
	n.add("one", onePath)
	n.add("two", twoPath)
	a, b := n.address("one"), n.address("two")

	serve(t, one, a.String()+":80")
	if got, err := ask(n.ns, a.String()+":80"); err != nil || got != "10.5.0.2" {
		t.Errorf("node to pod: got %q, %v, want the node's address", got, err)
	}
	serve(t, n.ns, "10.5.0.2:80")
	if got, err := ask(one, "10.5.0.2:80"); err != nil || got != a.String() {
		t.Errorf("pod to node: got %q, %v, want the pod's address", got, err)
	}
	serve(t, two, b.String()+":80")
	if got, err := ask(one, b.String()+":80"); err != nil || got != a.String() {
		t.Errorf("pod to pod: got %q, %v, want the pod's address", got, err)
	}
	if data, _ := os.ReadFile(forwardingFile); string(data) != "1\n" {
		t.Errorf("forwarding: got %q, want it on", data)
	}
	if _, err := n.call(n.plugin.check, "one", onePath); err != nil {
		t.Errorf("CHECK of a pod that is well: %v", err)
	}
	if _, err := n.call(n.plugin.check, "three", onePath); err == nil {
		t.Error("CHECK of an unknown pod: got no error")
	}
}

// send sends a datagram from a namespace, by an address that is local there.
func send(t *testing.T, ns netns.NsHandle, from netip.Addr, to netip.AddrPort, text string) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		c, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(to))
		if err == nil {
			_, err = c.Write([]byte(text))
			_ = c.Close()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestForgedSourceIsDropped: what a pod sends by another pod's address is not heard.
// Here the address is local to the pod, which needs more than CAP_NET_RAW, and makes the
// same packet.
func TestForgedSourceIsDropped(t *testing.T) {
	n := newNode(t)
	// Where this machine filters already, so would the pair.
	for _, links := range []string{"all", "default"} {
		if err := os.WriteFile(filepath.Join(confDir, links, "rp_filter"), []byte("0\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n.own("10.5.0.2/32")
	one, onePath := n.pod()
	_, twoPath := n.pod()
	n.add("one", onePath)
	n.add("two", twoPath)
	a, b := n.address("one"), n.address("two")
	inside, err := netlink.NewHandleAt(one)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	loopback, err := inside.LinkByName("lo")
	if err == nil {
		err = inside.AddrAdd(loopback, &netlink.Addr{IPNet: single(b)})
	}
	if err != nil {
		t.Fatal(err)
	}
	heard, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 5, 0, 2)})
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	to := heard.LocalAddr().(*net.UDPAddr).AddrPort()
	send(t, one, b, to, "forged")
	send(t, one, a, to, "its own")
	if err := heard.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for buffer := make([]byte, 64); ; {
		size, from, err := heard.ReadFromUDPAddrPort(buffer)
		if err != nil {
			break // the deadline
		}
		got = append(got, string(buffer[:size])+" from "+from.Addr().Unmap().String())
	}
	if diff := cmp.Diff([]string{"its own from " + a.String()}, got); diff != "" {
		t.Errorf("heard from a pod that sends by another's address, too (-want +got):\n%s", diff)
	}
}

func TestDelLeavesNothing(t *testing.T) {
	n := newNode(t)
	before := n.links()
	_, path := n.pod()
	n.add("one", path)
	for range 2 { // the second finds nothing, which is no error
		if _, err := n.call(n.plugin.del, "one", path); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, n.links()); diff != "" {
		t.Errorf("links after DEL (-before +after):\n%s", diff)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil || len(routes) != 0 {
		t.Errorf("routes after DEL: got %v, %v, want none", routes, err)
	}
	if left := n.addresses(); len(left) != 0 {
		t.Errorf("addresses after DEL: got %v, want none", left)
	}
}

func TestGCKeepsTheValidOnly(t *testing.T) {
	n := newNode(t)
	for _, id := range []string{"one", "two"} {
		_, path := n.pod()
		n.add(id, path)
	}
	config := strings.TrimSuffix(testConfig, "}") + `,"cni.dev/valid-attachments":[{"containerID":"two","ifname":"eth0"}]}`
	if err := n.plugin.gc(&skel.CmdArgs{StdinData: []byte(config)}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"two eth0"}, n.addresses()); diff != "" {
		t.Errorf("attachments after GC (-want +got):\n%s", diff)
	}
	want := hostName(attachment{"two", "eth0"})
	if diff := cmp.Diff([]string{"lo", want}, n.links()); diff != "" {
		t.Errorf("links after GC (-want +got):\n%s", diff)
	}
}

func TestAddThatFailsLeavesNothing(t *testing.T) {
	n := newNode(t)
	if _, err := n.call(n.plugin.add, "one", "/nonexistent"); err == nil {
		t.Fatal("ADD to a namespace that is not there: got no error")
	}
	if left := n.addresses(); len(left) != 0 {
		t.Errorf("addresses: got %v, want none", left)
	}
	if diff := cmp.Diff([]string{"lo"}, n.links()); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
}

func (n *node) links() []string {
	n.t.Helper()
	list, err := netlink.LinkList()
	if err != nil {
		n.t.Fatal(err)
	}
	var names []string
	for _, l := range list {
		names = append(names, l.Attrs().Name)
	}
	return names
}

func (n *node) addresses() []string {
	n.t.Helper()
	s, err := openAddresses(n.plugin.dir)
	if err != nil {
		n.t.Fatal(err)
	}
	defer s.Close()
	owners, err := s.all()
	if err != nil {
		n.t.Fatal(err)
	}
	var list []string
	for _, owner := range owners {
		list = append(list, owner)
	}
	return list
}

func TestResultIsWhatTheSpecificationAsksFor(t *testing.T) {
	mac, _ := net.ParseMAC("02:00:00:00:00:01")
	r := result(ends{host: "cy1", pod: "eth0", hostMAC: mac, podMAC: mac}, "/ns", netip.MustParseAddr("10.244.3.2"), 1400)
	for _, version := range []string{"0.4.0", "1.0.0", "1.1.0"} {
		converted, err := r.GetAsVersion(version)
		if err != nil {
			t.Fatalf("as %s: %v", version, err)
		}
		data, err := json.Marshal(converted)
		if err != nil {
			t.Fatal(err)
		}
		var back current.Result
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if got := back.IPs[0].Address.String(); got != "10.244.3.2/32" || *back.IPs[0].Interface != 1 {
			t.Errorf("as %s: got %s on %d", version, got, *back.IPs[0].Interface)
		}
	}
}
