package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// System is a zfs.System on which a file system that is mounted, and is not read-only any more, stays so.
//
// OpenZFS 2.3.9 takes a rollback, and a receive into what is mounted, for another mount: one that finds the file system read-only, by its property too, notes that as an
// option of the mount (zfs_register_callbacks in module/os/linux/zfs/zfs_vfsops.c). The property goes off, and writes work; but the next rollback obeys the note, and the
// file system takes no write until it is mounted anew. A remount makes the mount's options anew (zfs_remount, same file).
type System struct {
	zfs.System
	remounts *remounts
}

var _ zfs.System = System{}

// NewSystem returns a System that does the rest by another.
func NewSystem(s zfs.System) System { return System{s, &remounts{open: map[string]chan struct{}{}}} }

const readOnly = "readonly"

// Set implements zfs.System. Also after an error the property may be off: of several that cannot be set at once, each is set that can be (zfs_set_prop_nvlist in
// module/zfs/zfs_ioctl.c). What is read-only yet is not touched.
func (s System) Set(ctx context.Context, name string, properties map[string]string) error {
	err := s.System.Set(ctx, name, properties)
	if properties[readOnly] != "off" {
		return err
	}
	return errors.Join(err, s.remounts.within(ctx, name, func() error { return forgetReadOnly(name) }))
}

// Inherit implements zfs.System.
func (s System) Inherit(ctx context.Context, name, property string) error {
	if err := s.System.Inherit(ctx, name, property); err != nil || property != readOnly {
		return err
	}
	return s.remounts.within(ctx, name, func() error { return forgetReadOnly(name) })
}

// remounts are those that have not ended, by the name of the file system.
type remounts struct {
	mu   sync.Mutex
	open map[string]chan struct{}
}

// within has something done for a file system, and returns when ctx ends at the latest: a path may lead through somebody's file system that does not answer, such as one of
// FUSE, which no context ends. While that is so, it is not begun again for the same name.
func (r *remounts) within(ctx context.Context, name string, do func() error) error {
	none := func() error {
		return fmt.Errorf("remount what is not read-only any more: no answer: %w", context.Cause(ctx))
	}
	ended := make(chan struct{})
	for before := r.begin(name, ended); before != nil; before = r.begin(name, ended) {
		select {
		case <-before:
		case <-ctx.Done():
			return none()
		}
	}
	done := make(chan error, 1)
	go func() {
		defer r.end(name, ended)
		done <- do()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return none()
	}
}

// begin notes one that is begun, unless another of the name has not ended: that is returned, and is closed when it has.
func (r *remounts) begin(name string, ended chan struct{}) (before chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before = r.open[name]; before == nil {
		r.open[name] = ended
	}
	return before
}

func (r *remounts) end(name string, ended chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, name)
	close(ended)
}

// forgetReadOnly remounts a file system and all below it that may inherit from it, where they are mounted and take writes. In others it would make the note.
func forgetReadOnly(name string) error {
	infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		below := i.Source == name || strings.HasPrefix(i.Source, name+"/")
		writable := strings.HasPrefix(i.VFSOptions+",", "rw,")
		return i.FSType != storage.PoolMember || !below || !writable, false
	})
	if err != nil {
		return fmt.Errorf("read mountinfo: %w", err)
	}
	done := map[[2]int]bool{} // file systems, of which one may be mounted more than once
	for _, i := range infos {
		device := [2]int{i.Major, i.Minor}
		if done[device] {
			continue
		}
		if done[device], err = remount(i); err != nil {
			return fmt.Errorf("remount %s: %w", i.Source, err)
		}
	}
	return nil
}

// remount remounts the file system of a mount as it is, and says whether it has. Where the mount is gone by now, or another is over it, it has not: somebody else may
// be able to replace directories of its path.
func remount(i *mountinfo.Info) (bool, error) {
	root, err := os.Open("/")
	if err != nil {
		return false, err
	}
	defer root.Close()
	path, err := filepath.Rel("/", i.Mountpoint)
	if err != nil {
		return false, err
	}
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	var stat unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &stat); err != nil { // Linux 5.8
		return false, err
	}
	if stat.Mnt_id != uint64(i.ID) {
		return false, nil
	}
	picked, err := unix.Fspick(fd, "", unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH)
	if err != nil {
		return false, fmt.Errorf("pick: %w", err)
	}
	defer unix.Close(picked)
	if err := unix.FsconfigReconfigure(picked); err != nil {
		return false, err
	}
	return true, nil
}
