package e2e

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"
)

const mib = 1 << 20

// slotPartitions are what an upgrade writes, beside the boot partition. All are whole MiB long and begin at one (images/internal/disk).
var slotPartitions = []string{"root-a", "verity-a", "root-b", "verity-b"}

// place is where a partition is, in bytes.
type place struct{ start, size int64 }

// places are the partitions of a disk image, by name.
func places(raw string) (map[string]place, error) {
	disk, err := diskfs.Open(raw, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	table, err := disk.GetPartitionTable()
	if err != nil {
		return nil, err
	}
	guid, ok := table.(*gpt.Table)
	if !ok {
		return nil, fmt.Errorf("%s: partition table is %s, want gpt", raw, table.Type())
	}
	found := map[string]place{}
	for _, p := range guid.Partitions {
		found[p.Name] = place{p.GetStart(), p.GetSize()}
	}
	return found, nil
}

// frozen runs look while the machine of the node stands still, with a function that copies a piece of its disk into a file. What the node has sent
// to its disk is there; what it keeps in memory is not.
func (s *suite) frozen(t *testing.T, ctx context.Context, look func(piece func(at, size int64) *os.File)) {
	t.Helper()
	m := machine(t, s.Cluster, s.node)
	if err := m.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Resume(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	disk, format := s.Disk(s.node)
	copied := filepath.Join(s.NodeDir(s.node), "piece.raw")
	defer os.Remove(copied)
	look(func(at, size int64) *os.File {
		t.Helper()
		// Forced sharing is for an image that is in use (qemu-img(1), -U). The count is from the beginning of the image, not from what is skipped
		// (img_dd in qemu-img.c of QEMU 7.2); should that change, too much is copied, and cut off here.
		out, err := exec.CommandContext(ctx, "qemu-img", "dd", "-U", "-f", format, "-O", "raw", "bs="+strconv.Itoa(mib),
			"skip="+strconv.FormatInt(at/mib, 10), "count="+strconv.FormatInt((at+size)/mib, 10),
			"if="+disk, "of="+copied).CombinedOutput()
		if err != nil {
			t.Fatalf("qemu-img dd: %v: %s", err, out)
		}
		if err := os.Truncate(copied, size); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(copied)
		if err != nil {
			t.Fatal(err)
		}
		return f
	})
}

// system is what an upgrade may change: hashes of the partition table and of both slots, and of each file of the boot partition. That partition's
// other bytes change by being mounted.
func (s *suite) system(t *testing.T, ctx context.Context) map[string]string {
	t.Helper()
	at, err := places(s.env.out("disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	at["partition table"] = place{0, mib}
	sums := map[string]string{}
	s.frozen(t, ctx, func(piece func(at, size int64) *os.File) {
		for _, name := range append([]string{"partition table"}, slotPartitions...) {
			p, ok := at[name]
			if !ok {
				t.Fatalf("the image has no partition %s", name)
			}
			f := piece(p.start, p.size)
			sums[name] = sum(t, f)
			f.Close()
		}
		esp := piece(at["esp"].start, at["esp"].size)
		defer esp.Close()
		for name, text := range bootFiles(t, esp, at["esp"].size) {
			sums["esp:"+name] = text
		}
	})
	return sums
}

func sum(t *testing.T, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// bootFiles are the files of the boot partition with their hashes.
func bootFiles(t *testing.T, esp *os.File, size int64) map[string]string {
	t.Helper()
	volume, err := fat32.Read(file.New(esp, true), size, 0, 512)
	if err != nil {
		t.Fatalf("read boot partition: %v", err)
	}
	found := map[string]string{}
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := volume.ReadDir(dir)
		if err != nil {
			t.Fatalf("read boot partition: %s: %v", dir, err)
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			switch {
			case e.Name() == "." || e.Name() == "..":
			case e.IsDir():
				walk(name)
			default:
				f, err := volume.OpenFile(name, os.O_RDONLY)
				if err != nil {
					t.Fatalf("read boot partition: %s: %v", name, err)
				}
				// FAT does not tell cases apart.
				found["/"+strings.ToLower(name)] = sum(t, f)
				f.Close()
			}
		}
	}
	walk(".")
	return found
}

// bootEntries are the names of the boot loader's entries, sorted.
func (s *suite) bootEntries(t *testing.T, ctx context.Context) []string {
	t.Helper()
	at, err := places(s.env.out("disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	s.frozen(t, ctx, func(piece func(at, size int64) *os.File) {
		esp := piece(at["esp"].start, at["esp"].size)
		defer esp.Close()
		for name := range bootFiles(t, esp, at["esp"].size) {
			if dir, base := path.Split(name); dir == "/loader/entries/" {
				names = append(names, base)
			}
		}
	})
	slices.Sort(names)
	return names
}

// partitionStart returns where a partition begins, in bytes.
func partitionStart(raw, name string) (int64, error) {
	found, err := places(raw)
	if err != nil {
		return 0, err
	}
	p, ok := found[name]
	if !ok {
		return 0, errors.New(raw + ": there is no partition " + name)
	}
	return p.start, nil
}

// TestBootFiles reads back what the image builder's library has written.
func TestBootFiles(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "esp"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 64 * mib
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	volume, err := fat32.Create(file.New(f, false), size, 0, 512, "ESP", true)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, name := range []string{"/EFI/cyvive/a.efi", "/loader/entries/cyvive-a.conf", "/loader/entries/cyvive-b+1-1.conf", "/loader/loader.conf"} {
		if err := volume.Mkdir(path.Dir(name)); err != nil {
			t.Fatal(err)
		}
		out, err := volume.OpenFile(name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(name)); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		want[strings.ToLower(name)] = sum(t, strings.NewReader(name))
	}
	if d := cmp.Diff(want, bootFiles(t, f, size)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}
