package wire

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/cyvive/cyvive/hack/qemu/network"
)

// ports are few, to be quick.
var ports = AllPorts()[:2000]

var (
	nodeMAC     = net.HardwareAddr{0x52, 0x54, 0, 0xc7, 0, 0}
	nodeAddress = netip.MustParseAddr("10.0.2.15")
	scanner     = Host{MAC: net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}, Address: netip.MustParseAddr("10.0.2.77")}
)

// startNode answers on the guest's side of the wire like a kernel's TCP: it
// accepts on open, is silent on deaf and refuses everything else. Its first
// answer comes after it has asked for the scanner's MAC address.
func startNode(t *testing.T, dir string, open, deaf []uint16) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, network.WireGuest)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	host := &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, network.WireHost)}
	send := func(list ...gopacket.SerializableLayer) {
		frame, err := serialize(list...)
		if err != nil {
			t.Error(err)
		}
		_, _ = conn.WriteToUnix(frame, host)
	}
	go func() {
		defer close(done)
		var known net.HardwareAddr
		for buffer := make([]byte, maxFrameBytes); ; {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			packet := gopacket.NewPacket(buffer[:n], layers.LayerTypeEthernet, gopacket.Default)
			if arp, ok := packet.Layer(layers.LayerTypeARP).(*layers.ARP); ok && arp.Operation == layers.ARPReply {
				known = slices.Clone(net.HardwareAddr(arp.SourceHwAddress))
			}
			tcp, _ := packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
			ip, _ := packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			if tcp == nil || slices.Contains(deaf, uint16(tcp.DstPort)) {
				continue
			}
			if known == nil {
				send(&layers.Ethernet{SrcMAC: nodeMAC, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP}, &layers.ARP{
					AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
					Operation: layers.ARPRequest, SourceHwAddress: nodeMAC, SourceProtAddress: nodeAddress.AsSlice(),
					DstHwAddress: make([]byte, 6), DstProtAddress: ip.SrcIP.To4(),
				})
				continue
			}
			accepts := slices.Contains(open, uint16(tcp.DstPort))
			answer := &layers.TCP{SrcPort: tcp.DstPort, DstPort: tcp.SrcPort, SYN: accepts, RST: !accepts, ACK: true, Ack: tcp.Seq + 1}
			back := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: ip.DstIP, DstIP: ip.SrcIP}
			if err := answer.SetNetworkLayerForChecksum(back); err != nil {
				t.Error(err)
			}
			send(&layers.Ethernet{SrcMAC: nodeMAC, DstMAC: known, EthernetType: layers.EthernetTypeIPv4}, back, answer)
		}
	}()
}

func openWire(t *testing.T, dir string) *Wire {
	t.Helper()
	w, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func TestScan(t *testing.T) {
	dir := t.TempDir()
	w := openWire(t, dir)
	want := []uint16{1, 443, 2000}
	startNode(t, dir, want, nil)
	got, err := w.Scan(t.Context(), scanner, nodeMAC, nodeAddress, ports)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

// TestScanSaysWhatItDoesNotKnow: silence is not the same as a closed port.
func TestScanSaysWhatItDoesNotKnow(t *testing.T) {
	dir := t.TempDir()
	w := openWire(t, dir)
	startNode(t, dir, nil, []uint16{22, 23})
	if _, err := w.Scan(t.Context(), scanner, nodeMAC, nodeAddress, ports); err == nil || !strings.Contains(err.Error(), "2 of 2000 ports gave no answer") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := w.Scan(ctx, scanner, nodeMAC, nodeAddress, ports); err == nil {
		t.Error("a scan whose time is over: no error")
	}
}

func TestOpened(t *testing.T) {
	frame := func(kind layers.EthernetType, list ...gopacket.SerializableLayer) []byte {
		all := append([]gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: nodeMAC, DstMAC: scanner.MAC, EthernetType: kind}}, list...)
		raw, err := serialize(all...)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	outside := net.IP{192, 0, 2, 1}
	tcp := func(flags layers.TCP) []byte {
		ip := &layers.IPv4{Version: 4, Protocol: layers.IPProtocolTCP, SrcIP: nodeAddress.AsSlice(), DstIP: outside}
		flags.SrcPort, flags.DstPort = 50000, 443
		if err := flags.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return frame(layers.EthernetTypeIPv4, ip, &flags)
	}
	udp := func(from, to layers.UDPPort) []byte {
		ip := &layers.IPv4{Version: 4, Protocol: layers.IPProtocolUDP, SrcIP: nodeAddress.AsSlice(), DstIP: outside}
		u := &layers.UDP{SrcPort: from, DstPort: to}
		if err := u.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return frame(layers.EthernetTypeIPv4, ip, u)
	}
	six := func(to string) []byte {
		return frame(layers.EthernetTypeIPv6, &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.ParseIP("fe80::1"), DstIP: net.ParseIP(to)})
	}
	other := tcp(layers.TCP{SYN: true})
	copy(other[6:], scanner.MAC)
	for _, test := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"connection to the outside", tcp(layers.TCP{SYN: true}), "TCP to 192.0.2.1 port 443"},
		{"answer to one from outside", tcp(layers.TCP{SYN: true, ACK: true}), ""},
		{"data on it", tcp(layers.TCP{ACK: true, PSH: true}), ""},
		{"somebody else's connection", other, ""},
		{"name to resolve", udp(3333, 53), "UDP to 192.0.2.1 port 53"},
		{"renewal of the address", udp(68, 67), ""},
		{"echo", frame(layers.EthernetTypeIPv4, &layers.IPv4{Version: 4, Protocol: layers.IPProtocolICMPv4, SrcIP: nodeAddress.AsSlice(), DstIP: outside}), "ICMPv4 to 192.0.2.1"},
		{"groups on the link", six("ff02::16"), ""},
		{"IPv6 to the outside", six("2001:db8::1"), "IPv6 ICMPv6 to 2001:db8::1"},
		{"neighbours", frame(layers.EthernetTypeARP), ""},
		{"what is not known", frame(layers.EthernetTypeCiscoDiscovery), "frame of type CiscoDiscovery to 52:54:00:01:02:03"},
		{"no frame", []byte{1, 2, 3}, ""},
	} {
		if got := Opened(nodeMAC, test.frame); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
