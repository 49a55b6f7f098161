package replication_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/storage/mount"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/command"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// realSystem is the programs of the image.
func realSystem() zfs.System {
	return mount.NewSystem(command.NewSystem(command.Runner{ZFSPath: "/usr/bin/zfs", ZpoolPath: "/usr/bin/zpool"}))
}

// The two machines of a pair are two pools here. They lie in files, which are in memory in the machine of a test: half of that is what its root takes at most
// (tmpfs(5)). A short run writes a part of them; the long one all in time, and has a machine with 2 GiB.
//
// OpenZFS keeps half of a pool below 256 MiB to itself, or else 128 MiB (spa_get_slop_space in module/zfs/spa_misc.c). The long walk writes some 80 MB of files, with half as
// much that leads to them, and leaves some thousand snapshots, each of which takes 12 KiB at least: a list of what it has freed, three times (dsl_deadlist_clone in
// module/zfs/dsl_deadlist.c, 2.3.9).
const (
	vmDir       = "/replication"
	vmPoolBytes = 400 << 20
	vmKey       = vmDir + "/key"
)

// TestVMScenarios runs some of the scenarios, or with LONG=1 (make soak) all of them.
func TestVMScenarios(t *testing.T) {
	var names []string
	if !long() {
		names = shortScenarios()
	}
	runScenarios(t, realPools(t), names...)
}

// TestVMWalk walks for a little while, or with LONG=1 as long as is promised.
func TestVMWalk(t *testing.T) {
	operations := 3
	if long() {
		operations = 500
	}
	runWalk(t, realPools(t), seed(t), operations)
}

func long() bool { return os.Getenv("LONG") == "1" }

// realPools makes two pools.
func realPools(t *testing.T) systems {
	t.Helper()
	switch {
	case os.Getenv("CYVIVE_VM") == "1":
	case os.Getenv("REQUIRE_VM") == "1":
		t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner")
	default:
		t.Skip("needs the VM test runner: it loads OpenZFS and makes pools")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mods, err := kmod.Open("/usr/lib/modules")
	must(err)
	must(mods.Load("zfs"))
	must(os.WriteFile("/sys/module/zfs/parameters/zfs_arc_max", []byte("134217728"), 0))
	must(os.MkdirAll(vmDir, 0o700))
	must(os.WriteFile(vmKey, []byte("0123456789abcdef0123456789abcdef"), 0o600))
	for _, pool := range []string{"alpha", "beta"} {
		file := filepath.Join(vmDir, pool)
		must(os.WriteFile(file, nil, 0o600))
		must(os.Truncate(file, vmPoolBytes))
		zpool(t, "create", "-o", "ashift=12", "-o", "cachefile=none", "-O", "mountpoint=none", "-O", "compression=off", pool, file)
		t.Cleanup(func() { zpool(t, "destroy", "-f", pool) })
	}
	made := 0
	return func(t *testing.T) (a, b zfstest.Target) {
		t.Helper()
		made++
		return realTarget(t, "alpha", made), realTarget(t, "beta", made)
	}
}

func zpool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("/usr/bin/zpool", args...).CombinedOutput(); err != nil {
		t.Fatalf("zpool %v: %v: %s", args, err, out)
	}
}

func realTarget(t *testing.T, pool string, n int) zfstest.Target {
	t.Helper()
	s := realSystem()
	root := fmt.Sprintf("%s/t%d", pool, n)
	if err := s.Create(t.Context(), root, zfs.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return zfstest.Target{System: s, Contents: mounting{}, Root: root, Key: "file://" + vmKey}
}

// mounting reads and writes file systems by mounting them, whatever canmount says.
type mounting struct{}

// Write implements zfstest.Contents.
func (mounting) Write(_ context.Context, dataset, file string, data []byte) error {
	return mounted(dataset, 0, func(dir string) error {
		f, err := os.Create(filepath.Join(dir, file))
		if errors.Is(err, unix.EROFS) {
			return fmt.Errorf("%w: %w", zfs.ErrReadOnly, err)
		}
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Sync(), f.Close())
	})
}

// Sum implements zfstest.Contents.
func (mounting) Sum(_ context.Context, name string) (sum string, err error) {
	h := sha256.New()
	err = mounted(name, unix.MS_RDONLY, func(dir string) error {
		return fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(filepath.Join(dir, path))
			fmt.Fprintf(h, "%q %d\n%s\n", path, len(data), data)
			return err
		})
	})
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

func mounted(name string, flags uintptr, do func(dir string) error) error {
	dir, err := os.MkdirTemp("", "dataset")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := unix.Mount(name, dir, "zfs", flags, ""); err != nil {
		return fmt.Errorf("mount %s: %w", name, err)
	}
	return errors.Join(do(dir), unix.Unmount(dir, 0))
}
