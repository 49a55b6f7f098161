package blockdev

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/mount"
)

// scratch returns an empty disk of the VM test runner.
func scratch(t *testing.T) string {
	t.Helper()
	disk, _, _ := strings.Cut(os.Getenv("CYVIVE_VM_DISKS"), ":")
	if os.Getenv("CYVIVE_VM") != "1" || disk == "" {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner with an empty disk")
		}
		t.Skip("needs the VM test runner: an empty disk of its own")
	}
	return disk
}

// TestVMWhole: on the real kernel a disk is measured, not opened alone while it is mounted, named as used, wiped, and its partitions are known after they were
// written.
func TestVMWhole(t *testing.T) {
	device := scratch(t)
	name := filepath.Base(device)
	disk := New(Tools{Mke2fs: "/usr/bin/mke2fs", E2fsck: "/usr/bin/e2fsck"}, t.TempDir())
	if err := disk.Format(t.Context(), device, "data"); err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	var mounts mount.Mounts
	if err := mounts.Mount(device, target, "ext4", nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	if _, err := OpenWhole(device, true); !errors.Is(err, unix.EBUSY) {
		t.Errorf("open what is mounted: %v, want %v", err, unix.EBUSY)
	}
	if err := Wipe(t.Context(), device); !errors.Is(err, unix.EBUSY) {
		t.Errorf("wipe what is mounted: %v, want %v", err, unix.EBUSY)
	}
	shared, err := OpenShared(device, true)
	if err != nil {
		t.Fatal(err)
	}
	if shared.SizeBytes < 64<<20 || shared.SectorBytes != 512 {
		t.Errorf("%d bytes, sectors of %d", shared.SizeBytes, shared.SectorBytes)
	}
	if err := shared.Close(); err != nil {
		t.Error(err)
	}
	if use, err := disk.InUse(name, "/proc/self/mountinfo"); err != nil || !strings.Contains(use, name+" is mounted on "+target) {
		t.Errorf("used by %q, %v", use, err)
	}
	if err := mounts.Unmount(target); err != nil {
		t.Fatal(err)
	}
	if err := Wipe(t.Context(), device); err != nil {
		t.Fatal(err)
	}
	if c, err := disk.Contents(t.Context(), device); err != nil || c != (storage.Contents{Blank: true}) {
		t.Errorf("contents %+v, %v", c, err)
	}
	tabled(t, device)
}

// tabled writes a table by a disk that is open alone, and has the kernel read it.
func tabled(t *testing.T, device string) {
	t.Helper()
	w, err := OpenWhole(device, true)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	table := &gpt.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, ProtectiveMBR: true, Partitions: []*gpt.Partition{
		{Index: 1, Start: 2048, End: 4095, Type: gpt.LinuxFilesystem, Name: "state"},
	}}
	writable, err := file.New(w.File, false).Writable()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(table.Write(writable, w.SizeBytes), w.Sync(), w.Renew()); err != nil {
		t.Fatal(err)
	}
	list, err := partitions("/sys", device)
	if err != nil || len(list) != 1 || list[0].Name != "state" || list[0].SizeBytes != 1<<20 {
		t.Errorf("the kernel's partitions: %+v, %v", list, err)
	}
	mended(t, w, device)
}

// mended damages the table as a power cut does: the kernel takes its copy, and the next change mends it.
func mended(t *testing.T, w *Whole, device string) {
	t.Helper()
	if _, err := w.WriteAt(make([]byte, 512), 512); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Sync(), w.Renew()); err != nil {
		t.Fatal(err)
	}
	list, err := partitions("/sys", device)
	if err != nil || len(list) != 1 || list[0].Name != "state" {
		t.Errorf("the kernel's partitions by the copy of the table: %+v, %v", list, err)
	}
	for _, copied := range []bool{true, false} {
		table, err := readTable(w, 512, uint64(w.SizeBytes))
		if err != nil {
			t.Fatal(err)
		}
		if table.fromCopy != copied {
			t.Errorf("by the copy of the table: %t, want %t", table.fromCopy, copied)
		}
		if err := table.write(w, w.Sync); err != nil {
			t.Fatal(err)
		}
	}
}
