package wire

import (
	"bytes"
	"fmt"
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Opened describes a frame by which the machine with this MAC address turns to
// somebody by itself; it is empty for any other. Not meant are
//
//   - answers on connections that others opened to it: TCP segments that are not
//     the first of a connection
//   - what keeps a network card on its network: ARP (RFC 826), neighbours and
//     groups of IPv6 on the link (RFC 4861, 3810), renewals of the address by DHCP
//     (RFC 2131)
//
// A frame that cannot be read counts.
func Opened(machine net.HardwareAddr, frame []byte) string {
	packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	ethernet, _ := packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if ethernet == nil || !bytes.Equal(ethernet.SrcMAC, machine) || ethernet.EthernetType == layers.EthernetTypeARP {
		return ""
	}
	if ip, ok := packet.Layer(layers.LayerTypeIPv6).(*layers.IPv6); ok {
		if ip.DstIP.IsLinkLocalMulticast() || ip.DstIP.IsLinkLocalUnicast() {
			return ""
		}
		return fmt.Sprintf("IPv6 %s to %s", ip.NextHeader, ip.DstIP)
	}
	ip, _ := packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if ip == nil {
		return fmt.Sprintf("frame of type %s to %s", ethernet.EthernetType, ethernet.DstMAC)
	}
	if tcp, ok := packet.Layer(layers.LayerTypeTCP).(*layers.TCP); ok {
		if !tcp.SYN || tcp.ACK {
			return ""
		}
		return fmt.Sprintf("TCP to %s port %d", ip.DstIP, tcp.DstPort)
	}
	if udp, ok := packet.Layer(layers.LayerTypeUDP).(*layers.UDP); ok {
		if udp.SrcPort == 68 && udp.DstPort == 67 {
			return ""
		}
		return fmt.Sprintf("UDP to %s port %d", ip.DstIP, udp.DstPort)
	}
	return fmt.Sprintf("%s to %s", ip.Protocol, ip.DstIP)
}
