package media

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/cyvive/cyvive/hack/release/diskimage"
	"github.com/cyvive/cyvive/hack/release/releasetest"
	"github.com/cyvive/cyvive/internal/machined/boot/medium"
	"github.com/cyvive/cyvive/internal/release"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

func noise(seed uint64, n int) []byte {
	out := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range out {
		out[i] = byte(r.Uint32())
	}
	return out
}

// section is one of a kernel image.
type section struct {
	name string
	data []byte
}

// sections are those of a kernel image as the builder makes it, with an initramfs.
func sections(initramfs []byte) []section {
	return []section{
		{".text", noise(1, 5000)}, {".osrel", []byte("ID=cyvive\n")}, {".cmdline", []byte("roothash=" + releasetest.RootHash + " quiet")},
		{".uname", []byte("6.12.0")}, {initrd, initramfs}, {".linux", noise(2, 70_001)}, {pcr.SectionName, pcr.Blank()},
	}
}

// unified makes a kernel image of sections, each behind the other.
func unified(t *testing.T, list []section) []byte {
	t.Helper()
	const headerBytes, fileAlign, memoryAlign = 0x400, 0x200, 0x1000
	var headers, body bytes.Buffer
	var table []pe.SectionHeader32
	address, initialised := uint32(memoryAlign), uint32(0)
	for _, s := range list {
		at := headerBytes + body.Len()
		body.Write(s.data)
		body.Write(make([]byte, -body.Len()&(fileAlign-1)))
		h := pe.SectionHeader32{
			VirtualSize: uint32(len(s.data)), VirtualAddress: address, SizeOfRawData: uint32(headerBytes + body.Len() - at), PointerToRawData: uint32(at),
		}
		copy(h.Name[:], s.name)
		table = append(table, h)
		address += (uint32(len(s.data)) + memoryAlign - 1) / memoryAlign * memoryAlign
		initialised += h.SizeOfRawData
	}
	headers.WriteString("MZ" + strings.Repeat("\x00", 0x3a))
	for _, part := range []any{
		uint32(0x40), []byte("PE\x00\x00"),
		pe.FileHeader{
			Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: uint16(len(list)), SizeOfOptionalHeader: uint16(binary.Size(pe.OptionalHeader64{})),
		},
		pe.OptionalHeader64{
			Magic: 0x20b, NumberOfRvaAndSizes: 16, SizeOfHeaders: headerBytes, FileAlignment: fileAlign, SectionAlignment: memoryAlign,
			SizeOfImage: address, SizeOfInitializedData: initialised,
		},
		table,
	} {
		if err := binary.Write(&headers, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	headers.Write(make([]byte, headerBytes-headers.Len()))
	return append(headers.Bytes(), body.Bytes()...)
}

// TestWithInitramfs: the image is what the builder would have made with that initramfs, and is signed like any other.
func TestWithInitramfs(t *testing.T) {
	small, large := noise(3, 10_000), noise(4, 300_003)
	for name, c := range map[string]struct{ from, to []byte }{"larger": {small, large}, "smaller": {large, small}, "the same": {small, small}} {
		got, err := withInitramfs(unified(t, sections(c.from)), c.to)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if want := unified(t, sections(c.to)); !bytes.Equal(got, want) {
			t.Errorf("%s: it has %d bytes and is another one than that of %d bytes which is made with it", name, len(got), len(want))
		}
	}
	image, err := withInitramfs(unified(t, sections(small)), large)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pcr.Predict(bytes.NewReader(image)); err != nil {
		t.Errorf("the boot stub could not start it: %v", err)
	}
	signer := releasetest.SecureBoot(t, t.TempDir())
	signed, err := signer.SignProgram(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := secureboot.VerifyProgram(bytes.NewReader(signed), signer.Certificate); err != nil {
		t.Error(err)
	}
	if _, err := withInitramfs(signed, small); !errors.Is(err, ErrKernel) || !strings.Contains(err.Error(), "signed already") {
		t.Errorf("an image that is signed: %v", err)
	}
}

func TestWithInitramfsRefuses(t *testing.T) {
	sound := unified(t, sections(noise(3, 10_000)))
	const header, optional, table = 0x40, 0x40 + 24, 0x40 + 24 + 240
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		says   string
	}{
		"no program":   {func([]byte) []byte { return []byte("kernel") }, "builder makes it"},
		"no initramfs": {func(b []byte) []byte { copy(b[table+4*sectionBytes:], ".initrx"); return b }, "no section .initrd"},
		"alignment":    {func(b []byte) []byte { le.PutUint32(b[optional+36:], 3); return b }, "alignments"},
		"overlap": {func(b []byte) []byte {
			copy(b[table+5*sectionBytes+offsetPlace:][:4], b[table+4*sectionBytes+offsetPlace:][:4])
			return b
		}, "does not lie behind .initrd"},
		"before": {func(b []byte) []byte { le.PutUint32(b[table+addressPlace:], 1<<29); return b }, "does not lie before .initrd"},
		"empty":  {func(b []byte) []byte { le.PutUint32(b[table+6*sectionBytes+virtualBytesPlace:], 0); return b }, "section .pcrsig has 0 bytes"},
		"cut":    {func(b []byte) []byte { return b[:len(b)-4096] }, "section .pcrsig"},
	} {
		if _, err := withInitramfs(c.change(bytes.Clone(sound)), noise(5, 100)); !errors.Is(err, ErrKernel) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
	if string(sound[header:header+2]) != "PE" || !bytes.HasPrefix(sound[table:], []byte(".text")) {
		t.Fatal("the test does not know the places of its own image")
	}
}

// world is a builder's folder, and a signed disk of the same build.
type world struct {
	dir, disk    string
	boot         diskimage.Boot
	root, verity []byte
	initramfs    []byte
}

func newWorld(t *testing.T) world {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", strconv.Itoa(1767225600)) // and back, at the end of the test
	w := world{dir: t.TempDir(), root: noise(6, 1<<20+4096), verity: noise(7, 3*4096), initramfs: noise(8, 10_001)}
	w.disk = filepath.Join(w.dir, "signed.raw")
	kernel := unified(t, sections(w.initramfs))
	for name, data := range map[string][]byte{
		"roothash": []byte(releasetest.RootHash + "\n"), builtInitramfs: w.initramfs, builtRoot: w.root, release.Verity: w.verity, release.Kernel: kernel,
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.boot = diskimage.Boot{Written: time.Unix(1767225600, 0), Files: map[string][]byte{
		"/EFI/BOOT/BOOTX64.EFI": noise(9, 120_000), "/EFI/cyvive/a.efi": kernel, "/loader/loader.conf": []byte("timeout menu-disabled\n"),
		"/loader/entries/cyvive-a.conf": []byte("title Cyvive\n"), "/loader/keys/auto/PK.auth": noise(10, 3000),
	}}
	f, err := os.Create(w.disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := writeParts(f, uuid.New(), []part{{"esp", gpt.EFISystemPartition, uuid.New(), 64 * mib, w.boot.Write}}); err != nil {
		t.Fatal(err)
	}
	return w
}

// lower is a map of files by their names in small letters: FAT does not tell cases apart.
func lower(files map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for name, data := range files {
		out[strings.ToLower(name)] = data
	}
	return out
}

// carried returns the disk that a program carries.
func carried(t *testing.T, program []byte, built []byte) string {
	t.Helper()
	f, err := pe.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Section(initrd)
	data, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	data = data[:s.VirtualSize]
	if !bytes.HasPrefix(data, built) {
		t.Fatal("the initramfs does not begin with the builder's")
	}
	// What the kernel has room for, as its own decoder.
	z, err := zstd.NewReader(bytes.NewReader(bytes.TrimLeft(data[len(built):], "\x00")), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	archive, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for len(archive) > 110 {
		field := func(i int) int {
			n, err := strconv.ParseUint(string(archive[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		size, nameBytes := field(6), field(11)
		name, body := string(archive[110:110+nameBytes-1]), (110+nameBytes+3)&^3
		if "/"+name == medium.Path {
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, archive[body:body+size], 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		archive = archive[body+(size+3)&^3:]
	}
	t.Fatalf("the initramfs has no %s", medium.Path)
	return ""
}

// table reads the partition table of a disk image.
func table(t *testing.T, path string) (*gpt.Table, *os.File) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	read, err := gpt.Read(file.New(f, true), medium.SectorBytes, medium.SectorBytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Verify(file.New(f, true), uint64(info.Size())); err != nil {
		t.Errorf("%s: its partition table does not verify: %v", path, err)
	}
	return read, f
}

// TestWrite: the program is signed and carries a disk with the root, its tree and the signed boot partition, under the names and UUIDs by which they are
// looked for; the volume has that program. Twice the same gives the same bytes, and nothing is left behind.
func TestWrite(t *testing.T) {
	w, signer := newWorld(t), releasetest.SecureBoot(t, t.TempDir())
	out := t.TempDir()
	program, volume := filepath.Join(out, "m.efi"), filepath.Join(out, "m.iso")
	var before [2][]byte
	for i := range 2 {
		if err := Write(program, volume, Options{Dir: w.dir, Disk: w.disk, SecureBoot: signer}); err != nil {
			t.Fatal(err)
		}
		for j, path := range []string{program, volume} {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 && !bytes.Equal(data, before[j]) {
				t.Errorf("%s: made twice, it is another one", path)
			}
			before[j] = data
		}
	}
	if left, err := os.ReadDir(out); err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := secureboot.VerifyProgram(bytes.NewReader(before[0]), signer.Certificate); err != nil {
		t.Error(err)
	}
	disk := carried(t, before[0], w.initramfs)
	checkDisk(t, w, disk)
	boot, err := diskimage.ReadBoot(volume)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"/efi/boot/bootx64.efi"}, namesOf(boot)); d != "" {
		t.Fatalf("files of the volume (-want +got):\n%s", d)
	}
	if !bytes.Equal(lower(boot.Files)["/efi/boot/bootx64.efi"], before[0]) {
		t.Error("the volume has another program")
	}
}

func namesOf(b diskimage.Boot) []string {
	var names []string
	for name := range maps.Keys(lower(b.Files)) {
		names = append(names, name)
	}
	return names
}

func checkDisk(t *testing.T, w world, path string) {
	t.Helper()
	hash, err := hex.DecodeString(releasetest.RootHash)
	if err != nil {
		t.Fatal(err)
	}
	parts, f := table(t, path)
	if len(parts.Partitions) != 3 {
		t.Fatalf("the disk has %d partitions", len(parts.Partitions))
	}
	for i, want := range []struct {
		name    string
		id      []byte
		content []byte
	}{{"esp", nil, nil}, {"root-a", hash[:16], w.root}, {"verity-a", hash[16:], w.verity}} {
		p := parts.Partitions[i]
		if p.Name != want.name || want.id != nil && !strings.EqualFold(p.GUID, uuid.UUID(want.id).String()) {
			t.Errorf("partition %d: %s with the UUID %s", i+1, p.Name, p.GUID)
		}
		content := make([]byte, len(want.content))
		if _, err := f.ReadAt(content, p.GetStart()); err != nil || !bytes.Equal(content, want.content) {
			t.Errorf("partition %s holds something else: %v", p.Name, err)
		}
	}
	boot, err := diskimage.ReadBoot(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(lower(w.boot.Files), lower(boot.Files)); d != "" {
		t.Errorf("boot partition (-want +got):\n%.2000s", d)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 16<<20 {
		t.Errorf("all of the disk is in memory, and it has %d bytes, %v", info.Size(), err)
	}
}

// TestVolume: firmware finds the same boot partition by the boot catalog of a CD and by the partition table of a disk, and whoever mounts the volume sees what it is.
func TestVolume(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "0")
	path := filepath.Join(t.TempDir(), "m.iso")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// More than the 32 MiB of which a boot catalog can tell.
	v := isoVolume{boot: diskimage.Boot{Written: time.Unix(1767225600, 0), Files: map[string][]byte{"/EFI/BOOT/BOOTX64.EFI": noise(11, 33<<20)}}}
	if err := v.write(f); err != nil {
		t.Fatal(err)
	}
	parts, _ := table(t, path)
	if len(parts.Partitions) != 1 || parts.Partitions[0].Type != gpt.EFISystemPartition {
		t.Fatalf("partitions: %+v", parts.Partitions)
	}
	esp := parts.Partitions[0]
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	block := func(n uint32) []byte {
		b := make([]byte, blockBytes)
		if _, err := f.ReadAt(b, int64(n)*blockBytes); err != nil {
			t.Fatal(err)
		}
		return b
	}
	le := binary.LittleEndian
	record := block(17)
	if record[0] != 0 || string(record[1:6]) != "CD001" || !strings.HasPrefix(string(record[7:]), "EL TORITO SPECIFICATION\x00") {
		t.Fatalf("the boot record is % x", record[:64])
	}
	catalog := block(le.Uint32(record[0x47:]))
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += le.Uint16(catalog[i:])
	}
	if sum != 0 || catalog[0] != 1 || catalog[1] != 0xEF || catalog[30] != 0x55 || catalog[31] != 0xAA {
		t.Errorf("the catalog begins with % x, of sum %#x", catalog[:32], sum)
	}
	// Not emulated, and without a length: to the end of the volume.
	entry := catalog[32:64]
	if at := int64(le.Uint32(entry[8:])) * blockBytes; entry[0] != 0x88 || entry[1] != 0 || le.Uint16(entry[6:]) > 1 || at != esp.GetStart() {
		t.Errorf("the entry is % x, and the partition begins at %d", entry, esp.GetStart())
	}
	if blocks := le.Uint32(block(16)[80:]); int64(blocks)*blockBytes != info.Size() || esp.GetStart()+esp.GetSize() > info.Size() {
		t.Errorf("the volume says that it has %d blocks; the file has %d bytes", blocks, info.Size())
	}
	volume, err := iso9660.Read(file.New(f, true), info.Size(), 0, blockBytes)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := volume.ReadDir(".")
	if err != nil || strings.TrimSpace(volume.Label()) != "CYVIVE" {
		t.Fatalf("the volume %q: %v", volume.Label(), err)
	}
	found := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(e.Name(), ";1")] = info.Size()
	}
	if d := cmp.Diff(map[string]int64{"BOOT.CAT": blockBytes, "EFI.IMG": esp.GetSize()}, found); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

// TestVolumeIsFAT32: however small the program is, the partition has as many of them as firmware wants of FAT32.
func TestVolumeIsFAT32(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "0")
	for _, programBytes := range []int{1000, 30 << 20, 64 << 20} {
		path := filepath.Join(t.TempDir(), "m.iso")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		v := isoVolume{boot: diskimage.Boot{Written: time.Unix(1767225600, 0), Files: map[string][]byte{"/EFI/BOOT/BOOTX64.EFI": make([]byte, programBytes)}}}
		if err := errors.Join(v.write(f), f.Close()); err != nil {
			t.Fatal(err)
		}
		parts, read := table(t, path)
		b := make([]byte, 512)
		if _, err := read.ReadAt(b, parts.Partitions[0].GetStart()); err != nil {
			t.Fatal(err)
		}
		// The BIOS parameter block (Microsoft's FAT specification, "Boot Sector and BPB").
		le := binary.LittleEndian
		sectors, reserved, tables, tableSectors := le.Uint32(b[32:]), uint32(le.Uint16(b[14:])), uint32(b[16]), le.Uint32(b[36:])
		if clusters := (sectors - reserved - tables*tableSectors) / uint32(b[13]); clusters < 65525 || le.Uint16(b[22:]) != 0 {
			t.Errorf("with a program of %d bytes it has %d clusters", programBytes, clusters)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, w world)
		want   error
	}{
		"another build's disk": {func(t *testing.T, w world) {
			if err := os.WriteFile(filepath.Join(w.dir, "roothash"), []byte(strings.Repeat("ab", 32)), 0o644); err != nil {
				t.Fatal(err)
			}
		}, ErrOtherBuild},
		"no root": {func(t *testing.T, w world) {
			if err := os.Remove(filepath.Join(w.dir, builtRoot)); err != nil {
				t.Fatal(err)
			}
		}, os.ErrNotExist},
		"no disk": {func(t *testing.T, w world) {
			if err := os.Remove(w.disk); err != nil {
				t.Fatal(err)
			}
		}, os.ErrNotExist},
		"a kernel image without an initramfs": {func(t *testing.T, w world) {
			image := releasetest.Kernel(t, pe.IMAGE_FILE_MACHINE_AMD64, ".cmdline", "roothash="+releasetest.RootHash)
			if err := os.WriteFile(filepath.Join(w.dir, release.Kernel), image, 0o644); err != nil {
				t.Fatal(err)
			}
		}, ErrKernel},
	} {
		t.Run(name, func(t *testing.T) {
			w, out := newWorld(t), t.TempDir()
			c.change(t, w)
			if err := Write(filepath.Join(out, "m.efi"), filepath.Join(out, "m.iso"), Options{Dir: w.dir, Disk: w.disk}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}
