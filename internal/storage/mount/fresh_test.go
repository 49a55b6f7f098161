package mount_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage/mount"
)

// TestFresh: a file system that is full of bytes and of files, read-only, and has a link
// and another mount in it makes room for an empty one, and nothing outside is touched.
func TestFresh(t *testing.T) {
	if os.Getenv("REQUIRE_ROOT") != "1" {
		t.Skip("needs root in a mount namespace of its own (make root-test)")
	}
	base := t.TempDir()
	dir, outside := filepath.Join(base, "above", "run"), filepath.Join(base, "outside")
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := os.WriteFile(outside, []byte("node's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := mount.Fresh(dir, 0o700, 64<<10); err != nil {
		t.Fatal(err)
	}
	var limits unix.Statfs_t
	if err := unix.Statfs(dir, &limits); err != nil || int64(limits.Blocks)*int64(limits.Bsize) != 64<<10 || limits.Files != 16 {
		t.Errorf("limits: got %d blocks of %d bytes and %d files, %v; want 64 KiB and 16", limits.Blocks, limits.Bsize, limits.Files, err)
	}
	sub := filepath.Join(dir, "sub")
	if err := errors.Join(os.Symlink(outside, filepath.Join(dir, "link")), os.Mkdir(sub, 0o755), unix.Mount("tmpfs", sub, "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bytes"), make([]byte, 128<<10), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("128 KiB in 64: got %v, want %v", err, unix.ENOSPC)
	}
	held, err := os.Open(filepath.Join(dir, "bytes"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for n := 0; err == nil; n++ {
		if n > 64 {
			t.Fatal("there is no end to the files")
		}
		err = unix.Mknod(filepath.Join(dir, strings.Repeat("x", n+1)), unix.S_IFREG|0o600, 0)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		t.Fatal(err)
	}

	if err := mount.Fresh(dir, 0o755, 1<<20); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("afterwards there are %v, %v; want nothing", entries, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("got %v, %v, want mode 0755", info, err)
	}
	if data, err := os.ReadFile(outside); err != nil || string(data) != "node's" {
		t.Errorf("the file outside: got %q, %v", data, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Count(string(mounts), " "+dir) != 1 {
		t.Errorf("want one mount on %s and none below it, got %v\n%s", dir, err, mounts)
	}
}
