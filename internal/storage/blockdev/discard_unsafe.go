package blockdev

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// discard is ioctl BLKDISCARD, which takes two numbers of 64 bits: where the part begins, and its length (block/ioctl.c, blk_ioctl_discard).
func discard(fd int, at, n uint64) error {
	part := [2]uint64{at, n}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKDISCARD, uintptr(unsafe.Pointer(&part))); errno != 0 {
		return errno
	}
	return nil
}
