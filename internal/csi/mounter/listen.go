package mounter

import (
	"errors"
	"fmt"
	"net"

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
	if err := unix.Fchmodat(int(dir.Fd()), name, 0o600, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("set mode of %s: %w", target, err), l.Close())
	}
	return l, nil
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
