// Package uevent listens to the kernel's device events (NETLINK_KOBJECT_UEVENT,
// lib/kobject_uevent.c).
package uevent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Event is one device event. Values that are not in it are empty.
type Event struct {
	Action    string // add, remove, change, bind, …
	DevPath   string // below /sys
	Subsystem string
	DevName   string // below /dev
	Modalias  string
}

// Sizes of the socket's buffers: a coldplug of a large machine sends some
// thousand events of less than 2 KiB (UEVENT_BUFFER_SIZE) at once.
const (
	receiveBufferBytes = 8 << 20
	maxEventBytes      = 8 << 10
)

// Listener receives events.
type Listener struct{ file *os.File }

// Listen joins the kernel's event group. Events queue from then on.
func Listen() (*Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("listen for device events: %w", err)
	}
	// Only root may exceed rmem_max; without it bursts may be lost, and the
	// coldplug scan finds what they said.
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBufferBytes)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen for device events: %w", err)
	}
	return &Listener{file: os.NewFile(uintptr(fd), "uevent")}, nil
}

// Close ends Run.
func (l *Listener) Close() error { return l.file.Close() }

// Run calls f for each event of the kernel until ctx ends. Where the kernel
// dropped events, f is called with a zero Event: look at everything again.
func (l *Listener) Run(ctx context.Context, f func(Event)) error {
	stop := context.AfterFunc(ctx, func() { l.file.Close() })
	defer stop()
	raw, err := l.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("receive device event: %w", err)
	}
	buf := make([]byte, maxEventBytes)
	for {
		n, from, err := receive(raw, buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			f(Event{})
			continue
		case err != nil:
			return fmt.Errorf("receive device event: %w", err)
		}
		// Only the kernel (port 0) is believed; any root process may send.
		if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
			continue
		}
		if e, err := Parse(buf[:n]); err == nil {
			f(e)
		}
	}
}

func receive(raw interface {
	Read(func(uintptr) bool) error
}, buf []byte) (n int, from unix.Sockaddr, err error) {
	waitErr := raw.Read(func(fd uintptr) bool {
		for {
			n, from, err = unix.Recvfrom(int(fd), buf, 0)
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if waitErr != nil {
		return 0, nil, waitErr
	}
	return n, from, err
}

// Parse decodes a message: "action@devpath" and "KEY=value" strings, each
// ended by a zero byte.
func Parse(msg []byte) (Event, error) {
	var e Event
	head, rest, ok := bytes.Cut(msg, []byte{0})
	action, path, at := strings.Cut(string(head), "@")
	if !ok || !at || action == "" || !strings.HasPrefix(path, "/") {
		return e, fmt.Errorf("parse device event: head %.64q is not action@path", head)
	}
	e.Action, e.DevPath = action, path
	for field := range bytes.SplitSeq(rest, []byte{0}) {
		key, value, _ := strings.Cut(string(field), "=")
		switch key {
		case "SUBSYSTEM":
			e.Subsystem = value
		case "DEVNAME":
			e.DevName = value
		case "MODALIAS":
			e.Modalias = value
		}
	}
	return e, nil
}
