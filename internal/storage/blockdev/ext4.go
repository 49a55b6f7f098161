package blockdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The superblock lies 1024 bytes into the file system and is 1024 bytes long. Offsets and values are those of struct ext4_super_block in
// the kernel's fs/ext4/ext4.h.
const (
	superblockOffset = 1024
	superblockBytes  = 1024

	superMagic          = 0xEF53
	stateValid          = 0x0001 // EXT4_VALID_FS: unmounted cleanly
	stateErrors         = 0x0002 // EXT4_ERROR_FS: errors were found
	incompatRecover     = 0x0004 // EXT4_FEATURE_INCOMPAT_RECOVER: the journal is to be replayed
	roCompatChecksum    = 0x0400 // EXT4_FEATURE_RO_COMPAT_METADATA_CSUM
	checksumTypeCRC32C  = 1
	maxLogBlockSize     = 6 // EXT4_MAX_BLOCK_LOG_SIZE 16, less EXT4_MIN_BLOCK_LOG_SIZE 10
	superblockSumOffset = 0x3FC
)

// superblock is what the domain needs of an ext4 superblock.
type superblock struct {
	label string
	// clean says that the file system was unmounted, its journal needs no replay and no error was noted.
	clean bool
}

// errNoSuperblock says that the bytes are no ext4 superblock at all; other errors are of a damaged one.
var errNoSuperblock = errors.New("no ext4 superblock")

// parseSuperblock reads the 1024 bytes of a superblock and checks their checksum if they have one.
func parseSuperblock(b []byte) (superblock, error) {
	if len(b) < superblockBytes || binary.LittleEndian.Uint16(b[0x38:]) != superMagic {
		return superblock{}, errNoSuperblock
	}
	le32 := func(offset int) uint32 { return binary.LittleEndian.Uint32(b[offset:]) }
	if le32(0x64)&roCompatChecksum != 0 {
		if b[0x175] != checksumTypeCRC32C {
			return superblock{}, fmt.Errorf("parse ext4 superblock: checksum type %d is unknown", b[0x175])
		}
		// crc32c without the final inversion, see ext4_superblock_csum.
		if sum := ^crc32.Update(0, crc32.MakeTable(crc32.Castagnoli), b[:superblockSumOffset]); sum != le32(superblockSumOffset) {
			return superblock{}, errors.New("parse ext4 superblock: wrong checksum")
		}
	}
	if shift := le32(0x18); shift > maxLogBlockSize {
		return superblock{}, fmt.Errorf("parse ext4 superblock: block size 2^(10+%d) is out of range", shift)
	}
	incompat := le32(0x60)
	state := binary.LittleEndian.Uint16(b[0x3A:])
	label := b[0x78:0x88]
	for i, c := range label {
		if c == 0 {
			label = label[:i]
			break
		}
	}
	return superblock{
		label: string(label),
		clean: state&stateValid != 0 && state&stateErrors == 0 && incompat&incompatRecover == 0,
	}, nil
}
