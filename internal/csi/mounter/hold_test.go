package mounter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/loopdev"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// holders are loop devices, and the list of devices that pods may open, in memory. What is on the list without being held fails the test at once.
type holders struct {
	t *testing.T
	// volumes are the devices that there are.
	volumes map[uint64]string
	open    map[*os.File]loopdev.Held
	held    []loopdev.Held
	going   map[string]bool
	listed  map[uint32]bool
	made    int
	// fail, if set, is asked before each change.
	fail func(change string) error
}

// device is the number of a volume's device, as stat(2) has it.
func device(n uint32) uint64 { return unix.Mkdev(230, 16*n) }

// kernel is the same as the kernel writes it.
func kernel(n uint32) uint32 { return 230<<20 | 16*n }

func newHolders(t *testing.T) *holders {
	return &holders{
		t: t, volumes: map[uint64]string{device(0): "node/plane/volumes/a", device(1): "node/plane/volumes/b"}, open: map[*os.File]loopdev.Held{},
		going: map[string]bool{}, listed: map[uint32]bool{},
	}
}

// mounter returns an agent's, which knows nothing of the one before.
func (h *holders) mounter() *Mounter {
	m := New(h.t.TempDir(), Tools{}, Devices{KubeletDir: "/var/lib/kubelet", List: h.list(), Load: func() error { return nil }})
	m.loops = h
	m.nameOpen = func(f *os.File) (string, error) {
		is := h.open[f].Device
		return h.volumes[unix.Mkdev(is>>20, is&(1<<20-1))], nil
	}
	return m
}

func (h *holders) change(what string) error {
	h.check(what)
	if h.fail == nil {
		return nil
	}
	return h.fail(what)
}

func (h *holders) check(what string) {
	h.t.Helper()
	for d := range h.listed {
		if !slices.ContainsFunc(h.held, func(one loopdev.Held) bool { return one.Device == d }) {
			h.t.Errorf("before %s: device %d:%d is on the list, and not held", what, d>>20, d&(1<<20-1))
		}
	}
}

func (h *holders) Open(number uint64, as string) (*os.File, error) {
	if err := h.change("Open"); err != nil {
		return nil, err
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	h.open[f] = loopdev.Held{Device: unix.Major(number)<<20 | unix.Minor(number), As: as}
	return f, nil
}

func (h *holders) Hold(f *os.File) error {
	if err := h.change("Hold"); err != nil {
		return err
	}
	one := h.open[f]
	one.Name = fmt.Sprintf("loop%d", h.made)
	h.made++
	h.held = append(h.held, one)
	return nil
}

func (h *holders) List(prefix string) ([]loopdev.Held, error) {
	var all []loopdev.Held
	for _, one := range h.held {
		if strings.HasPrefix(one.As, prefix) && !h.going[one.Name] {
			all = append(all, one)
		}
	}
	return all, nil
}

// goner ends one that holds.
type goner func()

func (g goner) Close() error { g(); return nil }

func (h *holders) LetGo(name string) (io.Closer, error) {
	if err := h.change("LetGo"); err != nil {
		return nil, err
	}
	h.going[name] = true
	return goner(func() {
		h.held = slices.DeleteFunc(h.held, func(one loopdev.Held) bool { return one.Name == name })
		h.check("the end of " + name)
	}), nil
}

// theList is the list of devices.
type theList struct{ h *holders }

func (h *holders) list() List { return theList{h} }

func (l theList) Admit(device uint32) error {
	if err := l.h.change("Admit"); err != nil {
		return err
	}
	l.h.listed[device] = true
	l.h.check("what follows Admit")
	return nil
}

func (l theList) Refuse(device uint32) error {
	if err := l.h.change("Refuse"); err != nil {
		return err
	}
	delete(l.h.listed, device)
	return nil
}

func (l theList) Admitted() ([]uint32, error) {
	return slices.Sorted(maps.Keys(l.h.listed)), nil
}

func (h *holders) is(what string, listed []uint32, as ...string) {
	h.t.Helper()
	if diff := cmp.Diff(listed, slices.Sorted(maps.Keys(h.listed))); diff != "" {
		h.t.Errorf("%s: on the list (-want +got):\n%s", what, diff)
	}
	var paths []string
	for _, one := range h.held {
		paths = append(paths, one.As)
	}
	if diff := cmp.Diff(as, paths); diff != "" {
		h.t.Errorf("%s: held (-want +got):\n%s", what, diff)
	}
}

const (
	published = "plugins/kubernetes.io/csi/volumeDevices/publish/"
	heldDir   = "/var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/"
)

// TestHold: a device is on the list as long as one target has it, and held for each.
func TestHold(t *testing.T) {
	h := newHolders(t)
	m := h.mounter()
	hold := func(volume string, n uint32, target string) {
		t.Helper()
		if held, err := m.hold(volume, device(n), target); err != nil || !held {
			t.Fatalf("hold %s for %s: %t, %v", volume, target, held, err)
		}
	}
	for range 2 {
		hold("node/plane/volumes/a", 0, published+"a/p1")
		hold("node/plane/volumes/a", 0, published+"a/p2")
		hold("node/plane/volumes/b", 1, published+"b/p1")
	}
	h.is("all", []uint32{kernel(0), kernel(1)}, heldDir+"a/dev/p1", heldDir+"a/dev/p2", heldDir+"b/dev/p1")
	if held, err := m.hold("node/plane/volumes/b", device(1), published+"a/p1"); held || !errors.Is(err, zfs.ErrBusy) {
		t.Errorf("another device for a target: %t, %v", held, err)
	}
	for i, target := range []string{"a/p1", "a/p1", "a/p2", "b/p1", "none"} {
		if err := m.ReleaseDevice(t.Context(), published+target); err != nil {
			t.Fatal(err)
		}
		switch i {
		case 1:
			h.is("one pod less", []uint32{kernel(0), kernel(1)}, heldDir+"a/dev/p2", heldDir+"b/dev/p1")
		case 2:
			h.is("no pod of the volume", []uint32{kernel(1)}, heldDir+"b/dev/p1")
		}
	}
	h.is("the end", nil)
}

// TestHoldOther: a device whose number has become another volume's is neither held nor opened to pods, and without a list none is.
func TestHoldOther(t *testing.T) {
	h := newHolders(t)
	m := h.mounter()
	h.volumes[device(0)] = "node/plane/volumes/c"
	if held, err := m.hold("node/plane/volumes/a", device(0), published+"a/p1"); held || err == nil || !strings.Contains(err.Error(), "node/plane/volumes/c") {
		t.Errorf("%t, %v", held, err)
	}
	m.devices = Devices{KubeletDir: "/var/lib/kubelet"}
	if held, err := m.hold("node/plane/volumes/b", device(1), published+"b/p1"); held || err == nil {
		t.Errorf("without a list: %t, %v", held, err)
	}
	if err := errors.Join(m.ReleaseDevice(t.Context(), published+"b/p1"), m.RestoreDevices(t.Context())); err != nil {
		t.Errorf("without a list: %v", err)
	}
	h.is("the end", nil)
}

// TestHoldMany: who asks for more and more takes no more memory of the node's.
func TestHoldMany(t *testing.T) {
	h := newHolders(t)
	m := h.mounter()
	for i := range maxHeld + 1 {
		held, err := m.hold("node/plane/volumes/a", device(0), fmt.Sprintf("%sa/p%d", published, i))
		if fits := i < maxHeld; held != fits || (err == nil) != fits {
			t.Fatalf("target %d: %t, %v", i, held, err)
		}
	}
	if held, err := m.hold("node/plane/volumes/a", device(0), published+"a/p0"); !held || err != nil {
		t.Errorf("one that is held already: %t, %v", held, err)
	}
}

// TestHoldFaults: each change fails once, or is the agent's last; the calls made again succeed, nothing is on the list meanwhile that is not held, and nothing is left.
func TestHoldFaults(t *testing.T) {
	for skip := 0; ; skip++ {
		h := newHolders(t)
		m := h.mounter()
		n := 0
		h.fail = func(change string) error {
			if n++; n == skip+1 {
				return fmt.Errorf("%s is broken", change)
			}
			return nil
		}
		for _, call := range []func() error{
			func() error { _, err := m.hold("node/plane/volumes/a", device(0), published+"a/p1"); return err },
			func() error { _, err := m.hold("node/plane/volumes/a", device(0), published+"a/p2"); return err },
			func() error { return m.ReleaseDevice(t.Context(), published+"a/p1") },
			func() error { return m.ReleaseDevice(t.Context(), published+"a/p2") },
		} {
			if call() != nil {
				m = h.mounter()
				if err := call(); err != nil {
					t.Errorf("fault %d: made again: %v", skip, err)
				}
			}
		}
		h.is(fmt.Sprintf("fault %d", skip), nil)
		if n <= skip {
			if skip < 9 {
				t.Errorf("%d changes only", skip)
			}
			return
		}
	}
}

// TestRestore: the next agent has what is bound, and nothing else; whatever the one before was about to do.
func TestRestore(t *testing.T) {
	h := newHolders(t)
	h.held = []loopdev.Held{
		{Name: "loop0", Device: kernel(0), As: heldDir + "a/dev/p1"}, // held, and not yet on the list
		{Name: "loop1", Device: kernel(1), As: heldDir + "b/dev/p1"}, // not bound, or not any more
		{Name: "loop2", Device: kernel(0), As: heldDir + "a/dev/p2"},
		{Name: "loop3", Device: 7 << 20, As: "/var/extensions/store/image.erofs"},
	}
	h.listed[kernel(1)] = true
	m := h.mounter()
	going := make(chan io.Closer, 3)
	m.loops = closing{h, going}
	for range 2 {
		if err := m.restore([]string{published + "a/p1", "pods/other"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		(<-going).Close()
	}
	h.is("after the start", []uint32{kernel(0)}, heldDir+"a/dev/p1", "/var/extensions/store/image.erofs")
	if err := m.restore(nil); err != nil {
		t.Fatal(err)
	}
	(<-going).Close()
	h.is("with nothing that is bound", nil, "/var/extensions/store/image.erofs")
}

// closing tells of what is closed, which nobody waits for, and has the test do it.
type closing struct {
	*holders
	going chan io.Closer
}

func (c closing) LetGo(name string) (io.Closer, error) {
	g, err := c.holders.LetGo(name)
	if err != nil {
		return nil, err
	}
	return goner(func() { c.going <- g }), nil
}

// slow has what is let go of end only when its pool goes on.
type slow struct {
	*holders
	on, ended chan struct{}
}

func (s slow) LetGo(name string) (io.Closer, error) {
	g, err := s.holders.LetGo(name)
	if err != nil {
		return nil, err
	}
	return goner(func() {
		<-s.on
		g.Close()
		close(s.ended)
	}), nil
}

// TestReleaseSuspended: for a device whose pool is suspended nobody waits without an end. It is off the list at once, held until the pool goes on, and released
// for who asks again.
func TestReleaseSuspended(t *testing.T) {
	h := newHolders(t)
	m := h.mounter()
	if held, err := m.hold("node/plane/volumes/a", device(0), published+"a/p1"); err != nil || !held {
		t.Fatalf("%t, %v", held, err)
	}
	s := slow{h, make(chan struct{}), make(chan struct{})}
	m.loops = s
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := m.ReleaseDevice(ctx, published+"a/p1"); !errors.Is(err, context.Canceled) {
		t.Errorf("while the pool is suspended: %v, want %v", err, context.Canceled)
	}
	h.is("while the pool is suspended", nil, heldDir+"a/dev/p1")
	if err := m.ReleaseDevice(t.Context(), published+"a/p1"); err != nil {
		t.Errorf("asked again: %v", err)
	}
	close(s.on)
	<-s.ended
	h.is("when the pool has gone on", nil)
}
