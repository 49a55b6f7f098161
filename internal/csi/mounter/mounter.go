package mounter

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/loopdev"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Tools are paths of programs. One that the image does not have is empty.
type Tools struct{ Mke2fs, E2fsck, MkfsXFS string }

// FileSystems are those that can be made with the tools.
func (t Tools) FileSystems() []string {
	var names []string
	if t.Mke2fs != "" && t.E2fsck != "" {
		names = append(names, "ext4")
	}
	if t.MkfsXFS != "" {
		names = append(names, "xfs")
	}
	return names
}

// Mounter implements csi.Mounts.
type Mounter struct {
	// root is the directory on the node that kubelet takes for its own.
	root    string
	tools   Tools
	devices Devices
	// block is the kernel's directory of block devices, name and nameOpen ask one for its volume, file opens one, and loops hold one. Tests have others.
	block    string
	name     func(device string) (string, error)
	file     func(device string) (*os.File, error)
	nameOpen func(device *os.File) (string, error)
	loops    loops

	// holding is for what is held and what is on the list to change together.
	holding sync.Mutex

	mu sync.Mutex
	// answers are what devices last said, and questions those that are waited for, both by the device's path.
	answers   map[string]answer
	questions map[string]*question
}

// New returns a Mounter for a directory of the node, such as /var/plane/lib/kubelet.
func New(root string, tools Tools, devices Devices) *Mounter {
	return &Mounter{
		root: path.Clean(root), tools: tools, devices: devices, block: sysBlock, name: nameOf, file: openDevice, nameOpen: zvolName, loops: loopdev.Kernel{},
		answers: map[string]answer{}, questions: map[string]*question{},
	}
}

// parent opens the directory that a target is in, and returns the target's last name.
func (m *Mounter) parent(target string) (*os.File, string, error) {
	if target == "" || path.IsAbs(target) || path.Clean(target) != target || target == "." || strings.HasPrefix(target, "../") || target == ".." {
		return nil, "", fmt.Errorf("open %q below %s: %w: no clean relative path", target, m.root, os.ErrInvalid)
	}
	dir, err := openBelow(m.root, path.Dir(target))
	if err != nil {
		return nil, "", err
	}
	return dir, path.Base(target), nil
}

// openBelow opens a directory below another, following no links and entering no mount. On the way to the first there is no link either: the directories above
// kubelet's are the plane's, and it can take the mount off its own and put something in its place.
func openBelow(root, dir string) (*os.File, error) {
	to := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	from, err := unix.Openat2(unix.AT_FDCWD, root, &to)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(from)
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(from, dir, &how)
	if err != nil {
		return nil, fmt.Errorf("open %s below %s: %w", dir, root, err)
	}
	return os.NewFile(uintptr(fd), path.Join(root, dir)), nil
}

// open opens what a target is, the root of a mount if it is one.
func (m *Mounter) open(target string) (*os.File, error) {
	dir, name, err := m.parent(target)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return openIn(dir, name)
}

// openIn opens a name in a directory. A symbolic link is opened as such, and nothing can be mounted on one.
func openIn(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s in %s: %w", name, dir.Name(), err)
	}
	return os.NewFile(uintptr(fd), path.Join(dir.Name(), name)), nil
}

// through is a path of a name in an open directory, of which nothing but the last name is looked up. /proc has to be mounted.
func through(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

// gone says whether an error is that something is not there.
func gone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

// classed gives the errors that the driver tells apart their classes.
func classed(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: %w", zfs.ErrBusy, err)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: %w", zfs.ErrNoSpace, err)
	}
	return err
}
