package mount

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resizeFS is EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64) in the kernel's include/uapi/linux/ext4.h; since Linux 3.3.
const resizeFS = 0x40086610

// Resize grows a mounted ext4 file system to the size of its device.
func (Mounts) Resize(target, device string) error {
	dev, err := os.Open(device)
	if err != nil {
		return err
	}
	defer dev.Close()
	size, err := dev.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("read size of %s: %w", device, err)
	}
	dir, err := os.Open(target)
	if err != nil {
		return err
	}
	defer dir.Close()
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &stat); err != nil {
		return fmt.Errorf("read block size of %s: %w", target, err)
	}
	blocks := uint64(size) / uint64(stat.Bsize)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), resizeFS, uintptr(unsafe.Pointer(&blocks))); errno != 0 {
		return fmt.Errorf("grow file system of %s to %d blocks: %w", target, blocks, errno)
	}
	return nil
}
