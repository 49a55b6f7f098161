// Package releasetest makes folders for tests as the image builder leaves them, with small parts that are of the right form and start nothing.
package releasetest

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cyvive/cyvive/internal/release"
)

// RootHash is that of every folder.
const RootHash = "c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1"

// noise returns bytes that do not compress, the same for the same seed.
func noise(seed uint64, n int) []byte {
	out := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range out {
		out[i] = byte(r.Uint32())
	}
	return out
}

// Root is what the root holds before it is compressed.
func Root() []byte { return append(noise(1, 64<<10), bytes.Repeat([]byte("root "), 4096)...) }

// Kernel makes a PE file with one section, as a unified kernel image has one for its command line, and 32 KiB behind it.
func Kernel(t *testing.T, machine uint16, section, cmdline string) []byte {
	t.Helper()
	const headerBytes, sectionBytes = 0x200, 0x200
	var name [8]byte
	copy(name[:], section)
	var b bytes.Buffer
	b.WriteString("MZ" + strings.Repeat("\x00", 0x3a))
	for _, part := range []any{
		uint32(0x40), []byte("PE\x00\x00"), // where the signature is, and it
		pe.FileHeader{Machine: machine, NumberOfSections: 1, SizeOfOptionalHeader: uint16(binary.Size(pe.OptionalHeader64{}))},
		pe.OptionalHeader64{Magic: 0x20b, NumberOfRvaAndSizes: 16},
		pe.SectionHeader32{Name: name, VirtualSize: uint32(len(cmdline)), SizeOfRawData: sectionBytes, PointerToRawData: headerBytes},
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	b.Write(make([]byte, headerBytes-b.Len()))
	data := make([]byte, sectionBytes)
	copy(data, cmdline)
	b.Write(data)
	b.Write(noise(2, 32<<10))
	return b.Bytes()
}

// Folder makes a folder with version 0.2.0 for amd64. Change has other content for some of its files; nil takes one away.
func Folder(t *testing.T, change map[string][]byte) string {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"release.json": []byte(`{"version": "0.2.0", "floor": "0.1.0", "components": [{"version": "1"}]}`),
		"roothash":     []byte(RootHash + "\n"),
		release.Kernel: Kernel(t, pe.IMAGE_FILE_MACHINE_AMD64, ".cmdline", "roothash="+RootHash+" quiet"),
		release.Verity: noise(3, 32<<10),
		release.Root:   e.EncodeAll(Root(), nil),
	}
	for name, data := range change {
		files[name] = data
	}
	dir := t.TempDir()
	for name, data := range files {
		if data == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
