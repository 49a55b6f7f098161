package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

// dialTimeout is for one connection within the machine.
const dialTimeout = 5 * time.Second

func sockets() []attempt {
	return []attempt{
		{name: "connect to a socket file of the system plane", do: socketFiles},
		{name: "connect to an abstract socket of the system plane", do: abstractSockets},
		{name: "ask the CSI driver for a volume", do: volumeSocket},
		{name: "ask the CSI driver to mount a volume", do: kubeletSocket},
		{name: "mount a dataset by its name", do: mountDataset},
		{name: "read etcd without a certificate", do: secure("https://127.0.0.1:2379/version")},
		{name: "read etcd's metrics", do: plain("http://127.0.0.1:2381/metrics")},
		{name: "read etcd in clear", do: plain("http://127.0.0.1:2379/version")},
		{name: "call the node's API without a certificate", do: secure("https://127.0.0.1:50000/")},
		{name: "take over etcd's port", do: takePort(2379)},
		{name: "take over the API's port", do: takePort(50000)},
		{name: "call the node's API over vsock without a certificate", do: hypervisor},
	}
}

// outside tells whether the other end of a Unix socket belongs to a process
// that is in no PID namespace of ours: its number is then 0 (unix(7), pid_namespaces(7)).
func outside(path string) (bool, error) {
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	pid, err := peer(conn)
	return err == nil && pid == 0, err
}

// peer returns the number that the process at the other end of a Unix socket has here.
func peer(conn net.Conn) (int32, error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) { peer, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, inner); err != nil {
		return 0, fmt.Errorf("ask for the peer: %w", err)
	}
	return peer.Pid, nil
}

// socketFiles tries all of the host's root, but for what the system plane has there for kubelet alone: there are attempts at that.
func socketFiles() (string, error) {
	var found string
	tried := 0
	err := filepath.WalkDir(host, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case strings.HasPrefix(path, host+"/proc/"), strings.HasPrefix(path, host+"/sys/"):
			return fs.SkipDir
		case err != nil || entry.Type()&fs.ModeSocket == 0 || strings.Contains(path, kubeletDriver):
			return nil
		}
		tried++
		if out, err := outside(path); err == nil && out {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	if tried == 0 {
		return "the attempt is broken: there is no socket file, and kubelet's should be", nil
	}
	if err == nil && found == "" {
		err = errNothing
	}
	return found, err
}

// abstractSockets tries those of the network namespace, which is the node's.
func abstractSockets() (string, error) {
	raw, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 8 || !strings.HasPrefix(fields[7], "@") {
			continue
		}
		if out, err := outside(fields[7]); err == nil && out {
			return fields[7], nil
		}
	}
	return "", errNothing
}

// secure reads a page that should be behind a client certificate.
func secure(url string) func() (string, error) {
	return func() (string, error) {
		// The attacker does not care who answers.
		client := http.Client{Timeout: dialTimeout, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		return get(&client, url)
	}
}

func plain(url string) func() (string, error) {
	return func() (string, error) { return get(&http.Client{Timeout: dialTimeout}, url) }
}

func get(client *http.Client, url string) (string, error) {
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 200))
	if err != nil {
		return "", err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return "", fmt.Errorf("%s: %s", answer.Status, body)
	}
	return string(body), nil
}

// takePort listens beside the node on a port of its own (socket(7), SO_REUSEPORT).
func takePort(port int) func() (string, error) {
	return func() (string, error) {
		for _, address := range [][4]byte{{}, {127, 0, 0, 1}} {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return "", err
			}
			for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1)
			}
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: address})
			if err == nil {
				err = unix.Listen(fd, 1)
			}
			_ = unix.Close(fd)
			if err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("listened on port %d", port), nil
	}
}

// hypervisor calls the API in the socket family that reaches the hypervisor
// (vsock(7)), without a certificate.
func hypervisor() (string, error) {
	var last error
	for _, machine := range []uint32{vsock.Local, vsock.Host} {
		client := &http.Client{Timeout: dialTimeout, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext:     func(context.Context, string, string) (net.Conn, error) { return vsock.Dial(machine, 50000, nil) },
		}}
		reached, err := get(client, "https://node/")
		if err == nil {
			return reached, nil
		}
		last = err
	}
	return "", last
}
