package rtnl

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/networktest"
)

// enterNamespace moves the test's goroutine, on a thread of its own that ends with it, into a fresh network and UTS namespace.
func enterNamespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("REQUIRE_ROOT") == "1" {
			t.Fatal("root was promised (REQUIRE_ROOT=1), and this is not root")
		}
		t.Skip("needs root, for a network namespace of its own")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWUTS); err != nil {
		t.Fatalf("enter namespaces: %v", err)
	}
}

// addVeth makes a pair of connected links and sets the far end up.
func addVeth(t *testing.T, name, peer string) {
	t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatalf("add veth pair: %v", err)
	}
	far, err := netlink.LinkByName(peer)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(far); err != nil {
		t.Fatal(err)
	}
}

func openHost(t *testing.T) *Host {
	t.Helper()
	host, err := Open(filepath.Join(t.TempDir(), "resolv.conf"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	return host
}

func TestConformance(t *testing.T) {
	// The suite's subtests run on goroutines of their own, so all system calls go through the handle that is opened here.
	enterNamespace(t)
	addVeth(t, "veth0", "veth1")
	addVeth(t, "veth2", "veth3")
	host := openHost(t)
	networktest.Conformance(t, host, "veth0", "veth2")
	links, err := host.Links(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Physical || l.Name == "lo" {
			t.Errorf("link %s: physical %t; a veth is not, and loopback is not listed", l.Name, l.Physical)
		}
		if l.Name == "veth0" && !l.Carrier {
			t.Error("veth0 has no carrier though both ends are up")
		}
	}
}

func TestForeignRoutesAreLeftAlone(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "veth0", "veth1")
	host := openHost(t)
	if err := errors.Join(
		host.SetUp(t.Context(), "veth0"),
		host.AddAddress(t.Context(), "veth0", netip.MustParsePrefix("10.5.0.2/24")),
	); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("veth0")
	if err != nil {
		t.Fatal(err)
	}
	foreign := defaultRoute(link, network.NextHop{Address: netip.MustParseAddr("10.5.0.77"), Metric: 50})
	foreign.Protocol = unix.RTPROT_STATIC
	if err := netlink.RouteAdd(foreign); err != nil {
		t.Fatal(err)
	}
	links, err := host.Links(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if len(l.Gateways) != 0 {
			t.Errorf("gateways of %s: got %v, want none: the route is of another protocol", l.Name, l.Gateways)
		}
	}
}

func TestForeignAddressesAreLeftAlone(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "veth0", "veth1")
	host := openHost(t)
	link, err := netlink.LinkByName("veth0")
	if err != nil {
		t.Fatal(err)
	}
	alone, peer := netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("10.8.0.1/32")
	if err := errors.Join(
		netlink.LinkSetUp(link), netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(alone)}),
		netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(peer), Peer: ipNet(netip.MustParsePrefix("10.8.0.2/30"))}),
	); err != nil {
		t.Fatal(err)
	}
	networktest.Converge(t, network.New(host, &networktest.DHCP{}, &networktest.Services{}), network.Spec{})
	links, err := host.Links(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Name != "veth0" {
			continue
		}
		if !l.Up || !slices.Equal(l.Addresses, []netip.Prefix{alone, peer}) || len(l.Own) > 0 {
			t.Errorf("veth0: up %t, addresses %v, the domain's %v", l.Up, l.Addresses, l.Own)
		}
	}
}

func TestHostname(t *testing.T) {
	enterNamespace(t)
	host := openHost(t)
	if err := host.SetHostname("node1"); err != nil {
		t.Fatal(err)
	}
	if got, err := host.Hostname(); err != nil || got != "node1" {
		t.Errorf("host name: got %q, %v", got, err)
	}
}

func TestWatchWakes(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "veth0", "veth1")
	host := openHost(t)
	woken := make(chan struct{}, 1)
	wake := func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stop, err := subscribe(ctx, wake)
	if err != nil {
		t.Fatal(err)
	}
	if err := host.SetUp(t.Context(), "veth0"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-woken:
	case <-time.After(10 * time.Second):
		t.Error("no wake after a link was set up")
	}
	cancel()
	if err := <-stop; !errors.Is(err, context.Canceled) {
		t.Errorf("end of the watch: %v", err)
	}
}

func TestParseResolver(t *testing.T) {
	want := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}
	if got := parseResolver(formatResolver(want)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := parseResolver([]byte("nameserver\nnameserver x\n# nameserver 1.1.1.1\nsearch a b\n")); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}

func FuzzParseResolver(f *testing.F) {
	f.Add([]byte("nameserver 10.0.0.1\noptions edns0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		servers := parseResolver(data)
		if again := parseResolver(formatResolver(servers)); !slices.Equal(again, servers) {
			t.Errorf("got %v after a round trip of %v", again, servers)
		}
	})
}
