package secureboot

import (
	"crypto/sha256"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Places in a PE32+ file (PE Format, "Optional Header").
const (
	signaturePlace       = 0x3c // where the file says that its headers are
	optionalAfter        = 4 + 20
	checksumInOptional   = 64
	directoriesOptional  = 112
	directoryBytes       = 8
	certificateDirectory = 4
	// tableAlign is what certificates begin at a multiple of.
	tableAlign = 8
	// maxTableBytes bounds what is read of certificates.
	maxTableBytes = 1 << 20
)

// ErrFormat says that a file is no EFI program, or not one of the plain form that is understood here.
var ErrFormat = errors.New("not an EFI program of the form that can be signed")

// Program is an EFI program: a bytes.Reader, or an io.SectionReader of a file.
type Program interface {
	io.ReaderAt
	// Size is that of the whole program, in bytes.
	Size() int64
}

// layout is where a program has the places that are not hashed.
type layout struct {
	checksum  int64 // of 4 bytes
	directory int64 // of 8 bytes: where the certificates are
	// table and size are where the certificates are. Without any, table is the end of the file.
	table, size int64
}

// readLayout reads the headers. It is an error if firmware would hash something else than the whole file but those places: that is so if there are gaps
// between the sections (Authenticode, "Calculating the PE Image Hash", steps 9 to 14).
func readLayout(r Program) (layout, error) {
	fileBytes := r.Size()
	f, err := pe.NewFile(r)
	if err != nil {
		return layout{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	opt, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || opt.NumberOfRvaAndSizes <= certificateDirectory {
		return layout{}, fmt.Errorf("%w: it is not of 64 bits, or has no place for certificates", ErrFormat)
	}
	var place [4]byte
	if _, err := r.ReadAt(place[:], signaturePlace); err != nil {
		return layout{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	optional := int64(binary.LittleEndian.Uint32(place[:])) + optionalAfter
	l := layout{
		checksum:  optional + checksumInOptional,
		directory: optional + directoriesOptional + certificateDirectory*directoryBytes,
		table:     fileBytes,
	}
	end := int64(opt.SizeOfHeaders)
	if l.directory+directoryBytes > end || end > fileBytes {
		return layout{}, fmt.Errorf("%w: its headers have %d bytes, of %d", ErrFormat, end, fileBytes)
	}
	sections := slices.Clone(f.Sections)
	slices.SortFunc(sections, func(a, b *pe.Section) int { return int(int64(a.Offset) - int64(b.Offset)) })
	for _, s := range sections {
		if s.Size == 0 {
			continue
		}
		if int64(s.Offset) != end {
			return layout{}, fmt.Errorf("%w: its section %s begins at %d, and what is before it ends at %d", ErrFormat, s.Name, s.Offset, end)
		}
		end += int64(s.Size)
	}
	if d := opt.DataDirectory[certificateDirectory]; d.Size != 0 {
		l.table, l.size = int64(d.VirtualAddress), int64(d.Size) // a place in the file, for this directory alone
	}
	if end > l.table || l.table+l.size != fileBytes || l.size > maxTableBytes || l.size > 0 && l.table%tableAlign != 0 {
		return layout{}, fmt.Errorf("%w: its sections end at %d, its certificates are %d bytes at %d, and it has %d", ErrFormat, end, l.size, l.table, fileBytes)
	}
	return l, nil
}

// hash is what a signature is over.
func (l layout) hash(r io.ReaderAt) ([sha256.Size]byte, error) {
	sum := sha256.New()
	at := int64(0)
	for _, skip := range []struct{ at, size int64 }{{l.checksum, 4}, {l.directory, directoryBytes}, {l.table, 0}} {
		if n, err := io.Copy(sum, io.NewSectionReader(r, at, skip.at-at)); err != nil || n != skip.at-at {
			return [sha256.Size]byte{}, fmt.Errorf("hash EFI program: %d bytes at %d, want %d: %w", n, at, skip.at-at, errors.Join(err, io.ErrUnexpectedEOF))
		}
		at = skip.at + skip.size
	}
	return [sha256.Size]byte(sum.Sum(nil)), nil
}

// HashProgram returns the hash by which firmware knows an EFI program, signed or not.
func HashProgram(r Program) ([sha256.Size]byte, error) {
	l, err := readLayout(r)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return l.hash(r)
}
