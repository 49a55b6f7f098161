package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// attachment is one interface of one pod.
type attachment struct{ ContainerID, IfName string }

// String is the form that an address's file holds.
func (a attachment) String() string { return a.ContainerID + " " + a.IfName }

const (
	lockName = "lock"
	// lastName holds the address given out last: the next search starts after it,
	// so that an address rests before it is used again.
	lastName = "last"
)

var errFull = errors.New("every address is in use")

// addresses is the directory that says which address belongs to which attachment:
// one file each, named by the address. It must be closed, which lets the next
// caller in.
type addresses struct {
	dir  string
	lock *os.File
}

// openAddresses waits for the directory's lock.
func openAddresses(dir string) (*addresses, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of addresses: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of addresses: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock addresses: %w", err)
	}
	return &addresses{dir: dir, lock: lock}, nil
}

// Close unlocks the directory.
func (s *addresses) Close() error { return s.lock.Close() }

// of returns the attachment's address; ok is false if it has none.
func (s *addresses) of(a attachment) (address netip.Addr, ok bool, err error) {
	owners, err := s.all()
	if err != nil {
		return netip.Addr{}, false, err
	}
	for address, owner := range owners {
		if owner == a.String() {
			return address, true, nil
		}
	}
	return netip.Addr{}, false, nil
}

// take gives the attachment the next free address of pods, or the one it has. The
// first address and the last are never given out: the one names the range, the
// other is taken for its broadcast by some programs.
func (s *addresses) take(a attachment, pods netip.Prefix) (netip.Addr, error) {
	owners, err := s.all()
	if err != nil {
		return netip.Addr{}, err
	}
	for address, owner := range owners {
		if owner == a.String() && pods.Contains(address) {
			return address, nil
		}
	}
	first, last := pods.Addr().Next(), lastAddr(pods)
	start := first
	if data, err := os.ReadFile(filepath.Join(s.dir, lastName)); err == nil {
		if l, err := netip.ParseAddr(string(data)); err == nil && pods.Contains(l) && pods.Contains(l.Next()) && l.Next() != last {
			start = l.Next()
		}
	}
	for address := start; ; {
		if _, used := owners[address]; !used {
			return address, s.write(address, a)
		}
		if address = address.Next(); address == last {
			address = first
		}
		if address == start {
			return netip.Addr{}, fmt.Errorf("take address of %s: %w", pods, errFull)
		}
	}
}

func (s *addresses) write(address netip.Addr, a attachment) error {
	if err := os.WriteFile(filepath.Join(s.dir, address.String()), []byte(a.String()), 0o600); err != nil {
		return fmt.Errorf("record address: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, lastName), []byte(address.String()), 0o600); err != nil {
		return fmt.Errorf("record address: %w", err)
	}
	return nil
}

// release frees every address of the attachment.
func (s *addresses) release(a attachment) error {
	return s.releaseIf(func(owner string) bool { return owner == a.String() })
}

func (s *addresses) releaseIf(gone func(owner string) bool) error {
	owners, err := s.all()
	if err != nil {
		return err
	}
	for address, owner := range owners {
		if !gone(owner) {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, address.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("release address: %w", err)
		}
	}
	return nil
}

// all returns every address with its owner. Files that are not addresses are none
// of ours.
func (s *addresses) all() (map[netip.Addr]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	owners := make(map[netip.Addr]string, len(entries))
	for _, e := range entries {
		address, err := netip.ParseAddr(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join(s.dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read address: %w", err)
		}
		owners[address] = strings.TrimSpace(string(data))
	}
	return owners, nil
}

// lastAddr returns the last address of an IPv4 prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}
