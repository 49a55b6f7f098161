// Package network gives virtual machines their network card, and the host its
// way to the ports of a node. Whatever kind it is, a network reaches no further
// than the loopback interface of the host: a guest has no route to the outside.
package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Network connects machines.
type Network interface {
	// Arguments returns QEMU's options for the card of one machine. The order of
	// machines must be the same at each start, as addresses follow from it.
	Arguments(machine int) []string
}

// Forward carries TCP connections from a port of 127.0.0.1 on the host to a
// port of the guest.
type Forward struct{ HostPort, GuestPort uint16 }

// Reach lets a guest connect to one place on the host: connections to Port of UserHost run Command, a path and arguments without commas and quotes, whose
// standard input and output they become (see hack/qemu/dial).
type Reach struct {
	Port    uint16
	Command string
}

// Boot is a program that DHCP tells the firmware of.
type Boot struct {
	// File is the name of one in Folder, which is served by TFTP to the machine alone, or a URL (qemu(1), bootfile and tftp). Empty tells of none.
	File, Folder string
}

// bootIndex puts the network behind all disks in the order in which firmware tries them.
const bootIndex = 100

// User is QEMU's own user-mode network (libslirp): it serves one machine an
// address by DHCP and has no connection to other machines.
type User struct {
	Forwards []Forward
	// Reach is all that the guest can connect to.
	Reach []Reach
	// Boot is what firmware starts from the network, if no disk starts.
	Boot Boot
	// Wire opens the network to one more party on the host: datagrams between
	// the sockets WireGuest and WireHost in the machine's folder are its frames,
	// from and to everybody on it.
	Wire bool
}

// The sockets of User's Wire: QEMU's, and the one that a program on the host binds.
const (
	WireGuest = "wire-guest.sock"
	WireHost  = "wire-host.sock"
)

// Addresses that libslirp hands out (qemu(1), -netdev user).
var (
	UserGuest   = netip.MustParseAddr("10.0.2.15")
	UserGateway = netip.MustParseAddr("10.0.2.2")
	// UserHost is nobody's own; what a guest may reach is behind its ports.
	UserHost = netip.MustParseAddr("10.0.2.100")
)

// Arguments implements Network. With restrict, libslirp drops all that the guest
// sends to anything but itself; forwards, of either kind, stay open (qemu(1)).
func (u User) Arguments(machine int) []string {
	backend := "user,id=" + u.backend() + ",restrict=on,ipv6=off"
	for _, f := range u.Forwards {
		backend += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", f.HostPort, f.GuestPort)
	}
	for _, r := range u.Reach {
		backend += fmt.Sprintf(",guestfwd=tcp:%s:%d-cmd:%s", UserHost, r.Port, r.Command)
	}
	if u.Boot.Folder != "" {
		backend += ",tftp=" + strings.ReplaceAll(u.Boot.Folder, ",", ",,")
	}
	card := "virtio-net-pci,netdev=net0,romfile=,mac=" + MAC(machine)
	if u.Boot.File != "" {
		backend += ",bootfile=" + strings.ReplaceAll(u.Boot.File, ",", ",,")
		card += fmt.Sprintf(",bootindex=%d", bootIndex)
	}
	arguments := []string{"-netdev", backend}
	if u.Wire {
		// A hub repeats each frame to all of its ports but the sender's. QEMU wants
		// what a port names before the port.
		arguments = append(arguments,
			"-netdev", "dgram,id=wire0,local.type=unix,local.path="+WireGuest+",remote.type=unix,remote.path="+WireHost,
			"-netdev", "hubport,id=hub0,hubid=0,netdev=user0",
			"-netdev", "hubport,id=hub1,hubid=0,netdev=wire0",
			"-netdev", "hubport,id=net0,hubid=0",
		)
	}
	return append(arguments, "-device", card)
}

func (u User) backend() string {
	if u.Wire {
		return "user0"
	}
	return "net0"
}

// MAC returns a locally administered address (IEEE 802, bit 1 of the first
// octet), the same for the same machine.
func MAC(machine int) string {
	return fmt.Sprintf("52:54:00:c7:%02x:%02x", byte(machine>>8), byte(machine))
}

// ErrPortTaken says that another program listens on a port.
var ErrPortTaken = errors.New("port is taken")

// CheckPort tells whether a port of 127.0.0.1 can be listened on.
func CheckPort(port uint16) error {
	listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("listen on 127.0.0.1:%d: %w", port, ErrPortTaken)
	}
	return listener.Close()
}

// FreePorts returns one port of 127.0.0.1 for each wanted one: that port itself
// where it is free, otherwise, and for 0, one that the kernel picks. All differ.
// Another program may take a port before it is used; QEMU then says so.
func FreePorts(wanted ...uint16) ([]uint16, error) {
	ports := make([]uint16, 0, len(wanted))
	var open []net.Listener
	defer func() {
		for _, l := range open {
			_ = l.Close()
		}
	}()
	for _, want := range wanted {
		listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", want))
		if err != nil && want != 0 {
			listener, err = net.Listen("tcp4", "127.0.0.1:0")
		}
		if err != nil {
			return nil, fmt.Errorf("find free port: %w", err)
		}
		open = append(open, listener)
		ports = append(ports, uint16(listener.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

// AwaitPort waits until something accepts connections on a port of 127.0.0.1.
// With User that is QEMU itself, whether or not the guest listens.
func AwaitPort(ctx context.Context, port uint16) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for 127.0.0.1:%d: %w", port, err)
		case <-tick.C:
		}
	}
}

// Describe prints forwards for a person.
func Describe(forwards []Forward) string {
	words := make([]string, 0, len(forwards))
	for _, f := range forwards {
		words = append(words, fmt.Sprintf("127.0.0.1:%d → %d", f.HostPort, f.GuestPort))
	}
	return strings.Join(words, ", ")
}
