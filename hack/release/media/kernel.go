package media

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Places in a PE file (PE Format, "File Headers", "Optional Header" of PE32+, "Section Table"), each within its header.
const (
	headerPlace       = 0x3c
	afterSignature    = 4 + 20 // the optional header, from the signature on
	initialisedPlace  = 8
	imageBytesPlace   = 56
	checksumPlace     = 64
	certificates      = 4 // the directory of signatures
	sectionBytes      = 40
	virtualBytesPlace = 8
	addressPlace      = 12
	rawBytesPlace     = 16
	offsetPlace       = 20
	// maxAlignment is the PE format's limit for files; pages of firmware are smaller.
	maxAlignment = 64 << 10
	// maxImageBytes keeps all sums below what the headers can say.
	maxImageBytes = 1 << 30
)

// ErrKernel says that a kernel image is not of the form that the builder makes (images/internal/uki).
var ErrKernel = errors.New("the kernel image is not as the builder makes it")

// initrd is the section of the initramfs (UAPI Unified Kernel Image specification).
const initrd = ".initrd"

// withInitramfs returns a kernel image with another initramfs. The sections behind that move, in the file and in memory: nothing in the image refers to them but its
// headers.
func withInitramfs(image, initramfs []byte) ([]byte, error) {
	f, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKernel, err)
	}
	opt, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		return nil, fmt.Errorf("%w: it is not of 64 bits", ErrKernel)
	}
	if d := opt.DataDirectory[certificates]; d.Size != 0 || d.VirtualAddress != 0 {
		return nil, fmt.Errorf("%w: it is signed already", ErrKernel)
	}
	if !isAlignment(opt.FileAlignment) || !isAlignment(opt.SectionAlignment) {
		return nil, fmt.Errorf("%w: it has alignments of %d bytes in the file and %d in memory", ErrKernel, opt.FileAlignment, opt.SectionAlignment)
	}
	first := slices.IndexFunc(f.Sections, func(s *pe.Section) bool { return s.Name == initrd })
	if first < 0 {
		return nil, fmt.Errorf("%w: it has no section %s", ErrKernel, initrd)
	}
	if err := inOrder(f.Sections, first); err != nil {
		return nil, err
	}
	if n := len(image) + len(initramfs); n > maxImageBytes {
		return nil, fmt.Errorf("%w: with the root it has %d bytes, and %d are the most", ErrKernel, n, maxImageBytes)
	}
	optional := int(binary.LittleEndian.Uint32(image[headerPlace:])) + afterSignature
	table := optional + int(f.SizeOfOptionalHeader)
	m := mover{file: bytes.Clone(image[:f.Sections[first].Offset]), address: f.Sections[first].VirtualAddress, opt: opt}
	for i, s := range f.Sections[first:] {
		data := initramfs
		if i > 0 {
			if data, err = s.Data(); err != nil {
				return nil, fmt.Errorf("%w: section %s: %w", ErrKernel, s.Name, err)
			}
			data = data[:s.VirtualSize]
		}
		m.add(table+(first+i)*sectionBytes, data, s.Size)
	}
	le := binary.LittleEndian
	le.PutUint32(m.file[optional+initialisedPlace:], opt.SizeOfInitializedData+m.grown)
	le.PutUint32(m.file[optional+imageBytesPlace:], m.address)
	le.PutUint32(m.file[optional+checksumPlace:], 0) // no firmware checks it for a program
	return m.file, nil
}

// inOrder says whether the sections from one on lie behind those before it, each behind the other, in the file and in memory, and the file has all of them.
func inOrder(sections []*pe.Section, first int) error {
	start := sections[first]
	for _, s := range sections[:first] {
		if s.Offset+s.Size > start.Offset || s.VirtualAddress+s.VirtualSize > start.VirtualAddress {
			return fmt.Errorf("%w: section %s does not lie before %s", ErrKernel, s.Name, start.Name)
		}
	}
	for i, s := range sections[first:] {
		if s.VirtualSize == 0 || s.VirtualSize > s.Size {
			return fmt.Errorf("%w: section %s has %d bytes in memory and %d in the file", ErrKernel, s.Name, s.VirtualSize, s.Size)
		}
		if i == 0 {
			continue
		}
		if before := sections[first+i-1]; s.Offset < before.Offset+before.Size || s.VirtualAddress < before.VirtualAddress+before.VirtualSize {
			return fmt.Errorf("%w: section %s does not lie behind %s", ErrKernel, s.Name, before.Name)
		}
	}
	return nil
}

// mover puts sections behind each other.
type mover struct {
	file    []byte
	address uint32 // of the next section in memory
	grown   uint32 // bytes of initialised data that there are more
	opt     *pe.OptionalHeader64
}

// add appends a section, whose header is at a place in the file, and which had so many bytes there.
func (m *mover) add(header int, data []byte, had uint32) {
	m.pad()
	offset := len(m.file)
	m.file = append(m.file, data...)
	m.pad()
	raw := uint32(len(m.file) - offset)
	h, le := m.file[header:header+sectionBytes], binary.LittleEndian
	le.PutUint32(h[virtualBytesPlace:], uint32(len(data)))
	le.PutUint32(h[addressPlace:], m.address)
	le.PutUint32(h[rawBytesPlace:], raw)
	le.PutUint32(h[offsetPlace:], uint32(offset))
	m.address = aligned(m.address+uint32(len(data)), m.opt.SectionAlignment)
	m.grown += raw - had
}

func (m *mover) pad() {
	n := uint32(len(m.file))
	m.file = append(m.file, make([]byte, aligned(n, m.opt.FileAlignment)-n)...)
}

func isAlignment(n uint32) bool { return n > 0 && n <= maxAlignment && n&(n-1) == 0 }

func aligned(n, to uint32) uint32 { return (n + to - 1) / to * to }
