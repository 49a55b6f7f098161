package mounter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/csi"
	storagemount "github.com/cyvive/cyvive/internal/storage/mount"
)

// flags are the options that are flags of mount(2).
var flags = map[string]uintptr{
	"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
	"nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
}

// data are the options that the driver gives file systems. A clone has the UUID of its origin, which XFS refuses to mount beside it unless told not
// to look; ext4 that has found an error is not written to any more (the kernel's Documentation/admin-guide/xfs.rst and ext4.rst).
var data = map[string][]string{"xfs": {"nouuid"}, "ext4": {"errors=remount-ro"}}

// Mount implements csi.Mounts.
func (m *Mounter) Mount(ctx context.Context, mount csi.Mount) error {
	source := mount.Volume
	if mount.FileSystem != "zfs" {
		f, err := m.keep(ctx, mount.Volume)
		if err != nil {
			return err
		}
		defer f.Close()
		source = f.Name()
	}
	var set uintptr
	if mount.ReadOnly {
		set |= unix.MS_RDONLY
	}
	for _, o := range mount.Options {
		flag, ok := flags[o]
		if !ok {
			return fmt.Errorf("mount %s: option %q is unknown", mount.Volume, o)
		}
		set |= flag
	}
	on, err := m.open(mount.Target)
	if err != nil {
		return err
	}
	defer on.Close()
	if mount.FileSystem == "zfs" {
		if err := storagemount.Replay(mount.Volume); err != nil {
			return fmt.Errorf("mount on %s: %w", mount.Target, classed(err))
		}
	}
	// The open directory is named by /proc, as mount(2) takes no file descriptor.
	if err := unix.Mount(source, fmt.Sprintf("/proc/self/fd/%d", on.Fd()), mount.FileSystem, set, strings.Join(data[mount.FileSystem], ",")); err != nil {
		return fmt.Errorf("mount %s on %s: %w", mount.Volume, mount.Target, classed(err))
	}
	return nil
}

// Bind implements csi.Mounts. A mount that is read-only is so before anybody can see it.
func (m *Mounter) Bind(_ context.Context, from, target string, readOnly bool) error {
	of, err := m.open(from)
	if err != nil {
		return err
	}
	defer of.Close()
	dir, name, err := m.parent(target)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o750); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make directory %s: %w", target, err)
	}
	return m.attach(of, dir, name, readOnly)
}

// attach makes what is open visible under a name in a directory (open_tree(2), mount_setattr(2), move_mount(2): Linux 5.12).
func (m *Mounter) attach(of, dir *os.File, name string, readOnly bool) error {
	tree, err := unix.OpenTree(int(of.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("clone mount of %s: %w", of.Name(), err)
	}
	defer unix.Close(tree)
	if readOnly {
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("make mount of %s read-only: %w", of.Name(), err)
		}
	}
	on, err := openIn(dir, name)
	if err != nil {
		return err
	}
	defer on.Close()
	if err := unix.MoveMount(tree, "", int(on.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach mount on %s: %w", on.Name(), classed(err))
	}
	return nil
}

// BindDevice implements csi.Mounts.
func (m *Mounter) BindDevice(ctx context.Context, volume, target string) error {
	device, err := m.device(ctx, volume)
	if err != nil {
		return err
	}
	var s unix.Stat_t
	if err := unix.Lstat(device, &s); err != nil {
		return fmt.Errorf("look at %s: %w", device, err)
	}
	held, err := m.hold(volume, s.Rdev, target)
	if err == nil {
		err = m.show(device, s.Rdev, target)
	}
	if err != nil && held {
		err = errors.Join(err, m.ReleaseDevice(ctx, target))
	}
	return err
}

// show makes a device that is held visible on a target. What has its name is the same device still, as long as it is held.
func (m *Mounter) show(device string, number uint64, target string) error {
	of, err := os.OpenFile(device, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer of.Close()
	var s unix.Stat_t
	if err := unix.Fstat(int(of.Fd()), &s); err != nil {
		return fmt.Errorf("look at %s: %w", device, err)
	}
	if s.Mode&unix.S_IFMT != unix.S_IFBLK || s.Rdev != number {
		return fmt.Errorf("look at %s: it has become another device", device)
	}
	dir, name, err := m.parent(target)
	if err != nil {
		return err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	switch {
	case err == nil:
		unix.Close(fd)
	case !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("make file %s: %w", target, err)
	}
	return m.attach(of, dir, name, false)
}

// Unmount implements csi.Mounts.
func (m *Mounter) Unmount(ctx context.Context, target string) error {
	dir, name, err := m.parent(target)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	for ctx.Err() == nil {
		err := unix.Unmount(through(dir, name), unix.UMOUNT_NOFOLLOW)
		switch {
		case errors.Is(err, unix.EINVAL) || gone(err):
			return nil // it is no mount, or no more
		case err != nil:
			return fmt.Errorf("unmount %s: %w", target, classed(err))
		}
	}
	return ctx.Err()
}

// Remove implements csi.Mounts.
func (m *Mounter) Remove(_ context.Context, target string) error {
	dir, name, err := m.parent(target)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	err = unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTDIR) {
		err = unix.Unlinkat(int(dir.Fd()), name, 0)
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("remove %s: %w", target, classed(err))
	}
	return nil
}

// Usage implements csi.Mounts.
func (m *Mounter) Usage(_ context.Context, target string) (csi.Usage, error) {
	on, err := m.open(target)
	if err != nil {
		return csi.Usage{}, err
	}
	defer on.Close()
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(on.Fd()), &s); err != nil {
		return csi.Usage{}, fmt.Errorf("read usage of %s: %w", target, err)
	}
	block := int64(s.Bsize)
	return csi.Usage{
		TotalBytes: int64(s.Blocks) * block, UsedBytes: int64(s.Blocks-s.Bfree) * block, AvailableBytes: int64(s.Bavail) * block,
		TotalInodes: int64(s.Files), UsedInodes: int64(s.Files - s.Ffree), AvailableInodes: int64(s.Ffree),
	}, nil
}
