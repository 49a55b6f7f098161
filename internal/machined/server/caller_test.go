package server_test

import (
	"net"
	"net/netip"
	"testing"

	"google.golang.org/grpc/peer"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// TestAddressesOfCall: IPv4 is IPv4, however the socket has it, and what is no TCP has no addresses.
func TestAddressesOfCall(t *testing.T) {
	tcp := func(ip, zone string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 50000, Zone: zone} }
	for name, test := range map[string]struct {
		peer          *peer.Peer
		local, remote string
	}{
		"IPv4":       {&peer.Peer{LocalAddr: tcp("10.5.0.7", ""), Addr: tcp("192.0.2.1", "")}, "10.5.0.7", "192.0.2.1"},
		"link-local": {&peer.Peer{LocalAddr: tcp("fe80::1", "eth0"), Addr: tcp("fe80::2", "eth0")}, "fe80::1%eth0", "fe80::2%eth0"},
		"no TCP":     {&peer.Peer{LocalAddr: &net.UnixAddr{Name: "a"}, Addr: &net.UnixAddr{Name: "b"}}, "", ""},
		"no address": {&peer.Peer{}, "", ""},
	} {
		var local, remote netip.Addr
		if test.local != "" {
			local, remote = netip.MustParseAddr(test.local), netip.MustParseAddr(test.remote)
		}
		gotLocal, gotRemote := server.AddressesOf(peer.NewContext(t.Context(), test.peer))
		if gotLocal != local || gotRemote != remote {
			t.Errorf("%s: got %v and %v, want %v and %v", name, gotLocal, gotRemote, local, remote)
		}
	}
	if local, remote := server.AddressesOf(t.Context()); local.IsValid() || remote.IsValid() {
		t.Errorf("without a connection: got %v and %v", local, remote)
	}
}
