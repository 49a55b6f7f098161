package verity

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// checkChunkBytes is how much is read at once: large enough that the kernel
// hashes several blocks side by side.
const checkChunkBytes = 1 << 20

// checkRest is how long CheckAll rests after a chunk, in times of what the
// chunk took: hashing must not take the processor from what the node boots.
const checkRest = 9

// CheckAll reads the whole of a device past the page cache, so that a block
// that nothing else reads is checked as well. On a device of Open a bad block
// does not return an error: it stops the machine. It takes its time (checkRest),
// and returns how much it read.
func CheckAll(ctx context.Context, device string) (int64, error) {
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("check %s: %w", device, err)
	}
	f := os.NewFile(uintptr(fd), device)
	defer f.Close()
	// O_DIRECT wants an aligned buffer: a mapping is.
	buf, err := unix.Mmap(-1, 0, checkChunkBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return 0, fmt.Errorf("check %s: %w", device, err)
	}
	defer unix.Munmap(buf)
	var total int64
	for ctx.Err() == nil {
		began := time.Now()
		n, err := unix.Read(int(f.Fd()), buf)
		if err != nil {
			return total, fmt.Errorf("check %s at byte %d: %w", device, total, err)
		}
		if n == 0 {
			return total, nil
		}
		total += int64(n)
		select {
		case <-ctx.Done():
		case <-time.After(checkRest * time.Since(began)):
		}
	}
	return total, ctx.Err()
}
