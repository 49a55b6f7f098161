package ramroot

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"

	"github.com/cyvive/cyvive/hack/qemu/cpio"
	"github.com/cyvive/cyvive/hack/qemu/modules"
)

const (
	sectorBytes = 512
	mib         = 1 << 20
	// volumeBytes is the size of each volume: what the smallest node has for its state.
	volumeBytes = 64 * mib
	// tailBytes is more than the second partition table.
	tailBytes = mib
)

// WriteInitramfs writes, to path, the initramfs of the image in a folder with the disk and the guest program behind it.
func WriteInitramfs(path, imageDir, guest string) error {
	disk, err := os.CreateTemp(filepath.Dir(path), "ramroot")
	if err != nil {
		return fmt.Errorf("make initramfs with a root: %w", err)
	}
	defer os.Remove(disk.Name())
	defer disk.Close()
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make initramfs with a root: %w", err)
	}
	defer out.Close()
	headBytes, sizeBytes, err := writeDisk(disk, imageDir)
	if err == nil {
		err = copyFile(out, filepath.Join(imageDir, "initramfs.zst"))
	}
	if err == nil {
		err = writeArchive(out, disk, headBytes, sizeBytes, filepath.Join(imageDir, "modules"), guest)
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("make initramfs with a root: %w", err)
	}
	return nil
}

// copyFile copies a file, up to a multiple of four bytes: the kernel unpacks one archive after the other
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func copyFile(to io.Writer, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(to, f)
	if err == nil && n%4 != 0 {
		_, err = to.Write(make([]byte, 4-n%4))
	}
	return err
}

// writeDisk makes the disk: the root, its hash tree, and behind them the volumes.
func writeDisk(disk *os.File, imageDir string) (headBytes, sizeBytes int64, err error) {
	text, err := os.ReadFile(filepath.Join(imageDir, "roothash"))
	if err != nil {
		return 0, 0, err
	}
	hash, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(hash) != 32 {
		return 0, 0, fmt.Errorf("read root hash: got %q, expected 64 hexadecimal digits", text)
	}
	// Stage 1 goes by the UUIDs, the node by the names; neither asks for the types. The root has not the name of a slot: there is no boot loader to upgrade.
	table := &gpt.Table{LogicalSectorSize: sectorBytes, PhysicalSectorSize: sectorBytes, ProtectiveMBR: true}
	at := int64(mib)
	add := func(name string, id uuid.UUID, size int64) {
		size = (size + mib - 1) / mib * mib
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: len(table.Partitions) + 1, Name: name, Type: gpt.LinuxFilesystem, GUID: strings.ToUpper(id.String()),
			Start: uint64(at / sectorBytes), End: uint64((at+size)/sectorBytes) - 1,
		})
		at += size
	}
	for i, part := range []struct{ name, file string }{{"root", "root.erofs"}, {"verity", "root.verity"}} {
		n, err := placeFile(disk, at, filepath.Join(imageDir, part.file))
		if err != nil {
			return 0, 0, err
		}
		add(part.name, uuid.UUID(hash[16*i:16*i+16]), n)
	}
	headBytes = at
	for _, name := range []string{"state", "data"} {
		add(name, uuid.New(), volumeBytes)
	}
	sizeBytes = at + tailBytes
	if err := disk.Truncate(sizeBytes); err != nil {
		return 0, 0, err
	}
	return headBytes, sizeBytes, table.Write(disk, sizeBytes)
}

func placeFile(disk *os.File, at int64, path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(io.NewOffsetWriter(disk, at), f)
}

func writeArchive(out io.Writer, disk *os.File, headBytes, sizeBytes int64, moduleDir, guest string) error {
	tree, err := modules.Open(moduleDir)
	if err != nil {
		return err
	}
	files, err := tree.Closure([]string{"loop"})
	if err != nil {
		return err
	}
	archive := cpio.New(out)
	for i, file := range files {
		if err := archive.AddFile(fmt.Sprintf("%s/%02d-%s", ModuleDir, i, filepath.Base(file)), filepath.Join(tree.Dir, file)); err != nil {
			return err
		}
	}
	for _, piece := range []struct {
		name     string
		at, size int64
	}{{HeadPath, 0, headBytes}, {TailPath, sizeBytes - tailBytes, tailBytes}} {
		data := make([]byte, piece.size)
		if _, err := disk.ReadAt(data, piece.at); err != nil {
			return err
		}
		if err := archive.Add(piece.name, 0o600, data); err != nil {
			return err
		}
	}
	return errors.Join(archive.Add(SizePath, 0o600, []byte(strconv.FormatInt(sizeBytes, 10))), archive.AddFile(GuestPath, guest), archive.Close())
}
