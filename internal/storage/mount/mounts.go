package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage"
)

// Mounts implements storage.Mounts in the mount namespace of the process.
type Mounts struct{}

// Mounted returns what is mounted on each target; where several are stacked, the topmost.
func (Mounts) Mounted(targets []string) (map[string]storage.MountState, error) {
	infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return !slices.Contains(targets, i.Mountpoint), false
	})
	if err != nil {
		return nil, fmt.Errorf("read mountinfo: %w", err)
	}
	out := map[string]storage.MountState{}
	for _, i := range infos {
		out[i.Mountpoint] = storage.MountState{Numbers: fmt.Sprintf("%d:%d", i.Major, i.Minor), FileSystem: i.FSType, Source: i.Source}
	}
	return out, nil
}

// flags are the options that are flags of mount(2); the rest goes to the file system.
var flags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC, "noatime": unix.MS_NOATIME,
}

// Mount mounts the device on the target, which must exist.
func (Mounts) Mount(device, target, fileSystem string, options []string) error {
	var set uintptr
	var data []string
	for _, o := range options {
		if f, ok := flags[o]; ok {
			set |= f
		} else {
			data = append(data, o)
		}
	}
	if err := unix.Mount(device, target, fileSystem, set, strings.Join(data, ",")); err != nil {
		return fmt.Errorf("mount %s on %s: %w", device, target, err)
	}
	return nil
}

// Unmount unmounts what is on the target, the topmost where several are stacked. That there is nothing is no error.
func (Mounts) Unmount(target string) error {
	if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// FreeBytes is what the file system of a directory has left for those without privileges.
func (Mounts) FreeBytes(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("read free space of %s: %w", dir, err)
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}

// Directory returns the permissions of a directory; a file of another kind is fs.ErrInvalid.
func (Mounts) Directory(path string) (fs.FileMode, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	if !info.IsDir() {
		return 0, fmt.Errorf("read directory %s: %w: it is of another kind", path, fs.ErrInvalid)
	}
	return info.Mode().Perm(), nil
}

// MakeDirectory makes a directory, or sets the permissions of one that exists. The parent must exist.
func (Mounts) MakeDirectory(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	made := err == nil
	// Again, since mkdir(2) is subject to the umask.
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	if made {
		return syncDirectory(filepath.Dir(path))
	}
	return syncDirectory(path)
}

// immutable is FS_IMMUTABLE_FL of the kernel's include/uapi/linux/fs.h: nobody, root neither, makes or removes anything in such a directory. ext4 and ZFS
// keep it.
const immutable = 0x10

// MakeMountPoint makes a directory that only what is mounted on it can be written in. On a file system that is read-only that is so anyway.
func (Mounts) MakeMountPoint(path string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &stat); err != nil {
		return fmt.Errorf("look at %s: %w", filepath.Dir(path), err)
	}
	if stat.Flags&unix.ST_RDONLY != 0 {
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			return fmt.Errorf("make mount point %s: the file system is read-only, and there is no such directory", path)
		}
		return nil
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := seal(d); err != nil {
		return fmt.Errorf("seal mount point %s: %w", path, err)
	}
	return syncDirectory(filepath.Dir(path))
}

// seal makes an open directory immutable.
func seal(d *os.File) error {
	f := inodeFlags{d}
	set, err := f.get()
	if err != nil {
		return err
	}
	return f.set(set | immutable)
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
