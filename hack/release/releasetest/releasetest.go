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
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyvive/cyvive/hack/release/keys"
	"github.com/cyvive/cyvive/internal/release"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
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

// Kernel makes a PE file as a unified kernel image is one: a section of the given name for the command line, the kernel, and room for signatures.
func Kernel(t *testing.T, machine uint16, section, cmdline string) []byte {
	t.Helper()
	const headerBytes, alignBytes = 0x400, 0x200
	sections := []struct {
		name string
		data []byte
	}{{section, []byte(cmdline)}, {".linux", noise(2, 32<<10)}, {pcr.SectionName, pcr.Blank()}}
	var headers, body bytes.Buffer
	headers.WriteString("MZ" + strings.Repeat("\x00", 0x3a))
	put := func(part any) {
		if err := binary.Write(&headers, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	put(uint32(0x40)) // where the signature is
	headers.WriteString("PE\x00\x00")
	put(pe.FileHeader{Machine: machine, NumberOfSections: uint16(len(sections)), SizeOfOptionalHeader: uint16(binary.Size(pe.OptionalHeader64{}))})
	put(pe.OptionalHeader64{Magic: 0x20b, NumberOfRvaAndSizes: 16, SizeOfHeaders: headerBytes})
	for _, s := range sections {
		var name [8]byte
		copy(name[:], s.name)
		at := headerBytes + body.Len()
		body.Write(s.data)
		body.Write(make([]byte, (alignBytes-len(s.data)%alignBytes)%alignBytes))
		put(pe.SectionHeader32{
			Name: name, VirtualSize: uint32(len(s.data)), SizeOfRawData: uint32(headerBytes + body.Len() - at), PointerToRawData: uint32(at),
		})
	}
	headers.Write(make([]byte, headerBytes-headers.Len()))
	return append(headers.Bytes(), body.Bytes()...)
}

// SecureBoot makes keys for Secure Boot in a folder, as make keys does, and returns the one that signs programs.
func SecureBoot(t *testing.T, dir string) *secureboot.Signer {
	t.Helper()
	if _, err := keys.Ensure(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.EnsureSecureBoot(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	signer, err := keys.ProgramSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	return signer
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
