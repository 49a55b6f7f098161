// Package uki makes unified kernel images: the systemd boot stub with kernel,
// initial RAM disk and command line appended as sections of the PE file (UAPI
// Unified Kernel Image specification).
package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
)

// Section is one section to append.
type Section struct {
	// Name has eight bytes at most, for example ".linux".
	Name string
	Data []byte
}

// Places in the headers of a PE file (PE format specification, "Optional
// Header" for PE32+ and "Section Table"). Offsets are within their header.
const (
	dosHeaderPE       = 0x3c // place of the PE signature in the file
	peSignatureBytes  = 4
	fileHeaderBytes   = 20
	fileHeaderCount   = 2 // NumberOfSections
	optSizeOfInitData = 8
	optSizeOfImage    = 56
	optCheckSum       = 64
	sectionBytes      = 40

	// characteristics of the appended sections: initialised data, readable.
	sectionFlags = 0x40000040
)

// ErrNoRoom says that the stub's headers leave no room for more sections.
var ErrNoRoom = errors.New("no room in the headers of the stub")

// Build returns the stub with the sections appended, in their order.
func Build(stub []byte, sections []Section) ([]byte, error) {
	f, err := pe.NewFile(bytes.NewReader(stub))
	if err != nil {
		return nil, fmt.Errorf("read stub: %w", err)
	}
	opt, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		return nil, errors.New("read stub: not a 64-bit PE file")
	}
	if len(f.Sections) == 0 {
		return nil, errors.New("read stub: no sections")
	}
	if !isAlignment(opt.FileAlignment) || !isAlignment(opt.SectionAlignment) {
		return nil, fmt.Errorf("read stub: alignments of %d bytes in the file and %d in memory, expected powers of two up to %d",
			opt.FileAlignment, opt.SectionAlignment, maxAlignment)
	}
	fileHeader := int(binary.LittleEndian.Uint32(stub[dosHeaderPE:])) + peSignatureBytes
	optional := fileHeader + fileHeaderBytes
	table := optional + int(f.SizeOfOptionalHeader)
	end := table + (len(f.Sections)+len(sections))*sectionBytes
	if end > int(opt.SizeOfHeaders) || end > len(stub) {
		return nil, fmt.Errorf("append %d sections: %w", len(sections), ErrNoRoom)
	}
	b := builder{file: bytes.Clone(stub), fileAlign: opt.FileAlignment, memAlign: opt.SectionAlignment}
	for _, s := range f.Sections {
		b.nextAddress = max(b.nextAddress, align(s.VirtualAddress+s.VirtualSize, b.memAlign))
	}
	at := table + len(f.Sections)*sectionBytes
	for _, s := range sections {
		if err := b.add(s, at); err != nil {
			return nil, err
		}
		at += sectionBytes
	}
	le := binary.LittleEndian
	le.PutUint16(b.file[fileHeader+fileHeaderCount:], uint16(len(f.Sections)+len(sections)))
	le.PutUint32(b.file[optional+optSizeOfInitData:], opt.SizeOfInitializedData+b.added)
	le.PutUint32(b.file[optional+optSizeOfImage:], b.nextAddress)
	le.PutUint32(b.file[optional+optCheckSum:], 0)
	return b.file, nil
}

type builder struct {
	file                []byte
	fileAlign, memAlign uint32
	nextAddress         uint32 // where the next section goes in memory
	added               uint32 // bytes of initialised data that were added
}

// add appends one section and writes its header at the offset at.
func (b *builder) add(s Section, at int) error {
	if len(s.Name) > 8 || len(s.Data) == 0 || len(s.Data) > 1<<31 {
		return fmt.Errorf("append section %q of %d bytes: name or size is out of range", s.Name, len(s.Data))
	}
	b.padFile()
	offset, size := uint32(len(b.file)), uint32(len(s.Data))
	b.file = append(b.file, s.Data...)
	b.padFile()
	raw := uint32(len(b.file)) - offset
	h := b.file[at : at+sectionBytes]
	clear(h)
	copy(h, s.Name)
	le := binary.LittleEndian
	le.PutUint32(h[8:], size)           // VirtualSize
	le.PutUint32(h[12:], b.nextAddress) // VirtualAddress
	le.PutUint32(h[16:], raw)           // SizeOfRawData
	le.PutUint32(h[20:], offset)        // PointerToRawData
	le.PutUint32(h[36:], sectionFlags)
	b.nextAddress = align(b.nextAddress+size, b.memAlign)
	b.added += raw
	return nil
}

func (b *builder) padFile() {
	n := align(uint32(len(b.file)), b.fileAlign) - uint32(len(b.file))
	b.file = append(b.file, make([]byte, n)...)
}

// maxAlignment is the PE format's limit for files; firmware pages are smaller.
const maxAlignment = 64 << 10

func isAlignment(n uint32) bool { return n > 0 && n <= maxAlignment && n&(n-1) == 0 }

func align(n, to uint32) uint32 { return (n + to - 1) / to * to }
