package verity

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// BlockBytes is the only block size this system makes and opens.
const BlockBytes = 4096

// Layout of the superblock, which fills the start of the first hash block
// (cryptsetup, docs/on-disk-format-verity: struct verity_sb, 512 bytes, little
// endian).
const (
	offVersion    = 8
	offHashType   = 12
	offUUID       = 16
	offAlgorithm  = 32
	offDataBlock  = 64
	offHashBlock  = 68
	offDataBlocks = 72
	offSaltSize   = 80
	offPadding1   = 82
	offSalt       = 88
	maxSaltBytes  = 256
)

// Superblock is what a verity partition says of itself. Nothing in it is
// trusted: a wrong value leads to another root hash, and so to a refusal.
type Superblock struct {
	UUID       [16]byte
	DataBlocks uint64
	Salt       []byte
}

// ParseSuperblock reads the first hash block. It takes exactly what the image
// builder writes (version 1, SHA-256, blocks of 4096 bytes, zero in all that
// is unused), so that no byte of the block, but its UUID, may change unnoticed.
func ParseSuperblock(block []byte) (Superblock, error) {
	var s Superblock
	if len(block) != BlockBytes {
		return s, fmt.Errorf("verity superblock: block of %d bytes, want %d", len(block), BlockBytes)
	}
	le := binary.LittleEndian
	algorithm := string(bytes.TrimRight(block[offAlgorithm:offDataBlock], "\x00"))
	saltSize := int(le.Uint16(block[offSaltSize:]))
	switch {
	case string(block[:offVersion]) != "verity\x00\x00":
		return s, fmt.Errorf("verity superblock: signature is %q", block[:offVersion])
	case le.Uint32(block[offVersion:]) != 1:
		return s, fmt.Errorf("verity superblock: version is %d, want 1", le.Uint32(block[offVersion:]))
	case le.Uint32(block[offHashType:]) != 1:
		return s, fmt.Errorf("verity superblock: hash type is %d, want 1", le.Uint32(block[offHashType:]))
	case algorithm != "sha256":
		return s, fmt.Errorf("verity superblock: algorithm is %q, want sha256", algorithm)
	case le.Uint32(block[offDataBlock:]) != BlockBytes || le.Uint32(block[offHashBlock:]) != BlockBytes:
		return s, fmt.Errorf("verity superblock: block sizes are %d and %d, want %d",
			le.Uint32(block[offDataBlock:]), le.Uint32(block[offHashBlock:]), BlockBytes)
	case saltSize > maxSaltBytes:
		return s, fmt.Errorf("verity superblock: salt of %d bytes, want at most %d", saltSize, maxSaltBytes)
	case !zero(block[offPadding1:offSalt]), !zero(block[offSalt+saltSize:]):
		return s, fmt.Errorf("verity superblock: bytes that are not used are not zero")
	}
	s.DataBlocks = le.Uint64(block[offDataBlocks:])
	if s.DataBlocks == 0 || s.DataBlocks > 1<<40 {
		return s, fmt.Errorf("verity superblock: %d data blocks", s.DataBlocks)
	}
	copy(s.UUID[:], block[offUUID:])
	s.Salt = bytes.Clone(block[offSalt : offSalt+saltSize])
	return s, nil
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
