// Package medium is the disk in memory of an installation medium: a kernel image whose initramfs brings the whole release, for machines that no node
// runs on yet (hack/release/media makes it).
//
// The disk is one file of the initramfs: a partition table with a boot partition, the root and its hash tree, as on a disk that was installed, and no more.
// So all that looks for a root, or installs from one, finds it as it would elsewhere. It is read through a loop device, and cannot be dropped from memory:
// there is nowhere else to read it from.
package medium

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// Path is where the initramfs has the disk.
	Path = "/medium/disk"
	// Device is the kernel's name of the disk: the first loop device, which the driver makes when it is loaded (CONFIG_BLK_DEV_LOOP_MIN_COUNT is 8 in
	// Debian's kernels).
	Device = "loop0"
	// SectorBytes is that of the disk.
	SectorBytes = 512
)

// Attach makes a block device of the disk, with devices of its partitions, and returns its name. That is empty where the initramfs has no such disk. Load
// loads a kernel module. The file may be removed afterwards: the device holds it.
func Attach(load func(module string) error) (string, error) {
	return attach(Path, "/dev/"+Device, load)
}

func attach(path, device string, load func(module string) error) (string, error) {
	disk, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open the disk of the installation medium: %w", err)
	}
	defer disk.Close()
	if err := load("loop"); err != nil {
		return "", fmt.Errorf("attach the disk of the installation medium: %w", err)
	}
	loop, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("attach the disk of the installation medium: %w", err)
	}
	defer loop.Close()
	// loop(4). It can be written, since the boot partition is mounted as any other is; what is written is gone with the machine's power.
	config := &unix.LoopConfig{Fd: uint32(disk.Fd()), Size: SectorBytes, Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_PARTSCAN}}
	if err := unix.IoctlLoopConfigure(int(loop.Fd()), config); err != nil {
		return "", fmt.Errorf("attach the disk of the installation medium to %s: %w", device, err)
	}
	return Device, nil
}
