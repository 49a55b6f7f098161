package replication_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// fence fences a tree at once.
func fence(t *testing.T, s zfstest.Target) {
	t.Helper()
	local, roots := endpoint.New(s.System, nil), []string{s.Root}
	err := local.Learn(t.Context(), replication.LearnRequest{Fence: replication.Fence{Job: jobID, Roots: roots, Generation: 1}, Primaries: roots})
	if err != nil {
		t.Fatal(err)
	}
	states, err := local.Roots(t.Context(), roots)
	if err != nil || !states[0].Fenced || states[0].Generation != 1 {
		t.Fatalf("fenced: %+v, %v", states, err)
	}
}

// TestVMFencedFile: who has a file open for writing writes to it no more when the tree is fenced, which zfs set does not hinder though it says so.
func TestVMFencedFile(t *testing.T) {
	a, _ := realPools(t)(t)
	err := mounted(a.Root, 0, func(dir string) error {
		f, err := os.Create(filepath.Join(dir, "open"))
		if err != nil {
			return err
		}
		defer f.Close()
		fence(t, a)
		if _, err := f.WriteString("late"); err == nil {
			t.Error("what was fenced took a write by a file that was open before")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestVMMountedFailback: the role goes away from a tree that is mounted, and comes back to it: it is mounted all the while, takes no writes meanwhile, and then has what
// was written on the other side, and not what was never sent.
func TestVMMountedFailback(t *testing.T) {
	if os.Getenv("CYVIVE_VM") == "1" && !long() {
		t.Skipf("takes long: make soak runs it, and so does LONG=1 make vm-test RUN='^%s$'", t.Name())
	}
	p := newPair(t, realPools(t))
	p.replicated()
	err := mounted(p.src, 0, func(dir string) error {
		write := func(name string) error { return os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600) }
		p.must(write("never-sent"))
		p.promote()
		p.must(p.b.Write(p.ctx(), p.dst, "meanwhile", []byte("meanwhile")))
		p.fails(replication.ErrFenced)
		if err := write("refused"); !errors.Is(err, unix.EROFS) {
			t.Errorf("a write to what is fenced: %v", err)
		}
		_, err := p.bringBack()
		var c *replication.Conflict
		if !errors.As(err, &c) {
			t.Fatalf("a failback that loses what was never sent: %v, want a conflict", err)
		}
		if _, err := p.bringBack(p.option(c, replication.RollBack)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "meanwhile"))
		if err != nil || string(got) != "meanwhile" {
			t.Errorf("what was written on the other side: %q, %v", got, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "never-sent")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what was never sent: %v, want that it is gone", err)
		}
		if err := write("again"); err != nil {
			return err
		}
		// It was rolled back while it was fenced. The next rollback leaves it as open as it is.
		p.must(p.a.Snapshot(p.ctx(), []string{p.src + "@again"}, nil))
		p.must(p.a.Rollback(p.ctx(), p.src+"@again"))
		return write("after-another-rollback")
	})
	if err != nil {
		t.Error(err)
	}
}

// TestVMFencedVolume: who has the device of a volume open writes to it no more when the tree is fenced.
func TestVMFencedVolume(t *testing.T) {
	a, _ := realPools(t)(t)
	device := newDevice(t, func() error {
		return a.Create(t.Context(), a.Name("v"), zfs.CreateOptions{SizeBytes: 16 << 20, Sparse: true})
	})
	defer device.Close()
	block := make([]byte, 4096)
	if _, err := device.WriteAt(block, 0); err != nil {
		t.Fatal(err)
	}
	fence(t, a)
	if _, err := device.WriteAt(block, 0); err == nil {
		t.Error("what was fenced took a write by a device that was open before")
	}
}

// newDevice opens the device of the volume that is made. There is no udev, so it is the one that is new.
func newDevice(t *testing.T, create func() error) *os.File {
	t.Helper()
	before, _ := filepath.Glob("/dev/zd*")
	if err := create(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		now, _ := filepath.Glob("/dev/zd*")
		for _, path := range now {
			if slices.Contains(before, path) {
				continue
			}
			if f, err := os.OpenFile(path, os.O_RDWR|os.O_SYNC, 0); err == nil {
				return f
			}
		}
	}
	t.Fatal("the volume has no device that can be opened")
	return nil
}
