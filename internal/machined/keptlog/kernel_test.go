package keptlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// kernelLog is a kernel's log whose records are lines, numbered from 0.
type kernelLog struct {
	lines []string
	err   error
	// asked are for how many bytes at most it was asked.
	asked []int
}

func (k *kernelLog) Since(next uint64, maxBytes int) ([]byte, uint64, error) {
	k.asked = append(k.asked, maxBytes)
	if k.err != nil {
		return nil, next, k.err
	}
	return []byte(strings.Join(k.lines[next:], "")), uint64(len(k.lines)), nil
}

func (k *kernelLog) put(lines ...string) { k.lines = append(k.lines, lines...) }

// TestKernelOverABoot: what the kernel wrote is there after the end of the boot, each record once, also where the agent was started again; and the next
// boot's begins anew.
func TestKernelOverABoot(t *testing.T) {
	n, k := newNode(t), &kernelLog{}
	n.kernel = k
	k.put("<5>[    0.000000] Linux version 6.12.57\n", "<6>[    0.500000] two\n")
	first := n.agent("boot-1")
	n.write(n.ring("etcd"), "one\n")
	n.keep(first)
	k.put("<6>[    3.000000] three\n")
	second := n.agent("boot-1")
	n.keep(second)
	n.keep(second)
	k.put("<6>[    4.000000] four\n")
	if err := second.End(true); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(k.lines, "")
	if got := n.kept("boot-1", "kernel"); got != all {
		t.Errorf("kept %q, want %q", got, all)
	}
	if diff := cmp.Diff([]int{fileBytes, passBytes, passBytes, passBytes}, k.asked); diff != "" {
		t.Errorf("asked for bytes (-want +got):\n%s", diff)
	}

	n.reboot()
	n.kernel = &kernelLog{lines: []string{"<5>[    0.000000] Linux version 6.12.58\n"}}
	next := n.agent("boot-2", "boot-1")
	n.keep(next)
	if got, lacks := n.past(next, "kernel", -1); strings.Join(got, "\n")+"\n" != all || lacks != "" {
		t.Errorf("got %q, lacking %q; want %q", got, lacks, all)
	}
	if got, _ := n.past(next, "kernel", 1); !slices.Equal(got, []string{"<6>[    4.000000] four"}) {
		t.Errorf("the newest line: got %q", got)
	}
	if names, err := next.PastServices(t.Context()); err != nil || !slices.Equal(names, []string{"etcd", "kernel"}) {
		t.Errorf("the logs there are: got %q, %v", names, err)
	}

	n.reboot() // by a power cut
	third := n.agent("boot-3", "boot-2", "boot-1")
	if got, lacks := n.past(third, "kernel", -1); !slices.Equal(got, []string{"<5>[    0.000000] Linux version 6.12.58"}) || !strings.Contains(lacks, "boot boot-2 were not ended in order") {
		t.Errorf("after a power cut: got %q, lacking %q", got, lacks)
	}
}

// TestKernelIsNoService: a log that has the kernel's name, and is of the plane or of a service, is not shown as the kernel's.
func TestKernelIsNoService(t *testing.T) {
	n := newNode(t)
	s := n.agent("boot-1")
	n.write(n.ring("plane/kernel"), "not the kernel\n")
	n.write(n.ring("kernel"), "nor is this\n")
	n.keep(s)
	n.reboot()
	next := n.agent("boot-2", "boot-1")
	err := next.PastLog(t.Context(), server.KernelLog, -1, func(string) {}, func(line []byte) error {
		t.Errorf("got the line %q", line)
		return nil
	})
	if !errors.Is(err, server.ErrNotFound) || !strings.Contains(err.Error(), "the kernel's log of boot boot-1") {
		t.Errorf("got %v, want ErrNotFound that says of which boot", err)
	}
	if got, _ := n.past(next, "plane/kernel", -1); !slices.Equal(got, []string{"not the kernel"}) {
		t.Errorf("the plane's: got %q", got)
	}
}

// TestKernelIsBounded: the kernel's log has the room of any other, and a place among those that are kept, also for the next agent.
func TestKernelIsBounded(t *testing.T) {
	n, k := newNode(t), &kernelLog{}
	n.kernel = k
	for _, name := range []string{"a", "b", "c"} {
		n.write(n.ring(name), "line\n")
	}
	for pass := range 12 {
		k.put(fmt.Sprintf("%d %s\n", pass, strings.Repeat("x", 200<<10)))
		n.keep(n.agent("boot-1"))
	}
	size, files := sizeOf(t, filepath.Join(n.volume, "boot-1"))
	slices.Sort(files)
	if diff := cmp.Diff([]string{"a.log", "b.log", "kernel.log", "kernel.log.1"}, files); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if size > 2*fileBytes+1<<10 {
		t.Errorf("%d bytes are kept, want no more than %d and two lines", size, 2*fileBytes)
	}
	if got := n.kept("boot-1", "kernel"); !strings.HasSuffix(got, k.lines[10]+k.lines[11]) {
		t.Errorf("the newest is not at the end of the %d bytes that are kept", len(got))
	}
}

// TestKernelTroubles: a kernel's log that cannot be read or written keeps no other from being kept, and is kept once it can.
func TestKernelTroubles(t *testing.T) {
	n, k := newNode(t), &kernelLog{err: errors.New("no device")}
	n.kernel = k
	k.put("one\n")
	s := n.agent("boot-1")
	n.write(n.ring("etcd"), "etcd\n")
	if err := s.Keep(); err == nil || !strings.Contains(err.Error(), "keep the kernel's log: no device") {
		t.Errorf("got %v, want an error that names the log", err)
	}
	if got := n.kept("boot-1", "etcd"); got != "etcd\n" {
		t.Errorf("kept of etcd: %q", got)
	}
	k.err = nil
	path := filepath.Join(n.volume, "boot-1", "kernel.log")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(); err == nil {
		t.Error("a folder in the place of the log: got no error")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	n.free = reserveBytes - 1
	if err := s.Keep(); !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v, want %v", err, ErrNoRoom)
	}
	n.free = reserveBytes
	k.put("two\n")
	n.keep(s)
	if got := n.kept("boot-1", "kernel"); got != "one\ntwo\n" {
		t.Errorf("kept %q", got)
	}
}
