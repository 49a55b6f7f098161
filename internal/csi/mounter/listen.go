package mounter

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Listen makes a socket on a path below kubelet's directory, in place of one that is there. Its directory exists. The caller removes the socket with
// [Mounter.Remove]: closing does not, as it would look the path up again.
func (m *Mounter) Listen(target string) (net.Listener, error) {
	dir, name, err := m.parent(target)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("remove what is on %s: %w", target, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: through(dir, name), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", target, err)
	}
	l.SetUnlinkOnClose(false)
	if err := restrict(dir, name); err != nil {
		return nil, errors.Join(fmt.Errorf("set mode of %s: %w", target, err), l.Close())
	}
	return l, nil
}

// restrict takes a socket from all but its owner. By its name alone that would be done to what a link leads to, anywhere on the node, which somebody in the plane
// has put into the socket's place just now: so what is there is opened, looked at, and changed as what it is.
func restrict(dir *os.File, name string) error {
	f, err := openIn(dir, name)
	if err != nil {
		return err
	}
	defer f.Close()
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return err
	}
	if s.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("it is no socket any more, but of type %#o", s.Mode&unix.S_IFMT)
	}
	// What is open by its path alone takes no fchmod(2).
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), 0o600)
}

// MakeDirectory makes a directory below kubelet's, whose parent exists.
func (m *Mounter) MakeDirectory(target string) error {
	dir, name, err := m.parent(target)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o750); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make directory %s: %w", target, err)
	}
	return nil
}

// Present says whether a socket is on a path.
func (m *Mounter) Present(target string) bool {
	dir, name, err := m.parent(target)
	if err != nil {
		return false
	}
	defer dir.Close()
	var s unix.Stat_t
	return unix.Fstatat(int(dir.Fd()), name, &s, unix.AT_SYMLINK_NOFOLLOW) == nil && s.Mode&unix.S_IFMT == unix.S_IFSOCK
}
