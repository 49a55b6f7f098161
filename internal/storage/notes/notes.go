package notes

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Place is where a note lies, in bytes from the beginning of the disk.
type Place int64

// The notes that there are.
const (
	// Installation says how far an installation of the node on this disk is.
	Installation Place = 512 << 10
	// Reset says which volumes are to be wiped.
	Reset Place = 528 << 10
)

// Begin and Bytes are the part of a disk that belongs to notes, and NoteBytes is how much of it one takes, from its Place on.
const (
	Begin     = 512 << 10
	Bytes     = 64 << 10
	NoteBytes = 2 * blockBytes
)

// A note: magic, sequence, length, text, zeros, sum. The two places are a block of 4096 bytes each, so that a disk with such blocks takes them, and a
// note fills the first 512 of it.
const (
	magic       = "cyvive\x00\x01"
	blockBytes  = 4096
	sectorBytes = 512
	textOffset  = len(magic) + 8 + 2
	// MaxBytes is the longest text of a note.
	MaxBytes = sectorBytes - textOffset - sha256.Size
)

// ErrDamaged says that there was a note which cannot be read any more.
var ErrDamaged = errors.New("it is damaged")

// Device is the disk. WriteAt is on it after Sync only. *os.File implements it.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// slot is what one of the two places holds.
type slot struct {
	at       int64
	sequence uint64
	text     []byte
	// ours says that it begins as a note does, valid that it is one.
	ours, valid bool
}

// read returns the two places, the newer one first.
func read(r io.ReaderAt, p Place) (newer, older slot, err error) {
	var both [2]slot
	for i := range both {
		b := make([]byte, sectorBytes)
		at := int64(p) + int64(i)*blockBytes
		if n, err := r.ReadAt(b, at); n < len(b) {
			return slot{}, slot{}, fmt.Errorf("read note at byte %d: %w", at, err)
		}
		both[i] = parse(b)
		both[i].at = at
	}
	if both[1].valid && (!both[0].valid || both[1].sequence > both[0].sequence) {
		return both[1], both[0], nil
	}
	return both[0], both[1], nil
}

// parse reads a sector.
func parse(b []byte) slot {
	s := slot{ours: len(b) >= sectorBytes && bytes.HasPrefix(b, []byte(magic))}
	if !s.ours {
		return s
	}
	length := int(binary.LittleEndian.Uint16(b[len(magic)+8:]))
	sum := sha256.Sum256(b[:sectorBytes-sha256.Size])
	if length > MaxBytes || !bytes.Equal(sum[:], b[sectorBytes-sha256.Size:sectorBytes]) {
		return s
	}
	s.valid, s.sequence, s.text = true, binary.LittleEndian.Uint64(b[len(magic):]), bytes.Clone(b[textOffset:textOffset+length])
	return s
}

// Read returns the text of a note, nil if there is none. The error is ErrDamaged if there was one, or of reading.
func Read(r io.ReaderAt, p Place) ([]byte, error) {
	newer, older, err := read(r, p)
	switch {
	case err != nil:
		return nil, err
	case newer.valid:
		return newer.text, nil
	case newer.ours || older.ours:
		return nil, fmt.Errorf("read note at byte %d: %w", p, ErrDamaged)
	}
	return nil, nil
}

// Write puts a text in place of the one before. It is on the disk when Write returns nil.
func Write(d Device, p Place, text []byte) error {
	if len(text) > MaxBytes || len(text) == 0 {
		return fmt.Errorf("write note: %d bytes, from 1 to %d fit", len(text), MaxBytes)
	}
	newer, older, err := read(d, p)
	if err != nil {
		return err
	}
	b := make([]byte, blockBytes)
	copy(b, magic)
	binary.LittleEndian.PutUint64(b[len(magic):], newer.sequence+1)
	binary.LittleEndian.PutUint16(b[len(magic)+8:], uint16(len(text)))
	copy(b[textOffset:], text)
	sum := sha256.Sum256(b[:sectorBytes-sha256.Size])
	copy(b[sectorBytes-sha256.Size:], sum[:])
	return put(d, older.at, b)
}

// Clear removes a note. The older one goes first, so that it does not count again.
func Clear(d Device, p Place) error {
	newer, older, err := read(d, p)
	if err != nil {
		return err
	}
	if err := put(d, older.at, make([]byte, blockBytes)); err != nil {
		return err
	}
	return put(d, newer.at, make([]byte, blockBytes))
}

func put(d Device, at int64, b []byte) error {
	if _, err := d.WriteAt(b, at); err != nil {
		return fmt.Errorf("write note at byte %d: %w", at, err)
	}
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync note at byte %d: %w", at, err)
	}
	return nil
}
