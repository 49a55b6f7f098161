package e2e

import (
	"bytes"
	"context"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/release/diskimage"
	"github.com/cyvive/cyvive/hack/release/keys"
	"github.com/cyvive/cyvive/hack/release/releasetest"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// secureDisk is a signed disk, and what machines are to make of it.
type secureDisk struct {
	env     env
	dir     string
	options diskimage.Options
	// raw and qcow2 are the same disk.
	raw, qcow2 string
	// variables is the file of a machine's that has enrolled its keys.
	variables string
}

// espFile is a file of the boot partition, and where it begins on the disk. It is in one piece, and there may be copies of it, as of the boot loader.
type espFile struct {
	content []byte
	places  []int64
}

// edit is a change of a few bytes of a file, from a place in it on.
type edit struct {
	at   int64
	data []byte
}

// change is the change of a file and of its copies.
type change struct {
	file espFile
	edit func(*testing.T, espFile) edit
}

// file finds a file of the boot partition of the signed disk.
func (b *secureDisk) file(t *testing.T, name string) espFile {
	t.Helper()
	at, err := places(b.raw)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := os.Open(b.raw)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	volume, err := fat32.Read(file.New(disk, true), at["esp"].size, at["esp"].start, 512)
	if err != nil {
		t.Fatal(err)
	}
	in, err := volume.OpenFile(name, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	// At once: from within a cluster on, the library reads more than there is.
	size, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, size)
	if n, err := in.Read(content); int64(n) != size || err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("%s: read %d bytes of %d: %v", name, n, size, err)
	}
	found, err := find(io.NewSectionReader(disk, at["esp"].start, at["esp"].size), content)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for i := range found {
		found[i] += at["esp"].start
	}
	return espFile{content, found}
}

// find returns where a file lies in a file system that was filled once, file after file, so that each begins at a sector and is in one piece.
func find(volume *io.SectionReader, content []byte) (places []int64, err error) {
	const sectorBytes = 512
	sector, all := make([]byte, sectorBytes), make([]byte, len(content))
	for at := int64(0); at+int64(len(content)) <= volume.Size(); at += sectorBytes {
		if _, err := volume.ReadAt(sector, at); err != nil {
			return nil, err
		}
		if !bytes.Equal(sector, content[:sectorBytes]) {
			continue
		}
		if _, err := volume.ReadAt(all, at); err != nil {
			return nil, err
		}
		if bytes.Equal(all, content) {
			places = append(places, at)
		}
	}
	if len(places) == 0 {
		err = fmt.Errorf("the %d bytes are not in one piece", len(content))
	}
	return places, err
}

// flipped changes one bit in the largest section of a program.
func flippedBit(t *testing.T, f espFile) edit {
	t.Helper()
	image, err := pe.NewFile(bytes.NewReader(f.content))
	if err != nil {
		t.Fatal(err)
	}
	var largest *pe.Section
	for _, s := range image.Sections {
		if largest == nil || s.Size > largest.Size {
			largest = s
		}
	}
	at := int64(largest.Offset) + int64(largest.VirtualSize)/2
	t.Logf("a bit of section %s", largest.Name)
	return edit{at, []byte{f.content[at] ^ 1}}
}

// withoutSignature takes the entry for signatures out of a program's headers: for firmware there is none.
func signatureGone(t *testing.T, f espFile) edit {
	t.Helper()
	// PE Format, "Optional Header Data Directories": the fifth, behind 112 bytes of a PE32+ header.
	at := int64(binary.LittleEndian.Uint32(f.content[0x3c:])) + 4 + 20 + 112 + 4*8
	if bytes.Equal(f.content[at:at+8], make([]byte, 8)) {
		t.Fatal("it has no signature to take away")
	}
	return edit{at, make([]byte, 8)}
}

// changed makes a copy of the signed disk with changes.
func (b *secureDisk) changed(changes ...change) func(*testing.T, context.Context, string) string {
	return func(t *testing.T, ctx context.Context, dir string) string {
		overlay := filepath.Join(dir, "disk.qcow2")
		if err := cluster.CreateOverlay(ctx, b.qcow2, overlay, 0); err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			e := c.edit(t, c.file)
			for _, at := range c.file.places {
				b.write(t, ctx, overlay, edit{at + e.at, e.data})
			}
		}
		return overlay
	}
}

// write changes bytes of an overlay over the signed disk, from a place of that on. qemu-io writes whole sectors.
func (b *secureDisk) write(t *testing.T, ctx context.Context, overlay string, e edit) {
	t.Helper()
	const sectorBytes = 512
	disk, err := os.Open(b.raw)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	start := e.at - e.at%sectorBytes
	sectors := make([]byte, (e.at+int64(len(e.data))-start+sectorBytes-1)/sectorBytes*sectorBytes)
	if _, err := disk.ReadAt(sectors, start); err != nil {
		t.Fatal(err)
	}
	copy(sectors[e.at-start:], e.data)
	changed := filepath.Join(t.TempDir(), "sectors")
	if err := os.WriteFile(changed, sectors, 0o600); err != nil {
		t.Fatal(err)
	}
	command := fmt.Sprintf("write -s %s %d %d", changed, start, len(sectors))
	if out, err := exec.CommandContext(ctx, "qemu-io", "-f", "qcow2", "-c", command, overlay).CombinedOutput(); err != nil {
		t.Fatalf("qemu-io: %v: %s", err, out)
	}
}

// unsigned is the builder's own disk.
func (b *secureDisk) unsigned(t *testing.T, ctx context.Context, dir string) string {
	t.Helper()
	overlay := filepath.Join(dir, "disk.qcow2")
	if err := cluster.CreateOverlay(ctx, b.env.out("disk.qcow2"), overlay, 0); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// byAnother is the disk with the signatures, and the keys to enrol, of somebody else.
func (b *secureDisk) byAnother(t *testing.T, ctx context.Context, dir string) string {
	t.Helper()
	keyDir := t.TempDir()
	o := b.options
	o.Keys.SecureBoot = releasetest.SecureBoot(t, keyDir)
	var err error
	if o.Variables, err = keys.Variables(keyDir); err != nil {
		t.Fatal(err)
	}
	_, qcow2 := b.env.sign(t, ctx, dir, o)
	return qcow2
}

// TestChangedPrograms holds the changes that machines are to refuse against the package that reads signatures, without a machine.
func TestChangedPrograms(t *testing.T) {
	signer := releasetest.SecureBoot(t, t.TempDir())
	signed, err := signer.SignProgram(releasetest.Kernel(t, pe.IMAGE_FILE_MACHINE_AMD64, ".cmdline", "quiet"))
	if err != nil {
		t.Fatal(err)
	}
	const before = 3 * 512
	volume := append(bytes.Repeat(signed[:512], 3), append(bytes.Clone(signed), make([]byte, 512)...)...)
	found, err := find(io.NewSectionReader(bytes.NewReader(volume), 0, int64(len(volume))), signed)
	if err != nil || len(found) != 1 || found[0] != before {
		t.Fatalf("found at %d, %v; want %d", found, err, before)
	}
	if _, err := find(io.NewSectionReader(bytes.NewReader(volume[:len(volume)-1024]), 0, int64(len(volume)-1024)), signed); err == nil {
		t.Error("a file was found that is cut off")
	}
	f := espFile{signed, found}
	for name, c := range map[string]struct {
		edit edit
		want error
	}{"bit": {flippedBit(t, f), secureboot.ErrSignature}, "not signed": {signatureGone(t, f), secureboot.ErrUnsigned}} {
		image := bytes.Clone(signed)
		copy(image[c.edit.at:], c.edit.data)
		if err := secureboot.VerifyProgram(bytes.NewReader(image), signer.Certificate); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
