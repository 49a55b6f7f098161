package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// loopTries bounds how often a loop device is asked for: somebody else may take a free one first.
const loopTries = 16

// attach makes a file a read-only block device, which is there for as long as it is open. The device's name is that of what is returned; the caller
// closes that (loop(4), LOOP_CONFIGURE of Linux 5.8, LO_FLAGS_AUTOCLEAR).
func attach(file string) (*os.File, error) {
	backing, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("attach image: %w", err)
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", file, err)
	}
	defer control.Close()
	for range loopTries {
		var n int
		if n, err = unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE); err != nil {
			return nil, fmt.Errorf("attach %s: find a free loop device: %w", file, err)
		}
		var device *os.File
		if device, err = configure(fmt.Sprintf("/dev/loop%d", n), backing); err == nil {
			return device, nil
		}
		if !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	return nil, fmt.Errorf("attach %s: %w", file, err)
}

func configure(path string, backing *os.File) (*os.File, error) {
	device, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	c := unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR}}
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &c); err != nil {
		return nil, errors.Join(fmt.Errorf("set up %s: %w", path, err), device.Close())
	}
	return device, nil
}

// Open implements keeper.Kernel.
func (k *Kernel) Open() ([]string, error) { return backingFiles("/sys/block") }

// backingFiles are the files of all loop devices (Documentation/ABI/testing/sysfs-block-loop). The kernel marks one that was removed, which it still has.
func backingFiles(block string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(block, "loop*", "loop", "backing_file"))
	if err != nil {
		return nil, fmt.Errorf("list loop devices: %w", err)
	}
	var out []string
	for _, path := range found {
		file, err := os.ReadFile(path)
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENODEV):
			continue // it went meanwhile
		case err != nil:
			return nil, fmt.Errorf("list loop devices: %w", err)
		}
		out = append(out, strings.TrimSuffix(strings.TrimSuffix(string(file), "\n"), " (deleted)"))
	}
	return out, nil
}
