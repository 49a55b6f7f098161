// Command guest is what the kernel starts first in a machine whose root is to be in memory; see package ramroot. It makes a disk of what is in the
// initramfs and becomes stage 1 of the image.
//
// It loads modules and makes a mount. So it does nothing unless it is PID 1, no /proc is mounted yet, and the program lies where the measurement put it.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/hack/qemu/bench/ramroot"
)

// loopDevice is the first one, which the driver makes when it is loaded (CONFIG_BLK_DEV_LOOP_MIN_COUNT is 8 in Debian's kernels).
const loopDevice = "/dev/loop0"

func main() {
	err := refuse(os.Getpid())
	if err == nil {
		err = start()
	}
	if err == nil {
		err = fmt.Errorf("execute stage 1: %w", unix.Exec(ramroot.StagePath, []string{ramroot.StagePath}, os.Environ()))
	}
	fmt.Fprintln(os.Stderr, "ramroot:", err)
	os.Exit(1)
}

// refuse tells why this is no machine of a measurement.
func refuse(pid int) error {
	if pid != 1 {
		return fmt.Errorf("refuse to run as process %d: this program is PID 1 of a machine that is measured", pid)
	}
	if _, err := os.Stat("/proc/self"); err == nil {
		return errors.New("refuse to run: /proc is mounted, so this is no fresh machine")
	}
	if _, err := os.Stat(ramroot.GuestPath); err != nil {
		return fmt.Errorf("refuse to run: %w", err)
	}
	return nil
}

func start() error {
	if err := loadModules(); err != nil {
		return err
	}
	if err := os.MkdirAll("/dev", 0o755); err != nil {
		return err
	}
	// Stage 1 takes it as it finds it.
	if err := unix.Mount("devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount /dev: %w", err)
	}
	disk, err := makeDisk()
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	defer disk.Close()
	return attach(disk)
}

func loadModules() error {
	files, err := filepath.Glob(filepath.Join(ramroot.ModuleDir, "*"))
	if err != nil {
		return err
	}
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("load kernel module: %w", err)
		}
		err = unix.FinitModule(int(file.Fd()), "", 0)
		_ = file.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load kernel module %s: %w", path, err)
		}
	}
	return nil
}

// makeDisk gives the disk its size, and its end.
func makeDisk() (*os.File, error) {
	text, err := os.ReadFile(ramroot.SizePath)
	if err != nil {
		return nil, err
	}
	size, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return nil, err
	}
	tail, err := os.ReadFile(ramroot.TailPath)
	if err != nil {
		return nil, err
	}
	disk, err := os.OpenFile(ramroot.HeadPath, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err = disk.Truncate(size); err == nil {
		_, err = disk.WriteAt(tail, size-int64(len(tail)))
	}
	return disk, err
}

// attach makes a block device of the disk, with its partitions (loop(4)). It holds the file when that has no name any more.
func attach(disk *os.File) error {
	device, err := os.OpenFile(loopDevice, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer device.Close()
	config := &unix.LoopConfig{Fd: uint32(disk.Fd()), Size: 512, Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_PARTSCAN}}
	if err := unix.IoctlLoopConfigure(int(device.Fd()), config); err != nil {
		return fmt.Errorf("attach %s to %s: %w", ramroot.HeadPath, loopDevice, err)
	}
	return nil
}
