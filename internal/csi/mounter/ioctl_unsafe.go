package mounter

import (
	"bytes"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// zfsNameBytes is ZFS_MAX_DATASET_NAME_LEN, and zname BLKZNAME: _IOR(0x12, 125, char[256]) (include/sys/fs/zfs.h of OpenZFS 2.3.9).
	zfsNameBytes = 256
	zname        = 0x8100127d
	// resizeFS is EXT4_IOC_RESIZE_FS: _IOW('f', 16, __u64) (include/uapi/linux/ext4.h); since Linux 3.3.
	resizeFS = 0x40086610
	// xfsGeometry is XFS_IOC_FSGEOMETRY_V1: _IOR('X', 100, struct xfs_fsop_geom_v1), and xfsGrow XFS_IOC_FSGROWFSDATA: _IOW('X', 110, struct
	// xfs_growfs_data) (fs/xfs/libxfs/xfs_fs.h of Linux 6.12).
	xfsGeometry = 0x80705864
	xfsGrow     = 0x4010586e
)

// geometry is struct xfs_fsop_geom_v1.
type geometry struct {
	BlockSize, RTExtSize, AGBlocks, AGCount, LogBlocks, SectSize, InodeSize, IMaxPct uint32
	DataBlocks, RTBlocks, RTExtents, LogStart                                        uint64
	UUID                                                                             [16]byte
	SUnit, SWidth                                                                    uint32
	Version                                                                          int32
	Flags, LogSectSize, RTSectSize, DirBlockSize                                     uint32
	_                                                                                uint32
}

// growth is struct xfs_growfs_data.
type growth struct {
	NewBlocks uint64
	IMaxPct   uint32
	_         uint32
}

func ioctl(f *os.File, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

// zvolName is the name of a zvol. What is none says ENOTTY.
func zvolName(f *os.File) (string, error) {
	var name [zfsNameBytes]byte
	if err := ioctl(f, zname, unsafe.Pointer(&name)); err != nil {
		return "", err
	}
	text, _, _ := bytes.Cut(name[:], []byte{0})
	return string(text), nil
}

// growExt4 makes a mounted file system as large as its device.
func growExt4(dir *os.File, deviceBytes int64) error {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &s); err != nil {
		return fmt.Errorf("read block size: %w", err)
	}
	blocks := uint64(deviceBytes) / uint64(s.Bsize)
	return ioctl(dir, resizeFS, unsafe.Pointer(&blocks))
}

// growXFS makes a mounted file system as large as its device. One that is already is left alone, which XFS would take for an error.
func growXFS(dir *os.File, deviceBytes int64) error {
	var g geometry
	if err := ioctl(dir, xfsGeometry, unsafe.Pointer(&g)); err != nil {
		return fmt.Errorf("read geometry: %w", err)
	}
	blocks := uint64(deviceBytes) / uint64(max(g.BlockSize, 1))
	if blocks <= g.DataBlocks {
		return nil
	}
	return ioctl(dir, xfsGrow, unsafe.Pointer(&growth{NewBlocks: blocks, IMaxPct: g.IMaxPct}))
}
