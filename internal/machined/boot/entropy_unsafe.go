package boot

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxSeedBytes is the most that is credited at once: twice the pool.
const maxSeedBytes = 64

// poolInfo is struct rand_pool_info of linux/random.h.
type poolInfo struct {
	entropyBits, sizeBytes int32
	data                   [maxSeedBytes]byte
}

// credit mixes seed into the kernel's pool behind fd (/dev/random) and counts
// all its bits as entropy (RNDADDENTROPY, random(4)).
func credit(fd uintptr, seed []byte) error {
	var p poolInfo
	n := copy(p.data[:], seed)
	p.entropyBits, p.sizeBytes = int32(8*n), int32(n)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&p)))
	if errno != 0 {
		return errno
	}
	return nil
}
