package wire

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Host is what a Wire says it is: an address of the machine's network that
// nobody has.
type Host struct {
	MAC     net.HardwareAddr
	Address netip.Addr
}

// Scan knocks at TCP ports of a node as host, with a first segment of a connection
// (SYN, RFC 9293 3.5), and returns those that accept. A port that answers nothing
// is knocked at three times; if it stays silent, that is an error: nothing is
// known of it then.
func (w *Wire) Scan(ctx context.Context, host Host, nodeMAC net.HardwareAddr, node netip.Addr, ports []uint16) ([]uint16, error) {
	const (
		tries   = 3
		burst   = 64                   // what a card's queue takes at once
		pause   = 5 * time.Millisecond // between bursts
		patient = 3 * time.Second      // after the last
	)
	s := &scan{answers: make(map[uint16]bool, len(ports))}
	stop := w.Listen(func(frame []byte) { s.see(w, host, node, frame) })
	defer stop()
	for range tries {
		sent := 0
		for _, port := range ports {
			if s.answered(port) {
				continue
			}
			frame, err := knock(host, nodeMAC, node, port)
			if err != nil {
				return nil, err
			}
			if err := w.Send(frame); err != nil {
				return nil, err
			}
			if sent++; sent%burst != 0 {
				continue
			}
			if err := sleep(ctx, pause); err != nil {
				return nil, err
			}
		}
		if sent == 0 {
			break
		}
		if err := sleep(ctx, patient); err != nil {
			return nil, err
		}
	}
	return s.result(len(ports))
}

// AllPorts are the ports that TCP has.
func AllPorts() []uint16 {
	list := make([]uint16, 1<<16-1)
	for i := range list {
		list[i] = uint16(i + 1)
	}
	return list
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// scan is what a Scan has seen so far.
type scan struct {
	mu sync.Mutex
	// answers says of a port whether it accepted; without an entry it is not known.
	answers map[uint16]bool
}

func (s *scan) answered(port uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.answers[port]
	return ok
}

func (s *scan) result(ports int) ([]uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.answers) < ports {
		return nil, fmt.Errorf("scan node: %d of %d ports gave no answer, expected each to accept or to refuse", ports-len(s.answers), ports)
	}
	var open []uint16
	for port, accepts := range s.answers {
		if accepts {
			open = append(open, port)
		}
	}
	slices.Sort(open)
	return open, nil
}

// knockPort is the scanner's own port.
const knockPort = 40000

// see notes answers, and tells the node the scanner's MAC address.
func (s *scan) see(w *Wire, host Host, node netip.Addr, frame []byte) {
	packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	if arp, ok := packet.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		if target, _ := netip.AddrFromSlice(arp.DstProtAddress); arp.Operation == layers.ARPRequest && target == host.Address {
			if answer, err := tell(host, arp); err == nil {
				// Not here: the network may be waiting for this reader. A node
				// that gets no answer asks again.
				go func() { _ = w.Send(answer) }()
			}
		}
		return
	}
	ip, _ := packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	tcp, _ := packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if ip == nil || tcp == nil || tcp.DstPort != knockPort {
		return
	}
	if from, _ := netip.AddrFromSlice(ip.SrcIP.To4()); from != node {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case tcp.SYN && tcp.ACK:
		s.answers[uint16(tcp.SrcPort)] = true
	case tcp.RST:
		if !s.answers[uint16(tcp.SrcPort)] {
			s.answers[uint16(tcp.SrcPort)] = false
		}
	}
}

func knock(host Host, nodeMAC net.HardwareAddr, node netip.Addr, port uint16) ([]byte, error) {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: host.Address.AsSlice(), DstIP: node.AsSlice()}
	tcp := &layers.TCP{SrcPort: knockPort, DstPort: layers.TCPPort(port), Seq: 1, SYN: true, Window: 1024}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	return serialize(&layers.Ethernet{SrcMAC: host.MAC, DstMAC: nodeMAC, EthernetType: layers.EthernetTypeIPv4}, ip, tcp)
}

// tell answers "who has this address?" (RFC 826).
func tell(host Host, question *layers.ARP) ([]byte, error) {
	return serialize(
		&layers.Ethernet{SrcMAC: host.MAC, DstMAC: question.SourceHwAddress, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
			SourceHwAddress: host.MAC, SourceProtAddress: host.Address.AsSlice(),
			DstHwAddress: question.SourceHwAddress, DstProtAddress: question.SourceProtAddress,
		})
}

func serialize(list ...gopacket.SerializableLayer) ([]byte, error) {
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		return nil, fmt.Errorf("make frame: %w", err)
	}
	return buffer.Bytes(), nil
}
