package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stub builds a small PE32+ file with one section, and headers of headerBytes.
func stub(headerBytes uint32) []byte {
	var b bytes.Buffer
	dos := make([]byte, 0x40)
	copy(dos, "MZ")
	binary.LittleEndian.PutUint32(dos[dosHeaderPE:], 0x40)
	b.Write(dos)
	b.WriteString("PE\x00\x00")
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	opt := pe.OptionalHeader64{
		Magic: 0x20b, SectionAlignment: 0x1000, FileAlignment: 0x200, SizeOfHeaders: headerBytes,
		SizeOfImage: 0x2000, CheckSum: 7, NumberOfRvaAndSizes: 16,
	}
	put(pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1, SizeOfOptionalHeader: uint16(binary.Size(opt))})
	put(opt)
	h := pe.SectionHeader32{VirtualSize: 0x123, VirtualAddress: 0x1000, SizeOfRawData: 0x200, PointerToRawData: headerBytes}
	copy(h.Name[:], ".text")
	put(h)
	b.Write(make([]byte, int(headerBytes)-b.Len()))
	b.Write(bytes.Repeat([]byte{0x90}, 0x200))
	return b.Bytes()
}

func TestBuildRoundTrip(t *testing.T) {
	sections := []Section{
		{".cmdline", []byte("roothash=00")},
		{".initrd", bytes.Repeat([]byte("ram"), 3000)},
		{".linux", []byte("kernel")},
	}
	image, err := Build(stub(0x400), sections)
	if err != nil {
		t.Fatal(err)
	}
	f, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	end := uint32(0)
	for _, s := range f.Sections {
		if s.VirtualAddress < end || s.VirtualAddress%0x1000 != 0 || s.Offset%0x200 != 0 {
			t.Errorf("section %s is at %#x in memory, %#x in the file; the one before ends at %#x", s.Name, s.VirtualAddress, s.Offset, end)
		}
		end = s.VirtualAddress + s.VirtualSize
	}
	for _, want := range sections {
		s := f.Section(want.Name)
		if s == nil {
			t.Fatalf("section %s is missing", want.Name)
		}
		raw, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want.Data, raw[:s.VirtualSize]); d != "" {
			t.Errorf("section %s (-want +got):\n%s", want.Name, d)
		}
	}
	opt := f.OptionalHeader.(*pe.OptionalHeader64)
	if opt.SizeOfImage < end || opt.SizeOfImage%0x1000 != 0 || opt.CheckSum != 0 {
		t.Errorf("image size %#x (sections end at %#x), checksum %d", opt.SizeOfImage, end, opt.CheckSum)
	}
}

func TestBuildRefuses(t *testing.T) {
	data := []byte("x")
	if _, err := Build(stub(0x200), make([]Section, 10)); !errors.Is(err, ErrNoRoom) {
		t.Errorf("too many sections: got %v", err)
	}
	for name, s := range map[string]Section{"long name": {".toolongname", data}, "no data": {".x", nil}} {
		if _, err := Build(stub(0x400), []Section{s}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := Build([]byte("MZ"), nil); err == nil {
		t.Error("a file that is no PE file was accepted")
	}
}

func FuzzBuild(f *testing.F) {
	f.Add(stub(0x400))
	f.Fuzz(func(t *testing.T, b []byte) {
		image, err := Build(b, []Section{{".linux", []byte("kernel")}})
		if err != nil {
			return
		}
		if len(image) > len(b)+3*maxAlignment {
			t.Errorf("%d bytes became %d", len(b), len(image))
		}
		if len(image) < len(b) || !bytes.Contains(image[len(b):], []byte("kernel")) {
			t.Error("the section was not appended")
		}
	})
}
