package pcr

import (
	"crypto/sha256"
	"debug/pe"
	"errors"
	"fmt"
	"io"
)

// measured are the sections that the stub measures, in its order, whatever that of the file is: the one in which the Unified Kernel Image
// specification lists them (src/fundamental/uki.h of systemd 257, less .pcrsig).
var measured = []string{
	".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey",
}

// unforeseeable are sections by which the stub chooses between others, by the machine that it runs on or by what a person picks.
var unforeseeable = []string{".profile", ".dtbauto", ".hwids", ".efifw"}

// maxSectionBytes bounds what is read as one section.
const maxSectionBytes = 1 << 30

// Predict returns the values of Kernel, Config and Extensions after a unified kernel image has booted with nothing added to it.
func Predict(image io.ReaderAt) (Values, error) {
	f, err := pe.NewFile(image)
	if err != nil {
		return nil, fmt.Errorf("predict PCR %d: read image: %w", Kernel, err)
	}
	sections := map[string]*pe.Section{}
	for _, s := range f.Sections {
		if sections[s.Name] != nil {
			return nil, fmt.Errorf("predict PCR %d: the image has two sections %s", Kernel, s.Name)
		}
		sections[s.Name] = s
	}
	for _, name := range unforeseeable {
		if sections[name] != nil {
			return nil, fmt.Errorf("predict PCR %d: the image has a section %s, and what is measured then depends on the machine", Kernel, name)
		}
	}
	if sections[".linux"] == nil {
		return nil, fmt.Errorf("predict PCR %d: the image has no section .linux: it is no unified kernel image", Kernel)
	}
	var d Digest
	for _, name := range measured {
		s := sections[name]
		if s == nil {
			continue
		}
		content, err := hashSection(s)
		if err != nil {
			return nil, fmt.Errorf("predict PCR %d: section %s: %w", Kernel, name, err)
		}
		d = d.Extended(sha256.Sum256(append([]byte(name), 0))).Extended(content)
	}
	return Values{Kernel: d, Config: {}, Extensions: {}}, nil
}

// hashSection hashes a section as it lies in memory: the file may hold more, which pads, or less, which zeros make up for.
func hashSection(s *pe.Section) (Digest, error) {
	if s.VirtualSize > maxSectionBytes {
		return Digest{}, fmt.Errorf("its size of %d bytes is out of range", s.VirtualSize)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(io.NewSectionReader(s, 0, int64(s.Size)), int64(s.VirtualSize)))
	if err != nil {
		return Digest{}, err
	}
	if n < int64(min(s.Size, s.VirtualSize)) {
		return Digest{}, errors.New("the file ends in it")
	}
	for zeros := make([]byte, 64<<10); n < int64(s.VirtualSize); {
		part := zeros[:min(int64(len(zeros)), int64(s.VirtualSize)-n)]
		sum.Write(part)
		n += int64(len(part))
	}
	return Digest(sum.Sum(nil)), nil
}
