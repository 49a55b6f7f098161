package luks

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The binary header, all numbers big-endian: LUKS2 On-Disk Format Specification 1.1.4, chapter 2.1.
const (
	binaryBytes   = 4096
	versionOffset = 6
	sizeOffset    = 8
	seqOffset     = 16
	labelOffset   = 24
	labelBytes    = 48
	sumKindOffset = 72
	sumKindBytes  = 32
	uuidOffset    = 168
	uuidBytes     = 40
	placeOffset   = 256
	sumOffset     = 448
	sumBytes      = 64
	sumKind       = "sha256"

	// A header, binary part and JSON, has between 16 KiB and 4 MiB, a power of two.
	minHeaderBytes = 16 << 10
	maxHeaderBytes = 4 << 20
)

// The magic numbers of the two copies.
const (
	primaryMagic   = "LUKS\xba\xbe"
	secondaryMagic = "SKUL\xba\xbe"
)

var (
	// ErrNone says that there is no LUKS header, nor what is left of one.
	ErrNone = errors.New("no LUKS header")
	// ErrDamaged says that there was a LUKS2 header and neither of its copies can be used: the volume is lost without a backup of it.
	ErrDamaged = errors.New("the LUKS header is damaged in both copies")
)

// Header is what a LUKS2 header says.
type Header struct {
	UUID, Label string
	// OffsetBytes is where the encrypted data begins; SectorBytes is the unit in which it is encrypted.
	OffsetBytes uint64
	SectorBytes uint64
	// Cipher is in the form of dm-crypt, such as aes-xts-plain64.
	Cipher   string
	Keyslots []Keyslot
	Tokens   []Token
	// Repair says that one of the two copies cannot be used. The next program that changes the header makes it anew.
	Repair bool
	// sequence grows with every change.
	sequence uint64
}

// Keyslot is one key that opens the volume.
type Keyslot struct {
	Number int
	// KDF is pbkdf2 or argon2id.
	KDF string
}

// ReadHeader reads the header of a volume from its device or a backup of the header. The error is ErrNone, ErrDamaged, or one that says what of
// the header is not understood (LUKS1, for one).
func ReadHeader(r io.ReaderAt) (Header, error) {
	first, errFirst := readCopy(r, 0, primaryMagic)
	if errFirst == nil {
		second, err := readCopy(r, int64(first.bytes), secondaryMagic)
		h := first.header
		if err == nil && second.header.sequence > h.sequence {
			h = second.header // the power failed between the two
		}
		h.Repair = err != nil || second.header.sequence != first.header.sequence
		return h, nil
	}
	// The second copy lies right behind the first, whose size is not known now: 2.2 of the specification lists the places.
	for at := int64(minHeaderBytes); at <= maxHeaderBytes; at *= 2 {
		second, err := readCopy(r, at, secondaryMagic)
		if err == nil {
			second.header.Repair = true
			return second.header, nil
		}
		if errors.Is(errFirst, ErrNone) && !errors.Is(err, ErrNone) {
			errFirst = err
		}
	}
	return Header{}, fmt.Errorf("read LUKS header: %w", errFirst)
}

// copyOf is one of the two copies of a header.
type copyOf struct {
	header Header
	bytes  uint64
}

func readCopy(r io.ReaderAt, at int64, magic string) (copyOf, error) {
	head := make([]byte, binaryBytes)
	if _, err := r.ReadAt(head, at); err != nil && !errors.Is(err, io.EOF) {
		return copyOf{}, err
	}
	if !bytes.HasPrefix(head, []byte(magic)) {
		return copyOf{}, ErrNone
	}
	if v := binary.BigEndian.Uint16(head[versionOffset:]); v != 2 {
		return copyOf{}, fmt.Errorf("version %d, expected 2", v)
	}
	size := binary.BigEndian.Uint64(head[sizeOffset:])
	if size < minHeaderBytes || size > maxHeaderBytes || size&(size-1) != 0 || binary.BigEndian.Uint64(head[placeOffset:]) != uint64(at) {
		return copyOf{}, ErrDamaged
	}
	if kind := text(head[sumKindOffset : sumKindOffset+sumKindBytes]); kind != sumKind {
		return copyOf{}, fmt.Errorf("checksum of the kind %q, expected %s", kind, sumKind)
	}
	whole := make([]byte, size)
	if _, err := r.ReadAt(whole, at); errors.Is(err, io.EOF) {
		return copyOf{}, ErrDamaged
	} else if err != nil {
		return copyOf{}, err
	}
	stored := bytes.Clone(whole[sumOffset : sumOffset+sha256.Size])
	clear(whole[sumOffset : sumOffset+sumBytes])
	if sum := sha256.Sum256(whole); !bytes.Equal(sum[:], stored) {
		return copyOf{}, ErrDamaged
	}
	h := Header{
		UUID: text(head[uuidOffset : uuidOffset+uuidBytes]), Label: text(head[labelOffset : labelOffset+labelBytes]),
		sequence: binary.BigEndian.Uint64(head[seqOffset:]),
	}
	if err := h.parseMetadata(whole[binaryBytes:]); err != nil {
		return copyOf{}, fmt.Errorf("metadata: %w", err)
	}
	return copyOf{header: h, bytes: size}, nil
}

// text is what stands before the first zero byte.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
