package storage_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/mount"
	"github.com/cyvive/cyvive/internal/storage/nodepool"
	"github.com/cyvive/cyvive/internal/storage/pool/zpool"
	"github.com/cyvive/cyvive/internal/storage/zfs/command"
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

// partitionDisk writes a table that knows only the first 400 MiB of the disk.
func partitionDisk(t *testing.T, disk string) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const knows, mib = 400 << 20, 2048
	table := &gpt.Table{
		LogicalSectorSize: 512, PhysicalSectorSize: 512, ProtectiveMBR: true,
		Partitions: []*gpt.Partition{
			{Index: 1, Start: mib, End: 65*mib - 1, Type: gpt.LinuxFilesystem, Name: storage.State},
			{Index: 2, Start: 65 * mib, End: 265*mib - 1, Type: gpt.LinuxFilesystem, Name: storage.Data},
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

// vmSpec is the node's layout below another root.
func vmSpec(t *testing.T, disk string, grow bool) storage.Spec {
	t.Helper()
	// Not one that is removed: nobody can remove what is sealed. It ends with the machine.
	root, err := os.MkdirTemp("", "node")
	if err != nil {
		t.Fatal(err)
	}
	spec := storage.DefaultSpec(disk)
	below := func(dirs []storage.Directory) {
		for i := range dirs {
			dirs[i].Path = filepath.Join(root, dirs[i].Path)
		}
	}
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		v.Target, v.Grow = filepath.Join(root, v.Target), v.Grow && grow
		below(v.Directories)
		if v.Pool != nil {
			for j := range v.Pool.Datasets {
				d := &v.Pool.Datasets[j]
				below(d.Directories)
				if d.Target != "" {
					d.Target = filepath.Join(root, d.Target)
				}
			}
		}
		if err := os.Mkdir(v.Target, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, target := range slices.Backward(vmTargets(spec)) {
			_ = unix.Unmount(target, unix.MNT_DETACH)
		}
	})
	return spec
}

// vmTargets are all directories that something is mounted on, in the order of that.
func vmTargets(spec storage.Spec) []string {
	var out []string
	for _, v := range spec.Volumes {
		if v.Pool == nil {
			out = append(out, v.Target)
			continue
		}
		for _, d := range v.Pool.Datasets {
			if d.Target != "" {
				out = append(out, d.Target)
			}
		}
	}
	return out
}

// programs are those of the image.
func programs() command.Runner {
	return command.Runner{ZFSPath: "/usr/bin/zfs", ZpoolPath: "/usr/bin/zpool"}
}

// nodePool is the pool as the agent has it.
func nodePool() nodepool.Pools {
	return nodepool.New(zpool.New(zpool.RunnerFunc(programs().Zpool)), command.NewSystem(programs()), "/proc")
}

// bootOn is one boot of the domain on the disk: a fresh record of what was found.
func bootOn(t *testing.T, disk string, grow bool) (storage.Spec, []string, storage.Status) {
	t.Helper()
	tools := blockdev.Tools{Mke2fs: "/usr/bin/mke2fs", E2fsck: "/usr/bin/e2fsck"}
	domain := storage.New(blockdev.New(tools, filepath.Join(t.TempDir(), "records")), mount.Mounts{}, nodePool(), nil)
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

// down is the end of a boot: an orderly one, or one at which the pool's labels are not written any more (zpool export -F, cmd/zpool/zpool_main.c, which
// its manual does not have).
func down(t *testing.T, spec storage.Spec, orderly bool) {
	t.Helper()
	for _, target := range slices.Backward(vmTargets(spec)) {
		if err := unix.Unmount(target, 0); err != nil {
			t.Fatalf("unmount %s: %v", target, err)
		}
	}
	args := []string{"export", storage.PoolName}
	if !orderly {
		args = []string{"export", "-F", storage.PoolName}
	}
	if _, err := programs().Zpool(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}

// TestVMVolumes takes a disk through its life on the kernel's ext4 and ZFS: first boot, clean and unclean boots, and a disk that grew.
func TestVMVolumes(t *testing.T) {
	disk := scratch(t)
	mods, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := mods.Load("zfs"); err != nil {
		t.Fatal(err)
	}
	partitionDisk(t, disk)

	spec, applied, _ := bootOn(t, disk, false)
	etcd := spec.Volumes[1].Pool.Datasets[1].Target
	if err := os.WriteFile(filepath.Join(etcd, "member"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	checkOptions(t, spec)
	checkFull(t, spec)
	if !slices.ContainsFunc(applied, func(op string) bool { return strings.HasPrefix(op, "make pool on data") }) {
		t.Errorf("first boot: %v", applied)
	}
	down(t, spec, true)

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
	if d := cmp.Diff([]string{"grow partition", "import pool of", "grow pool of"}, verbs); d != "" {
		t.Errorf("operations on a disk that grew (-want +got):\n%s\n%v", d, applied)
	}
	if state := grownPool(t, 300<<20); state.ExpandableBytes >= 1<<20 || state.GUID == 0 || state.Datasets["etcd"]["mountpoint"] != "legacy" {
		t.Errorf("the pool after growing: %+v", state)
	}
	checkSealed(t, spec)
	down(t, spec, false)

	spec, applied, status = bootOn(t, disk, true)
	if status.Volumes[1].Clean || !status.Volumes[0].Clean {
		t.Errorf("after a power cut: %+v, %v", status.Volumes, applied)
	}
	etcd = spec.Volumes[1].Pool.Datasets[1].Target
	if data, err := os.ReadFile(filepath.Join(etcd, "member")); err != nil || string(data) != "precious" {
		t.Errorf("file of the first boot: %q, %v", data, err)
	}
	down(t, spec, true)
}

// grownPool is the node's pool once it has so many bytes: what zpool online -e asks for, a thread of the kernel adds behind it (SPA_ASYNC_CONFIG_UPDATE of vdev_online in
// module/zfs/vdev.c, and spa_async_thread in module/zfs/spa.c, OpenZFS 2.3.9).
func grownPool(t *testing.T, least uint64) storage.PoolState {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		state, err := nodePool().Pool(t.Context(), storage.PoolName, []string{"mountpoint"})
		switch {
		case err != nil:
			t.Fatal(err)
		case state.SizeBytes >= least:
			return state
		case time.Now().After(end):
			t.Fatalf("waited for a minute until pool %s has %d bytes: %+v", storage.PoolName, least, state)
		}
	}
}

// TestVMPoolMark: the mark of a pool that is being made is there until it is made. Neither zpool, which clears the beginning of a partition, nor the kernel's labels
// reach it, so that a pool whose making was cut off is known for one. What is read of the device is what ZFS has written, and not what the kernel remembers of it.
func TestVMPoolMark(t *testing.T) {
	disk := scratch(t)
	mods, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := mods.Load("zfs"); err != nil {
		t.Fatal(err)
	}
	partitionDisk(t, disk)
	d := blockdev.New(blockdev.Tools{}, t.TempDir())
	list, err := d.Partitions(t.Context(), disk)
	if err != nil || len(list) != 2 || list[1].Name != storage.Data {
		t.Fatalf("partitions: %+v, %v", list, err)
	}
	device, spec := list[1].Device, storage.DefaultSpec(disk).Volumes[1].Pool
	if err := d.BeginPool(t.Context(), device); err != nil {
		t.Fatal(err)
	}
	// Somebody has the device open, so that the kernel keeps what was read of it before there was a pool.
	held, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Contents(t.Context(), device); err != nil {
		t.Error(err)
	}
	if err := nodePool().Make(t.Context(), spec.Name, device, spec.Properties, spec.Inherited); err != nil {
		t.Fatal(err)
	}
	made, err := nodePool().Pool(t.Context(), spec.Name, []string{"mountpoint"})
	if err != nil {
		t.Error(err)
	}
	c, err := d.Contents(t.Context(), device)
	if err != nil || !c.Formatting || c.Signature != storage.PoolMember || c.Pool.Name != spec.Name || c.Pool.GUID == 0 || c.Pool.GUID != made.GUID {
		t.Errorf("made under the mark: %+v, %v, of %+v", c, err, made)
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}
	if err := d.FinishFormat(t.Context(), device); err != nil {
		t.Error(err)
	}
	if _, err := programs().Zpool(t.Context(), "export", spec.Name); err != nil {
		t.Fatal(err)
	}
	if c, err = d.Contents(t.Context(), device); err != nil || c.Formatting || !c.Pool.Exported {
		t.Errorf("once it is made: %+v, %v", c, err)
	}
	if err := blockdev.Wipe(t.Context(), device); err != nil {
		t.Error(err)
	}
}

// checkSealed unmounts a dataset: nobody can write to what is below it.
func checkSealed(t *testing.T, spec storage.Spec) {
	t.Helper()
	datasets := spec.Volumes[1].Pool.Datasets
	kubelet := datasets[len(datasets)-2].Target
	if err := unix.Unmount(kubelet, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(kubelet, "stray"), nil, 0o600); !errors.Is(err, unix.EPERM) {
		t.Errorf("a file below an unmounted dataset: %v, want %v", err, unix.EPERM)
	}
	if err := (mount.Mounts{}).Mount(storage.PoolName+"/plane/kubelet", kubelet, storage.PoolMember, nil); err != nil {
		t.Fatal(err)
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
