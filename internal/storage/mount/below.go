package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Below mounts datasets where pods see them: below a directory that others than the node write in. No symbolic link below it is followed, each directory is opened
// in the one before, and what is mounted on is an open directory: whatever is moved or replaced meanwhile, nothing is mounted elsewhere on the node.
type Below struct {
	// Root is the directory on the node, which nobody can replace. Seen is what it is for those who use it: with /var/plane and /var, the target /var/mnt/a is
	// /var/plane/mnt/a. Targets lie below Within, such as /var/mnt.
	Root, Seen, Within string
}

var _ dataset.Mounts = Below{}

// names are a target's, below the root.
func (b Below) names(target string) ([]string, error) {
	if path.Clean(target) != target || !strings.HasPrefix(target, b.Within+"/") {
		return nil, fmt.Errorf("target %q %w: expected a clean path below %s", target, zfs.ErrInvalid, b.Within)
	}
	return strings.Split(strings.TrimPrefix(target, b.Seen+"/"), "/"), nil
}

// Mounted implements dataset.Mounts. Where several are stacked, the topmost counts.
func (b Below) Mounted(context.Context) (map[string]string, error) {
	prefix := b.Root + strings.TrimPrefix(b.Within, b.Seen) + "/"
	infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) { return !strings.HasPrefix(i.Mountpoint, prefix), false })
	if err != nil {
		return nil, fmt.Errorf("read mountinfo: %w", err)
	}
	out := map[string]string{}
	for _, i := range infos {
		name := ""
		if i.FSType == storage.PoolMember {
			name = i.Source
		}
		out[b.Within+"/"+strings.TrimPrefix(i.Mountpoint, prefix)] = name
	}
	return out, nil
}

// Seal implements dataset.Mounts.
func (b Below) Seal(_ context.Context, target string) error {
	on, err := b.sealed(target)
	if err != nil {
		return err
	}
	return on.Close()
}

// sealed makes the directory of a target, and seals and opens it.
func (b Below) sealed(target string) (*os.File, error) {
	names, err := b.names(target)
	if err != nil {
		return nil, err
	}
	on, err := b.open(names, true)
	if err != nil {
		return nil, fmt.Errorf("make mount point %s: %w", target, err)
	}
	if err := sealEmpty(on, inodeFlags{on}); err != nil {
		return nil, errors.Join(fmt.Errorf("seal mount point %s: %w", target, err), on.Close())
	}
	return on, nil
}

// Mount implements dataset.Mounts. Directories above the target are made too, and can be written in by others.
func (b Below) Mount(_ context.Context, name, target string, options []string) error {
	var set uintptr
	for _, o := range options {
		f, ok := flags[o]
		if !ok {
			return fmt.Errorf("mount %s on %s: %w: option %.40q is not known", name, target, zfs.ErrInvalid, o)
		}
		set |= f
	}
	on, err := b.sealed(target)
	if err != nil {
		return err
	}
	defer on.Close()
	if err := Replay(name); err != nil {
		return fmt.Errorf("mount on %s: %w", target, err)
	}
	// mount(2) takes no file descriptor, but its name in /proc.
	if err := unix.Mount(name, fmt.Sprintf("/proc/self/fd/%d", on.Fd()), storage.PoolMember, set, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", name, target, err)
	}
	return nil
}

// Replay has ZFS write what the intent log of a file system holds: what was synced right before the power failed. A mount that may write does so, too, but where the
// property readonly is on by then, each record is refused, and the log is given up. A read-only mount is lifted for it (zfsvfs_setup in
// module/os/linux/zfs/zfs_vfsops.c, OpenZFS 2.3.9), and this one is seen by nobody. It is not kept: it would stay read-only when the property goes off. One that is
// mounted elsewhere has no such log.
func Replay(name string) error {
	root, err := detached(name, storage.PoolMember)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil
	case err != nil:
		return fmt.Errorf("replay intent log of %s: %w", name, err)
	}
	return unix.Close(root)
}

// Unmount implements dataset.Mounts.
func (b Below) Unmount(_ context.Context, target string) error {
	names, err := b.names(target)
	if err != nil {
		return err
	}
	last := len(names) - 1
	dir, err := b.open(names[:last], false)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	defer dir.Close()
	err = unix.Unmount(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), names[last]), unix.UMOUNT_NOFOLLOW)
	switch {
	case err == nil, errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("unmount %s: it %w: %w", target, zfs.ErrBusy, err)
	}
	return fmt.Errorf("unmount %s: %w", target, err)
}

// open opens a directory below the root, and with create makes what of it is not there, the root too.
func (b Below) open(names []string, create bool) (*os.File, error) {
	if create {
		if err := os.Mkdir(b.Root, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	at, err := os.OpenFile(b.Root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		next, err := step(at, name, create)
		at.Close()
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// step opens a directory in another (openat2(2), Linux 5.6). One that is a symbolic link is ELOOP.
func step(in *os.File, name string, create bool) (*os.File, error) {
	if create {
		if err := unix.Mkdirat(int(in.Fd()), name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("make directory %s in %s: %w", name, in.Name(), err)
		}
	}
	fd, err := unix.Openat2(int(in.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s in %s: %w", name, in.Name(), err)
	}
	return os.NewFile(uintptr(fd), path.Join(in.Name(), name)), nil
}
