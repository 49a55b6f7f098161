package boot

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// loopbackUp sets 127.0.0.1/8 and ::1/128 on lo and brings it up. The kernel
// gives lo its IPv6 address itself when it comes up; the IPv4 one is set by
// ioctl (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	defer unix.Close(fd)
	return errors.Join(
		setAddress(fd, unix.SIOCSIFADDR, [4]byte{127, 0, 0, 1}),
		setAddress(fd, unix.SIOCSIFNETMASK, [4]byte{255, 0, 0, 0}),
		setFlags(fd, unix.IFF_UP|unix.IFF_RUNNING|unix.IFF_LOOPBACK),
	)
}

func setAddress(fd int, request uint, a [4]byte) error {
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := r.SetInet4Addr(a[:]); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, request, r); err != nil {
		return fmt.Errorf("set address of lo: %w", err)
	}
	return nil
}

func setFlags(fd int, flags uint16) error {
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}
