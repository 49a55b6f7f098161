package storage_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
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

// partitionDisk writes a table that knows only the first 200 MiB of the disk.
func partitionDisk(t *testing.T, disk string) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const knows, mib = 200 << 20, 2048
	table := &gpt.Table{
		LogicalSectorSize: 512, PhysicalSectorSize: 512, ProtectiveMBR: true,
		Partitions: []*gpt.Partition{
			{Index: 1, Start: mib, End: 65*mib - 1, Type: gpt.LinuxFilesystem, Name: storage.State},
			{Index: 2, Start: 65 * mib, End: 129*mib - 1, Type: gpt.LinuxFilesystem, Name: storage.Data},
		},
	}
	image, err := os.Create(filepath.Join(t.TempDir(), "table"))
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if err := errors.Join(image.Truncate(knows), table.Write(image, knows)); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, knows - 1<<20} {
		part := make([]byte, 1<<20)
		if _, err := image.ReadAt(part, at); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(part, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Sync(), unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0)); err != nil {
		t.Fatal(err)
	}
}

// vmSpec is the node's layout with other targets.
func vmSpec(t *testing.T, disk string, grow bool) storage.Spec {
	t.Helper()
	root := t.TempDir()
	spec := storage.DefaultSpec(disk, 900)
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		for j := range v.Directories {
			v.Directories[j].Path = filepath.Join(root, v.Directories[j].Path)
		}
		v.Target, v.Grow = filepath.Join(root, v.Target), v.Grow && grow
		if err := os.Mkdir(v.Target, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(v.Target, unix.MNT_DETACH) })
	}
	return spec
}

// bootOn is one boot of the domain on the disk: a fresh record of what was found.
func bootOn(t *testing.T, disk string, grow bool) (storage.Spec, []string, storage.Status) {
	t.Helper()
	tools := blockdev.Tools{Mke2fs: "/usr/bin/mke2fs", E2fsck: "/usr/bin/e2fsck"}
	domain := storage.New(blockdev.New(tools, filepath.Join(t.TempDir(), "records")), mount.Mounts{}, nil)
	spec := vmSpec(t, disk, grow)
	applied, status, err := pass(t, domain, spec)
	if err != nil {
		t.Fatalf("after %v: %v", applied, err)
	}
	if !status.Ready {
		t.Fatalf("after %v: %+v", applied, status)
	}
	return spec, applied, status
}

// TestVMVolumes takes a disk through its life: first boot, clean and unclean boots, and a disk that grew.
func TestVMVolumes(t *testing.T) {
	disk := scratch(t)
	partitionDisk(t, disk)

	spec, applied, _ := bootOn(t, disk, false)
	file := filepath.Join(spec.Volumes[1].Directories[0].Path, "member")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	checkOptions(t, spec)
	if !slices.ContainsFunc(applied, func(op string) bool { return strings.HasPrefix(op, "make file system on data") }) {
		t.Errorf("first boot: %v", applied)
	}
	unmount(t, spec)

	spec, applied, status := bootOn(t, disk, true)
	if !status.Volumes[0].Clean || !status.Volumes[1].Clean {
		t.Errorf("after an orderly end: %+v", status.Volumes)
	}
	var verbs []string
	for _, op := range applied {
		if verb, _, data := strings.Cut(op, " data ("); data {
			verbs = append(verbs, verb)
		}
	}
	if d := cmp.Diff([]string{"grow partition", "mount", "grow file system of"}, verbs); d != "" {
		t.Errorf("operations on a disk that grew (-want +got):\n%s", d)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(spec.Volumes[1].Target, &stat); err != nil || stat.Blocks*uint64(stat.Bsize) < 300<<20 {
		t.Errorf("data has %d bytes after growing, %v", stat.Blocks*uint64(stat.Bsize), err)
	}
	cutPower(t, spec.Volumes[1].Target)
	unmount(t, spec)

	spec, applied, status = bootOn(t, disk, true)
	if status.Volumes[1].Clean || !status.Volumes[0].Clean {
		t.Errorf("after a power cut: %+v, %v", status.Volumes, applied)
	}
	file = filepath.Join(spec.Volumes[1].Directories[0].Path, "member")
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("file of the first boot: %q, %v", data, err)
	}
}

// checkOptions tries what the mount options forbid.
func checkOptions(t *testing.T, spec storage.Spec) {
	t.Helper()
	want := map[string]int64{spec.Volumes[0].Target: unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC, spec.Volumes[1].Target: unix.ST_NODEV}
	for target, flags := range want {
		var stat unix.Statfs_t
		if err := unix.Statfs(target, &stat); err != nil || int64(stat.Flags)&flags != flags {
			t.Errorf("flags of %s: %#x, %v; want %#x", target, stat.Flags, err, flags)
		}
	}
}

func unmount(t *testing.T, spec storage.Spec) {
	t.Helper()
	for _, v := range spec.Volumes {
		if err := unix.Unmount(v.Target, 0); err != nil {
			t.Fatalf("unmount %s: %v", v.Target, err)
		}
	}
}

// cutPower makes the file system drop all that is not on the disk, as a power cut does.
func cutPower(t *testing.T, target string) {
	t.Helper()
	// EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32), with EXT4_GOING_FLAGS_NOLOGFLUSH (include/uapi/linux/ext4.h).
	const shutdown, noLogFlush = 0x8004587D, 2
	if err := os.WriteFile(filepath.Join(target, "unsaved"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), shutdown, noLogFlush); err != nil {
		t.Fatalf("cut the power of %s: %v", target, err)
	}
}
