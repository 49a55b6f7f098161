package media

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/cyvive/cyvive/hack/qemu/cpio"
	"github.com/cyvive/cyvive/hack/release/diskimage"
	"github.com/cyvive/cyvive/internal/machined/boot/medium"
	"github.com/cyvive/cyvive/internal/release"
)

const (
	mib = 1 << 20
	// edgeBytes is what is in front of the first partition, and behind the last: both partition tables have room in it.
	edgeBytes = mib
	// espSpareBytes is for folders of a boot partition, and for what is rounded up.
	espSpareBytes = 4 * mib
	// windowBytes is how far back the compressed disk refers, as the root of a release does (images/internal/build/transport.go). The kernel takes up to
	// 128 MiB (lib/decompress_unzstd.c and ZSTD_MAXWINDOWSIZE_DEFAULT in lib/zstd, Linux 6.12).
	windowBytes = 64 << 20

	builtInitramfs = "initramfs.zst"
	builtRoot      = "root.erofs"
)

// initramfs is the builder's with the disk behind it. The kernel unpacks one archive after the other, each compressed or not, and passes over zeros between them
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func (o Options) initramfs(work string, boot diskimage.Boot, hash [32]byte) ([]byte, error) {
	disk, err := os.CreateTemp(work, ".medium-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(disk.Name())
	defer disk.Close()
	size, err := o.writeDisk(disk, boot, hash)
	if err != nil {
		return nil, fmt.Errorf("make disk of the medium: %w", err)
	}
	built, err := os.ReadFile(filepath.Join(o.Dir, builtInitramfs))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.Write(built)
	out.Write(make([]byte, -len(built)&3))
	if err := writeArchive(&out, disk, size); err != nil {
		return nil, fmt.Errorf("make initramfs: %w", err)
	}
	return out.Bytes(), nil
}

func writeArchive(out io.Writer, disk *os.File, size int64) error {
	// One at a time, so that the same input gives the same bytes.
	z, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(windowBytes), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	archive := cpio.New(z)
	return errors.Join(archive.AddFrom(medium.Path, 0o600, io.NewSectionReader(disk, 0, size), size), archive.Close(), z.Close())
}

// part is a partition of the disk, by the name by which the node finds it.
type part struct {
	name string
	kind gpt.Type
	id   uuid.UUID
	size int64
	fill func(disk *os.File, start, size int64) error
}

// writeDisk makes the disk, and returns its size. Its layout is that of a node's with one slot, and without volumes; it is no larger than it has to be, since all of
// it is in the memory of the machine.
func (o Options) writeDisk(disk *os.File, boot diskimage.Boot, hash [32]byte) (int64, error) {
	parts := []part{{"esp", gpt.EFISystemPartition, derived("esp", hash), bootBytes(boot), boot.Write}}
	for i, p := range []struct{ name, file string }{{"root-a", builtRoot}, {"verity-a", release.Verity}} {
		path := filepath.Join(o.Dir, p.file)
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		// Stage 1 goes by the UUIDs, the node by the names; neither asks for the types.
		parts = append(parts, part{p.name, gpt.LinuxFilesystem, uuid.UUID(hash[16*i : 16*i+16]), info.Size(), func(disk *os.File, start, size int64) error {
			return place(disk, start, size, path)
		}})
	}
	return writeParts(disk, derived("disk", hash), parts)
}

// writeParts makes a disk of partitions, each behind the other, and returns its size.
func writeParts(disk *os.File, id uuid.UUID, parts []part) (int64, error) {
	table := &gpt.Table{
		LogicalSectorSize: medium.SectorBytes, PhysicalSectorSize: medium.SectorBytes, GUID: strings.ToUpper(id.String()), ProtectiveMBR: true,
	}
	at := int64(edgeBytes)
	for i := range parts {
		p := &parts[i]
		p.size = (p.size + mib - 1) / mib * mib
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: i + 1, Name: p.name, Type: p.kind, GUID: strings.ToUpper(p.id.String()),
			Start: uint64(at / medium.SectorBytes), End: uint64((at+p.size)/medium.SectorBytes) - 1, Size: uint64(p.size),
		})
		at += p.size
	}
	total := at + edgeBytes
	if err := disk.Truncate(total); err != nil {
		return 0, err
	}
	at = edgeBytes
	for _, p := range parts {
		if err := p.fill(disk, at, p.size); err != nil {
			return 0, fmt.Errorf("partition %s: %w", p.name, err)
		}
		at += p.size
	}
	return total, table.Write(disk, total)
}

// place copies a file to a part of a disk.
func place(disk *os.File, start, size int64, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	n, err := io.Copy(io.NewOffsetWriter(disk, start), in)
	if err == nil && n > size {
		err = fmt.Errorf("%s has %d bytes by now, and %d were left for it", path, n, size)
	}
	return err
}

// bootBytes is enough for a FAT32 file system with some files. Its two tables take eight bytes for each cluster of 512.
func bootBytes(boot diskimage.Boot) int64 {
	var n int64
	for _, content := range boot.Files {
		n += int64(len(content))
	}
	return n + n/32 + espSpareBytes
}

// derived is a UUID of version 8 (RFC 9562, 5.8) that follows from a root.
func derived(name string, hash [32]byte) uuid.UUID {
	sum := sha256.Sum256(append([]byte("cyvive medium "+name+" "), hash[:]...))
	id := uuid.UUID(sum[:16])
	id[6], id[8] = id[6]&0x0F|0x80, id[8]&0x3F|0x80
	return id
}
