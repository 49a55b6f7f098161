package supervise

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoPIDOffset is where si_pid lies in siginfo_t on 64-bit Linux: three
// ints, padding to 8 bytes, then the union (asm-generic/siginfo.h).
const siginfoPIDOffset = 16

// peekExited returns the pid of a child that has exited and is not reaped
// yet, and leaves it so. The pid is 0 when all children still run. The error
// is unix.ECHILD when there are no children.
func peekExited() (int, error) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), siginfoPIDOffset))), nil
	}
}
