package mounter

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxConnections bounds what is open at once: each call may run a program, and whoever is root of the workload plane can make them. Kubelet makes a connection for each
// call (newGrpcConn in pkg/volume/csi/csi_client.go of Kubernetes 1.36), which may wait for a pool that is suspended; what comes beyond waits in the kernel.
const maxConnections = 256

// Of hands on the connections that processes in one cgroup have made, such as /workload/plane/kubelet, and closes all others at once. Refused is told of each of
// those, by the goroutine that accepts.
func Of(l net.Listener, cgroup string, refused func(error)) net.Listener {
	closed := make(chan struct{})
	return &guarded{
		Listener: l, cgroup: cgroup, refused: refused, open: make(chan struct{}, maxConnections), closed: closed, end: sync.OnceFunc(func() { close(closed) }),
	}
}

type guarded struct {
	net.Listener
	cgroup  string
	refused func(error)
	// open has one for each connection that was handed on and is not closed, and one for that which is waited for.
	open   chan struct{}
	closed chan struct{}
	end    func()
}

// counted is a connection that was handed on. Gone may be called more than once.
type counted struct {
	net.Conn
	gone func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.gone()
	return c.Conn.Close()
}

// Close implements net.Listener.
func (g *guarded) Close() error {
	g.end()
	return g.Listener.Close()
}

// Accept implements net.Listener.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		select {
		case g.open <- struct{}{}:
		case <-g.closed:
			return nil, net.ErrClosed
		}
		gone := sync.OnceFunc(func() { <-g.open })
		conn, err := g.Listener.Accept()
		if err != nil {
			gone()
			return nil, err
		}
		pid, group, err := peerOf(conn)
		if err == nil && group == g.cgroup {
			return &counted{conn, gone}, nil
		}
		conn.Close()
		gone()
		if err == nil {
			err = fmt.Errorf("process %d is in cgroup %s, expected %s", pid, group, g.cgroup)
		}
		g.refused(err)
	}
}

// peerOf returns the process at the other end, as it was when it connected, and its cgroup. One that has ended is an error.
func peerOf(conn net.Conn) (pid int32, group string, err error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, "", fmt.Errorf("ask for the peer of a %T: expected a Unix socket", conn)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, "", fmt.Errorf("ask for the peer: %w", err)
	}
	var peer *unix.Ucred
	fd := -1
	var inner error
	err = raw.Control(func(s uintptr) {
		if peer, inner = unix.GetsockoptUcred(int(s), unix.SOL_SOCKET, unix.SO_PEERCRED); inner == nil {
			fd, inner = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_PEERPIDFD) // Linux 6.5
		}
	})
	if err := errors.Join(err, inner); err != nil {
		return 0, "", fmt.Errorf("ask for the peer: %w", err)
	}
	defer unix.Close(fd)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", peer.Pid))
	if err != nil {
		return peer.Pid, "", fmt.Errorf("read cgroup of the peer: %w", err)
	}
	// If the process is there still, nobody else had its number when that was read.
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
		return peer.Pid, "", fmt.Errorf("look for the peer, process %d: %w", peer.Pid, err)
	}
	group, err = parseCgroup(string(text))
	return peer.Pid, group, err
}

// parseCgroup reads a file /proc/PID/cgroup (cgroups(7)): the line of version 2 begins with 0::.
func parseCgroup(text string) (string, error) {
	for line := range strings.Lines(text) {
		if group, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return group, nil
		}
	}
	return "", fmt.Errorf("read cgroup of the peer: no line of version 2 in %.200q", text)
}
