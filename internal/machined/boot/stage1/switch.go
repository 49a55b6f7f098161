package stage1

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// moved are the mounts that go along into the new root.
var moved = []string{"/dev", "/proc", "/sys", "/run"}

// switchRoot makes newRoot the root directory, with the mounts of stage 1 in
// it, and empties the initramfs to free its memory. pivot_root(2) refuses to
// work on an initramfs; MS_MOVE and chroot is the way (kernel documentation,
// filesystems/ramfs-rootfs-initramfs).
func switchRoot(newRoot string) error {
	for _, m := range moved {
		if err := unix.Mount(m, filepath.Join(newRoot, m), "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s to the new root: %w", m, err)
		}
	}
	old, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open initramfs: %w", err)
	}
	defer unix.Close(old)
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move new root to /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter /: %w", err)
	}
	return empty(old)
}

// empty removes everything below the directory open as fd, but nothing on
// other file systems, and nothing at all unless it is in memory.
func empty(fd int) error {
	var fsInfo unix.Statfs_t
	if err := unix.Fstatfs(fd, &fsInfo); err != nil {
		return fmt.Errorf("free initramfs: %w", err)
	}
	if fsInfo.Type != unix.RAMFS_MAGIC && fsInfo.Type != unix.TMPFS_MAGIC {
		return fmt.Errorf("free initramfs: file system type %#x is not in memory", fsInfo.Type)
	}
	var top unix.Stat_t
	if err := unix.Fstat(fd, &top); err != nil {
		return fmt.Errorf("free initramfs: %w", err)
	}
	return emptyDir(fd, uint64(top.Dev))
}

func emptyDir(fd int, dev uint64) error {
	copied, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("free initramfs: %w", err)
	}
	d := os.NewFile(uintptr(copied), "initramfs")
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("free initramfs: %w", err)
	}
	for _, name := range names {
		var s unix.Stat_t
		if unix.Fstatat(fd, name, &s, unix.AT_SYMLINK_NOFOLLOW) != nil || uint64(s.Dev) != dev {
			continue
		}
		flags := 0
		if s.Mode&unix.S_IFMT == unix.S_IFDIR {
			flags = unix.AT_REMOVEDIR
			sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
			if err != nil {
				continue
			}
			emptyDir(sub, dev)
			unix.Close(sub)
		}
		// Mount points stay: they are busy.
		unix.Unlinkat(fd, name, flags)
	}
	return nil
}
