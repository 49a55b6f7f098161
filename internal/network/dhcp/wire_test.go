package dhcp

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestAgainstServer leases and renews, by unicast and broadcast, over a veth pair whose far end serves DHCP.
func TestAgainstServer(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("REQUIRE_ROOT") == "1" {
			t.Fatal("root was promised (REQUIRE_ROOT=1), and this is not root")
		}
		t.Skip("needs root, for a network namespace of its own")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	near, far := vethPair(t)
	requests := serve(t, far)

	wire := Wire{Timeout: 500 * time.Millisecond, Tries: 3}
	grant, err := wire.Request(t.Context(), near)
	if err != nil {
		t.Fatal(err)
	}
	if grant.Lease.Address != netip.MustParsePrefix("10.5.0.7/24") || grant.Lease.Gateway != netip.MustParseAddr("10.5.0.1") {
		t.Errorf("lease: %+v", grant.Lease)
	}
	if d := cmp.Diff([]time.Duration{10 * time.Minute, 17*time.Minute + 30*time.Second}, []time.Duration{grant.Renew, grant.Rebind}); d != "" {
		t.Errorf("T1 and T2 (-want +got):\n%s", d)
	}
	addAddress(t, near, grant.Lease.Address)
	for _, rebind := range []bool{false, true} {
		renewed, err := wire.Renew(t.Context(), near, grant, rebind)
		if err != nil {
			t.Fatalf("renew (rebind %t): %v", rebind, err)
		}
		if renewed.Lease.Address != grant.Lease.Address {
			t.Errorf("renewed lease: %+v", renewed.Lease)
		}
		for len(requests) > 1 {
			<-requests
		}
		if got := <-requests; got.ciaddr != "10.5.0.7" || got.unicast == rebind {
			t.Errorf("renewal (rebind %t) was sent from %s, unicast %t", rebind, got.ciaddr, got.unicast)
		}
	}
}

type request struct {
	ciaddr  string
	unicast bool
}

// vethPair makes two connected links. The far one moves to a namespace of its own, in which serve runs, so that packets between the two go
// over the wire and not by way of loopback.
func vethPair(t *testing.T) (near, far string) {
	t.Helper()
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near0"}, PeerName: "far0"}); err != nil {
		t.Fatal(err)
	}
	setUp(t, "near0")
	return "near0", "far0"
}

func setUp(t *testing.T, name string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
}

func addAddress(t *testing.T, name string, p netip.Prefix) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	n := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: n}); err != nil {
		t.Fatal(err)
	}
}

// serve answers every DISCOVER and REQUEST with 10.5.0.7, and passes on what it knows of each REQUEST.
func serve(t *testing.T, link string) <-chan request {
	t.Helper()
	requests := make(chan request, 16)
	handler := func(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
		kind := dhcpv4.MessageTypeOffer
		if m.MessageType() == dhcpv4.MessageTypeRequest {
			kind = dhcpv4.MessageTypeAck
			from, _ := peer.(*net.UDPAddr)
			requests <- request{m.ClientIPAddr.String(), from != nil && from.IP.Equal(m.ClientIPAddr)}
		}
		reply, err := dhcpv4.NewReplyFromRequest(m,
			dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.IPv4(10, 5, 0, 7)), dhcpv4.WithServerIP(net.IPv4(10, 5, 0, 1)),
			dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(net.IPv4(10, 5, 0, 1)), dhcpv4.WithLeaseTime(1200),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 5, 0, 1))))
		if err != nil {
			t.Errorf("make reply: %v", err)
			return
		}
		if _, err := conn.WriteTo(reply.ToBytes(), peer); err != nil {
			t.Logf("answer %s: %v", peer, err)
		}
	}
	moved, ready := make(chan int), make(chan *server4.Server)
	go func() {
		// The thread keeps its namespace and ends with the goroutine.
		runtime.LockOSThread()
		defer close(ready)
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("enter the server's namespace: %v", err)
			return
		}
		moved <- unix.Gettid()
		<-moved
		setUp(t, link)
		addAddress(t, link, netip.MustParsePrefix("10.5.0.1/24"))
		server, err := server4.NewServer(link, &net.UDPAddr{IP: net.IPv4zero, Port: dhcpv4.ServerPort}, handler)
		if err != nil {
			t.Errorf("start server: %v", err)
			return
		}
		ready <- server
	}()
	l, err := netlink.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetNsPid(l, <-moved); err != nil {
		t.Fatal(err)
	}
	moved <- 0
	server := <-ready
	if server == nil {
		t.Fatal("no server")
	}
	go func() { _ = server.Serve() }()
	t.Cleanup(func() { server.Close() })
	return requests
}

func TestGrantTrustsNoValue(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, test := range []struct {
		name string
		with []dhcpv4.Modifier
		want string
	}{
		{"no address", nil, "0.0.0.0 is no address for a host"},
		{"loopback", []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1))}, ""},
		{"no mask bits", []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(10, 5, 0, 7)), dhcpv4.WithNetmask(net.CIDRMask(0, 32))}, ""},
		{"mask with holes", []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(10, 5, 0, 7)), dhcpv4.WithNetmask(net.IPv4Mask(255, 0, 255, 0))}, ""},
	} {
		ack, err := dhcpv4.New(test.with...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newGrant(&nclient4.Lease{ACK: ack}, now); err == nil {
			t.Errorf("%s: accepted", test.name)
		}
	}
	ack, err := dhcpv4.New(dhcpv4.WithYourIP(net.IPv4(10, 5, 0, 7)), dhcpv4.WithLeaseTime(600),
		dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	grant, err := newGrant(&nclient4.Lease{ACK: ack}, now)
	if err != nil {
		t.Fatal(err)
	}
	if grant.Renew != 5*time.Minute || grant.Rebind != 525*time.Second {
		t.Errorf("T1 %s and T2 %s of a lease whose own T1 is past its end", grant.Renew, grant.Rebind)
	}
}

func FuzzGrant(f *testing.F) {
	ack, err := dhcpv4.New(dhcpv4.WithYourIP(net.IPv4(10, 5, 0, 7)), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(60))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ack.ToBytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		ack, err := dhcpv4.FromBytes(data)
		if err != nil {
			return
		}
		grant, err := newGrant(&nclient4.Lease{ACK: ack}, time.Unix(1000, 0))
		if err == nil && (!grant.Lease.Address.IsValid() || grant.Renew <= 0 || grant.Rebind <= grant.Renew) {
			t.Errorf("accepted %+v", grant)
		}
	})
}
