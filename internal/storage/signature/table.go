package signature

import "encoding/binary"

// mark is one magic number and the places where it counts.
type mark struct {
	kind  Kind
	name  string
	magic string
	at    places
	// also, if not nil, has to hold too.
	also func(d *device, at int64) bool
}

// places gives offsets in bytes for a device of a size. Those that are not on it are passed over.
type places func(size int64) []int64

// at are places that do not depend on the size.
func at(offsets ...int64) places { return func(int64) []int64 { return offsets } }

// fromEnd are places before the end.
func fromEnd(offsets ...int64) places {
	return func(size int64) []int64 {
		out := make([]int64, len(offsets))
		for i, o := range offsets {
			out[i] = size - o
		}
		return out
	}
}

// either are the two orders of the bytes of a number that is stored as the machine has it.
func either(m mark, magic uint32) []mark {
	little, big := m, m
	little.magic = string(binary.LittleEndian.AppendUint32(nil, magic))
	big.magic = string(binary.BigEndian.AppendUint32(nil, magic))
	return []mark{little, big}
}

// table is every magic number that is looked for. Paths are of the Linux kernel 6.12 where nothing else is said.
func table() []mark {
	var out []mark
	for _, part := range [][]mark{partitionTables(), fileSystems(), foreignFileSystems(), encryption(), volumes(), arrays(), swaps()} {
		out = append(out, part...)
	}
	return out
}

func partitionTables() []mark {
	return []mark{
		// UEFI 2.10, 5.3.2: the header is in block 1, its copy in the last one; blocks of 512 to 4096 bytes are in use.
		{PartitionTable, "GPT", "EFI PART", at(512, 1024, 2048, 4096), nil},
		{PartitionTable, "GPT", "EFI PART", fromEnd(512, 1024, 2048, 4096), nil},
		// UEFI 2.10, 5.2.1: the last two bytes of block 0. A boot sector without partitions has them too.
		{PartitionTable, "MBR", "\x55\xAA", at(510), hasPartitions},
		// block/partitions/mac.h: MAC_DRIVER_MAGIC in block 0, MAC_PARTITION_MAGIC in block 1.
		{PartitionTable, "Apple partition map", "PM", at(512), func(d *device, _ int64) bool { return d.holds(0, "ER") }},
		// block/partitions/sgi.c, SGI_LABEL_MAGIC; block/partitions/sun.c, SUN_LABEL_MAGIC; block/partitions/msdos.c, BSD_DISKMAGIC.
		{PartitionTable, "SGI disk label", "\x0B\xE5\xA9\x41", at(0), nil},
		{PartitionTable, "Sun disk label", "\xDA\xBE", at(508), nil},
		{PartitionTable, "BSD disk label", "\x57\x45\x56\x82", at(512), nil},
		// block/partitions/ldm.h: MAGIC_PRIVHEAD, in block 6 (OFF_PRIV1).
		{PartitionTable, "LDM (dynamic disk)", "PRIVHEAD", at(6 * 512), nil},
	}
}

// hasPartitions tells a partition table from a boot sector: each of four entries of 16 bytes begins with 0 or 80h, and some has a type.
func hasPartitions(d *device, _ int64) bool {
	sector := d.bytes(0, 512)
	some := false
	for entry := 446; entry < 510; entry += 16 {
		if sector[entry]&0x7F != 0 {
			return false
		}
		some = some || sector[entry+4] != 0
	}
	return some
}

func fileSystems() []mark {
	return []mark{
		// fs/ext4/ext4.h: s_magic at 38h of the superblock, which lies 1024 bytes into the file system. ext2 and ext3 have the same.
		{FileSystem, "ext2, ext3 or ext4", "\x53\xEF", at(1024 + 0x38), nil},
		// fs/xfs/libxfs/xfs_format.h, XFS_SB_MAGIC.
		{FileSystem, "XFS", "XFSB", at(0), nil},
		// include/uapi/linux/btrfs_tree.h, BTRFS_MAGIC; the superblock is 64 KiB in, and copied to 64 MiB.
		{FileSystem, "Btrfs", "_BHRfS_M", at(64<<10+64, 64<<20+64), nil},
		// fs/bcachefs/bcachefs_format.h, BCHFS_MAGIC, in the superblock of sector 8 behind a checksum and versions.
		{FileSystem, "bcachefs", "\xC6\x85\x73\xF6\x66\xCE\x90\xA9\xD9\x6A\x60\xCF\x80\x3D\xF7\xEF", at(4096 + 24), nil},
		// include/uapi/linux/magic.h: F2FS_SUPER_MAGIC, EROFS_SUPER_MAGIC_V1, SQUASHFS_MAGIC.
		{FileSystem, "F2FS", "\x10\x20\xF5\xF2", at(1024), nil},
		{FileSystem, "EROFS", "\xE2\xE1\xF5\xE0", at(1024), nil},
		{FileSystem, "SquashFS", "hsqs", at(0), nil},
		// include/uapi/linux/magic.h, REISERFS_SUPER_MAGIC_STRING and its successors, at 52 of the superblock.
		{FileSystem, "ReiserFS", "ReIsEr", at(64<<10+52, 8<<10+52), nil},
		// fs/jfs/jfs_superblock.h, JFS_MAGIC; SUPER1_OFF in fs/jfs/jfs_filsys.h.
		{FileSystem, "JFS", "JFS1", at(32 << 10), nil},
		// include/uapi/linux/nilfs2_ondisk.h: s_magic behind two revisions; include/uapi/linux/magic.h, NILFS_SUPER_MAGIC.
		{FileSystem, "NILFS2", "\x34\x34", at(1024 + 6), nil},
		// include/uapi/linux/gfs2_ondisk.h: GFS2_MAGIC, GFS2_SB_ADDR.
		{FileSystem, "GFS2", "\x01\x16\x19\x70", at(64 << 10), nil},
		// fs/ocfs2/ocfs2_fs.h: OCFS2_SUPER_BLOCK_SIGNATURE in block 2, for its sizes of blocks.
		{FileSystem, "OCFS2", "OCFSV2", at(1024, 2048, 4096, 8192), nil},
	}
}

func foreignFileSystems() []mark {
	return append(append([]mark{
		// "FAT: General Overview of On-Disk Format" 1.03: BS_FilSysType, which is no proof there, but everybody writes it.
		{FileSystem, "FAT", "FAT32   ", at(82), nil},
		{FileSystem, "FAT", "FAT16   ", at(54), nil},
		{FileSystem, "FAT", "FAT12   ", at(54), nil},
		{FileSystem, "FAT", "FAT     ", at(54), nil},
		// exFAT file system specification, 3.1.2 (FileSystemName); fs/ntfs3/ntfs.h, NTFS_BOOT.
		{FileSystem, "exFAT", "EXFAT   ", at(3), nil},
		{FileSystem, "NTFS", "NTFS    ", at(3), nil},
		// libyal's libfsrefs, "Resilient File System (ReFS)", 2: the volume header.
		{FileSystem, "ReFS", "ReFS\x00\x00\x00\x00", at(3), nil},
		// Apple File System Reference, nx_superblock_t: NX_MAGIC behind an object's header of 32 bytes.
		{FileSystem, "APFS", "NXSB", at(32), nil},
		// fs/hfsplus/hfsplus_raw.h: HFSPLUS_VOLHEAD_SIG, HFSPLUS_SUPER_MAGIC of HFSX; fs/hfs/hfs.h, HFS_SUPER_MAGIC.
		{FileSystem, "HFS+", "H+", at(1024), nil},
		{FileSystem, "HFS+", "HX", at(1024), nil},
		{FileSystem, "HFS", "BD", at(1024), nil},
		// ECMA-119, 8.1.2: the standard identifier, in the 17th sector of 2048 bytes; ECMA-167, 3/9.1, in it and those that follow.
		{FileSystem, "ISO 9660", "CD001", at(32<<10 + 1), nil},
		{FileSystem, "UDF", "BEA01", at(32<<10+1, 34<<10+1, 36<<10+1), nil},
		{FileSystem, "UDF", "NSR0", at(32<<10+1, 34<<10+1, 36<<10+1, 38<<10+1, 40<<10+1), nil},
		// vmfs-tools, libvmfs/vmfs_volume.h: VMFS_VOLINFO_MAGIC at VMFS_VOLINFO_BASE.
		{FileSystem, "VMFS", "\x0D\xD0\x01\xC0", at(1 << 20), nil},
	},
		// fs/ufs/ufs_fs.h: fs_magic at 1372 of the superblock, UFS_MAGIC and UFS2_MAGIC; the places are UFS_SBLOCK and the one of UFS2.
		either(mark{kind: FileSystem, name: "UFS", at: at(8<<10 + 1372)}, 0x00011954)...),
		either(mark{kind: FileSystem, name: "UFS", at: at(64<<10 + 1372)}, 0x19540119)...)
}

func encryption() []mark {
	return []mark{
		// LUKS1 On-Disk Format 1.2.3, 6.1, and LUKS2 On-Disk Format 1.1.3, 3.1: the magic of the header.
		{Encryption, "LUKS", "LUKS\xBA\xBE", at(0), nil},
		// The same, 3.1 and table 1: the second header of LUKS2, for each size of the first.
		{Encryption, "LUKS", "SKUL\xBA\xBE", at(0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000), nil},
		// libyal's libbde, "BitLocker Drive Encryption (BDE) format", 2: the volume header.
		{Encryption, "BitLocker", "-FVE-FS-", at(3), nil},
		// drivers/md/dm-integrity.c, SB_MAGIC; cryptsetup, docs/on-disk-format-verity.
		{Encryption, "dm-integrity", "integrt\x00", at(0), nil},
		{Encryption, "dm-verity", "verity\x00\x00", at(0), nil},
	}
}

func volumes() []mark {
	return []mark{
		// LVM2, lib/label/label.h: LABEL_ID, in one of the first four sectors (LABEL_SCAN_SECTORS).
		{Volume, "LVM", "LABELONE", at(0, 512, 1024, 1536), nil},
		// OpenZFS, include/sys/uberblock_impl.h: UBERBLOCK_MAGIC, in either order of bytes; where is said at zfsUberblocks.
		{Volume, "ZFS", "\x0C\xB1\xBA\x00\x00\x00\x00\x00", zfsUberblocks, nil},
		{Volume, "ZFS", "\x00\x00\x00\x00\x00\xBA\xB1\x0C", zfsUberblocks, nil},
		// drivers/md/bcache/bcache_ondisk.h: the magic of struct cache_sb_disk, behind a checksum, its place and a version; SB_OFFSET.
		{Volume, "bcache", "\xC6\x85\x73\xF6\x4E\x1A\x45\xCA\x82\x65\xF5\x7F\x48\xBA\x6D\x81", at(4096 + 24), nil},
		// Ceph, src/os/bluestore/BlueStore.cc: what a label begins with.
		{Volume, "Ceph BlueStore", "bluestore block device\n", at(0), nil},
		// util-linux, libblkid/src/superblocks: stratis.c, vdo.c, oracle.c.
		{Volume, "Stratis", "!Stra0tis\x86\xFF\x02^\x41rh", at(0x204, 0x1204), nil},
		{Volume, "VDO", "dmvdo001", at(0), nil},
		{Volume, "Oracle ASM", "ORCLDISK", at(32), nil},
	}
}

// zfsUberblocks are where a pool's uberblocks may be: four labels of 256 KiB, two at the beginning and two at the end of what is a multiple of
// 256 KiB, and in each the second half, in slots of 1 KiB or a multiple (OpenZFS, module/zfs/vdev_label.c, VDEV_UBERBLOCK_SHIFT).
func zfsUberblocks(size int64) []int64 {
	const label = 256 << 10
	end := size / label * label
	var out []int64
	for _, begin := range []int64{0, label, end - 2*label, end - label} {
		for slot := int64(label / 2); slot < label; slot += 1024 {
			out = append(out, begin+slot)
		}
	}
	return out
}

func arrays() []mark {
	// include/uapi/linux/raid/md_p.h: MD_SB_MAGIC. The superblock of version 1.0 lies 8 KiB before the end, on a multiple of 4 KiB; that of 1.1 at the
	// beginning, of 1.2 after 4 KiB (drivers/md/md.c, super_1_load). That of 0.90 is in the last whole 64 KiB (MD_NEW_SIZE_SECTORS).
	md := func(size int64) []int64 {
		return []int64{0, 4096, (size/512 - 16) &^ 7 * 512, size&^(64<<10-1) - 64<<10}
	}
	return append(either(mark{kind: RAID, name: "Linux MD", at: md}, 0xA92B4EFC),
		// mdadm, super-intel.c: MPB_SIGNATURE, in the last sector but one.
		mark{RAID, "Intel Matrix RAID", "Intel Raid ISM Cfg Sig. ", fromEnd(1024, 8192), nil},
		// SNIA Common RAID Disk Data Format 2.0, 4.1.2: the anchor header is in the last sector.
		mark{RAID, "DDF", "\xDE\x11\xDE\x11", fromEnd(512, 4096), nil})
}

// swaps are at the end of the first page, whose size is the architecture's (include/linux/swap.h, union swap_header; mm/swapfile.c).
func swaps() []mark {
	ends := at(4096-10, 8192-10, 16<<10-10, 32<<10-10, 64<<10-10)
	return []mark{
		{Swap, "swap space", "SWAPSPACE2", ends, nil},
		{Swap, "swap space", "SWAP-SPACE", ends, nil},
		// kernel/power/swap.c, HIBERNATE_SIG.
		{Swap, "a hibernated system", "S1SUSPEND\x00", ends, nil},
	}
}
