package network

import "fmt"

// Cable is a second card of a machine, with a cable to one other machine and to nothing else. Neither hands out addresses. Frames are lost while the other machine is
// off, or after VM.Connect has cut CableNetdev.
type Cable struct {
	// Here and There are the sockets of this machine's end and the other's, as this machine's folder sees them: a short path, since a socket's may have
	// 107 bytes at most (unix(7)).
	Here, There string
}

// CableNetdev is the name of the -netdev at which a cable is cut. The guest's card is behind a hub, so that it keeps its carrier: to the guest it is as if the cable
// were cut far away.
const CableNetdev = "cable0"

// CableSocket is the file of a machine's end of its cable.
const CableSocket = "cable.sock"

// Arguments implements Network. They belong behind those of User: the guest's first card is that of the lower address on the bus.
func (c Cable) Arguments(machine int) []string {
	return []string{
		// QEMU wants what a port names before the port, and removes a socket that is left (net/dgram.c of QEMU 7.2).
		"-netdev", "dgram,id=" + CableNetdev + ",local.type=unix,local.path=" + c.Here + ",remote.type=unix,remote.path=" + c.There,
		// Hub 0 is User's.
		"-netdev", "hubport,id=cablehub0,hubid=1,netdev=" + CableNetdev,
		"-netdev", "hubport,id=net1,hubid=1",
		"-device", "virtio-net-pci,netdev=net1,romfile=,mac=" + CableMAC(machine),
	}
}

// CableMAC is the address of a machine's second card, as MAC is that of its first.
func CableMAC(machine int) string {
	return fmt.Sprintf("52:54:00:c8:%02x:%02x", byte(machine>>8), byte(machine))
}
