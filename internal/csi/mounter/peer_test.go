package mounter

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOf: who is in the cgroup is handed on, and who is not is cut off, which does not keep others from their turn.
func TestOf(t *testing.T) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	own, err := parseCgroup(string(text))
	if err != nil {
		t.Skipf("needs cgroups of version 2: %v", err)
	}
	for _, test := range []struct {
		cgroup string
		taken  bool
	}{{own, true}, {strings.TrimSuffix(own, "/") + "/other", false}, {"", false}} {
		socket := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		refused := make(chan error, 1)
		guarded := Of(l, test.cgroup, func(err error) { refused <- err })
		accepted := make(chan net.Conn, 1)
		go func() {
			conn, err := guarded.Accept()
			if err == nil {
				accepted <- conn
			}
			close(accepted)
		}()
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-accepted:
			if got == nil || !test.taken {
				t.Errorf("cgroup %q: %v was handed on", test.cgroup, got)
			}
			if got != nil {
				got.Close()
			}
		case err := <-refused:
			if errors.Is(err, unix.ENOPROTOOPT) {
				t.Skipf("needs Linux 6.5: %v", err)
			}
			if test.taken || !strings.Contains(err.Error(), own) {
				t.Errorf("cgroup %q: %v", test.cgroup, err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("cgroup %q: the connection is not closed: %v", test.cgroup, err)
			}
		}
		conn.Close()
		l.Close()
		for got := range accepted {
			got.Close()
		}
	}
}

// TestOfBounds: there are so many connections at once, and the next one when one of them is closed.
func TestOfBounds(t *testing.T) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	own, err := parseCgroup(string(text))
	if err != nil {
		t.Skipf("needs cgroups of version 2: %v", err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	refused, accepted, ended := make(chan error, maxConnections+1), make(chan net.Conn, maxConnections+1), make(chan struct{})
	guarded := Of(l, own, func(err error) { refused <- err })
	go func() {
		defer close(ended)
		for {
			conn, err := guarded.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	var open []net.Conn
	defer func() {
		guarded.Close()
		<-ended // though it waits for one of them to be closed
		for _, conn := range open {
			conn.Close()
		}
	}()
	for range maxConnections + 1 {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	next := func() {
		t.Helper()
		select {
		case conn := <-accepted:
			open = append(open, conn)
		case err := <-refused:
			if errors.Is(err, unix.ENOPROTOOPT) {
				t.Skipf("needs Linux 6.5: %v", err)
			}
			t.Fatal(err)
		case <-time.After(10 * time.Second):
			t.Fatalf("%d connections are handed on, and no more", len(open))
		}
	}
	for range maxConnections {
		next()
	}
	select {
	case conn := <-accepted:
		open = append(open, conn)
		t.Errorf("%d connections are open at once, want %d", len(open), maxConnections)
	case <-time.After(100 * time.Millisecond):
		open[0].Close()
		next()
	}
}

// TestRootIsNoLink: the plane can put a link in the place of kubelet's directory, or of one above it.
func TestRootIsNoLink(t *testing.T) {
	top := t.TempDir()
	outside := filepath.Join(top, "outside")
	if err := os.MkdirAll(filepath.Join(outside, "kubelet"), 0o700); err != nil {
		t.Fatal(err)
	}
	for link, root := range map[string]string{"link": "link", "lib": "lib/kubelet"} {
		to := outside
		if link == root {
			to = filepath.Join(outside, "kubelet")
		}
		if err := os.Symlink(to, filepath.Join(top, link)); err != nil {
			t.Fatal(err)
		}
		m := New(filepath.Join(top, root), Tools{}, Devices{})
		if err := m.MakeDirectory("made"); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v, want %v", root, err, unix.ELOOP)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(outside, "kubelet")); err != nil || len(entries) > 0 {
		t.Errorf("outside: %v, %v", entries, err)
	}
}

func FuzzCgroup(f *testing.F) {
	f.Add("0::/workload/plane/kubelet\n")
	f.Add("1:name=systemd:/\n0::/a b\n")
	f.Add("0:")
	f.Fuzz(func(t *testing.T, text string) {
		group, err := parseCgroup(text)
		if (err == nil) != strings.Contains("\n"+text, "\n0::") {
			t.Fatalf("%q: %q, %v", text, group, err)
		}
		if strings.Contains(group, "\n") {
			t.Fatalf("%q: the group is %q", text, group)
		}
	})
}
