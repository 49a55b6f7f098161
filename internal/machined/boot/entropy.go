package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// seedEntropy mixes what the hardware generator (virtio-rng, TPM) has into
// the kernel's pool, and reports when the pool is not ready even so: the
// first key that machined makes would have to wait.
func seedEntropy(generator string) error {
	err := mixIn(generator)
	var one [1]byte
	if _, e := unix.Getrandom(one[:], unix.GRND_NONBLOCK); e != nil {
		return errors.Join(fmt.Errorf("random pool is not ready: %w", e), err)
	}
	return err
}

func mixIn(generator string) error {
	// Without O_NONBLOCK a generator that is stuck would stop the boot.
	in, err := os.OpenFile(generator, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read hardware generator: %w", err)
	}
	defer in.Close()
	seed := make([]byte, maxSeedBytes)
	n, err := unix.Read(int(in.Fd()), seed)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENODEV):
		return nil
	case err != nil:
		return fmt.Errorf("read hardware generator: %w", err)
	}
	pool, err := os.OpenFile("/dev/random", os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("credit entropy: %w", err)
	}
	defer pool.Close()
	if err := credit(pool.Fd(), seed[:n]); err != nil {
		return fmt.Errorf("credit entropy: %w", err)
	}
	return nil
}
