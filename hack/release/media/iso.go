package media

import (
	"encoding/binary"
	"os"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/cyvive/cyvive/hack/release/diskimage"
)

// The volume is a CD and a disk at once, so that the same file can be burnt, attached to a machine as a CD, or copied to a USB stick:
//
//	bytes 0       protective MBR and partition table (GPT, sectors of 512): in the 32 KiB that ISO 9660 leaves to the system
//	      32 KiB  ISO 9660: descriptors, one folder, the boot catalog of El Torito (blocks of 2048)
//	      1 MiB   the boot partition, FAT32 with the program: what both the catalog and the partition table lead to
//	      end     the copy of the partition table
//
// The library that writes ISO 9660 elsewhere puts the time of day into it, so this is written here; it is a few blocks.

// blockBytes is that of ISO 9660 (ECMA-119, 6.1.2 and 6.2.2).
const blockBytes = 2048

// Places in the volume, in blocks.
const (
	primaryBlock    = 16 // ECMA-119, 6.2.1
	bootRecordBlock = 17 // El Torito, "Boot Record Volume Descriptor"
	terminatorBlock = 18
	littlePathBlock = 19
	bigPathBlock    = 20
	folderBlock     = 21
	catalogBlock    = 22
	espBlock        = edgeBytes / blockBytes
)

const (
	volumeName = "CYVIVE"
	// pathBytes is the length of a path table with the root folder alone.
	pathBytes = 10
	// Kinds of descriptors (ECMA-119, 8.1.1), and the flag of a folder (9.1.6).
	bootRecord, primary, terminator = 0, 1, 255
	folderFlag                      = 2
	// platformEFI and bootable are in the boot catalog (UEFI 2.10, 13.3.2.1; El Torito, "Initial/Default Entry").
	platformEFI = 0xEF
	bootable    = 0x88
)

// smallestFAT32Bytes is a partition that as FAT32 has more clusters, of 512 bytes, than FAT16 can have. With fewer than 65525, firmware takes it for damaged (edk2,
// FatPkg/EnhancedFatDxe/Init.c, FatOpenDevice). Linux does not (fs/fat/inode.c, fat_fill_super), and the disk in memory is for Linux alone.
const smallestFAT32Bytes = 34 * mib

// isoVolume is the volume.
type isoVolume struct {
	boot diskimage.Boot
	hash [32]byte
}

// write makes it in an empty file.
func (v isoVolume) write(f *os.File) error {
	esp := part{"medium", gpt.EFISystemPartition, derived("medium", v.hash), max(bootBytes(v.boot), smallestFAT32Bytes), v.boot.Write}
	parts := []part{esp}
	total, err := writeParts(f, derived("volume", v.hash), parts)
	if err != nil {
		return err
	}
	at := v.boot.Written.UTC()
	for block, data := range map[int64][]byte{
		primaryBlock:    primaryDescriptor(uint32(total/blockBytes), at),
		bootRecordBlock: bootRecordDescriptor(),
		terminatorBlock: descriptor(terminator),
		littlePathBlock: pathTable(binary.LittleEndian),
		bigPathBlock:    pathTable(binary.BigEndian),
		folderBlock:     folder(uint32(parts[0].size), at),
		catalogBlock:    catalog(),
	} {
		if _, err := f.WriteAt(data, block*blockBytes); err != nil {
			return err
		}
	}
	return nil
}

// descriptor begins a volume descriptor (ECMA-119, 8.1).
func descriptor(kind byte) []byte {
	b := make([]byte, blockBytes)
	b[0], b[6] = kind, 1
	copy(b[1:], "CD001")
	return b
}

// primaryDescriptor describes the volume (ECMA-119, 8.4).
func primaryDescriptor(blocks uint32, at time.Time) []byte {
	b := descriptor(primary)
	spaces(b[8:72])
	copy(b[40:], volumeName)
	both32(b[80:], blocks)
	both16(b[120:], 1) // volumes in the set
	both16(b[124:], 1) // this one's number
	both16(b[128:], blockBytes)
	both32(b[132:], pathBytes)
	binary.LittleEndian.PutUint32(b[140:], littlePathBlock)
	binary.BigEndian.PutUint32(b[148:], bigPathBlock)
	copy(b[156:190], record("\x00", folderBlock, blockBytes, folderFlag, at))
	spaces(b[190:813]) // who made it, and files that say so: nobody is named
	stamp := at.Format("20060102150405") + "00\x00"
	copy(b[813:], stamp) // made, and changed
	copy(b[830:], stamp)
	const never = "0000000000000000\x00"
	copy(b[847:], never) // not valid any more, and valid
	copy(b[864:], never)
	b[881] = 1
	return b
}

// bootRecordDescriptor leads to the boot catalog.
func bootRecordDescriptor() []byte {
	b := descriptor(bootRecord)
	copy(b[7:], "EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(b[71:], catalogBlock)
	return b
}

// catalog has one entry, for EFI. It says no length: a boot image may have more than the 32 MiB that the field has room for, and with a length of 0 firmware takes what
// lies from its start to the end of the volume (UEFI 2.10, 13.3.2.1).
func catalog() []byte {
	b := make([]byte, blockBytes)
	b[0], b[1] = 1, platformEFI
	copy(b[4:28], volumeName)
	b[30], b[31] = 0x55, 0xAA
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	binary.LittleEndian.PutUint16(b[28:], -sum)
	entry := b[32:64]
	entry[0] = bootable
	binary.LittleEndian.PutUint32(entry[8:], espBlock)
	return b
}

// pathTable is that of the root folder alone (ECMA-119, 9.4).
func pathTable(order binary.ByteOrder) []byte {
	b := make([]byte, pathBytes)
	b[0] = 1
	order.PutUint32(b[2:], folderBlock)
	order.PutUint16(b[6:], 1)
	return b
}

// folder is the root folder, in which both parts of the volume have a name, so that somebody who looks sees what it is.
func folder(espBytes uint32, at time.Time) []byte {
	b := make([]byte, 0, blockBytes)
	b = append(b, record("\x00", folderBlock, blockBytes, folderFlag, at)...)
	b = append(b, record("\x01", folderBlock, blockBytes, folderFlag, at)...)
	b = append(b, record("BOOT.CAT;1", catalogBlock, blockBytes, 0, at)...)
	b = append(b, record("EFI.IMG;1", espBlock, espBytes, 0, at)...)
	return b[:blockBytes]
}

// record is a file or folder in a folder (ECMA-119, 9.1). Its length is even.
func record(name string, block, sizeBytes uint32, flags byte, at time.Time) []byte {
	b := make([]byte, (33+len(name)+1)/2*2)
	b[0], b[25], b[32] = byte(len(b)), flags, byte(len(name))
	both32(b[2:], block)
	both32(b[10:], sizeBytes)
	copy(b[18:], []byte{byte(at.Year() - 1900), byte(at.Month()), byte(at.Day()), byte(at.Hour()), byte(at.Minute()), byte(at.Second()), 0})
	both16(b[28:], 1)
	copy(b[33:], name)
	return b
}

// both32 and both16 are numbers in both orders of bytes (ECMA-119, 7.3.3 and 7.2.3).
func both32(b []byte, n uint32) {
	binary.LittleEndian.PutUint32(b, n)
	binary.BigEndian.PutUint32(b[4:], n)
}

func both16(b []byte, n uint16) {
	binary.LittleEndian.PutUint16(b, n)
	binary.BigEndian.PutUint16(b[2:], n)
}

// spaces fills a field of text.
func spaces(b []byte) { copy(b, strings.Repeat(" ", len(b))) }
