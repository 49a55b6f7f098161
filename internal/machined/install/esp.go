package install

import (
	"bytes"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/cyvive/cyvive/internal/storage/loader"
)

const (
	// espSpareBytes is for the boot loader, entries and the file system's own, beside three kernel images.
	espSpareBytes = 8 * mib
	// slot is the one that is installed.
	slot = "a"
	// maxLoaderBytes bounds the files of the boot loader.
	maxLoaderBytes = 16 * mib
)

// loaderFiles are taken over from the boot partition of the running system: the boot loader, under the name by which firmware finds it without being told and
// under its own, its settings, and
// the keys that a machine in setup mode is to enrol.
var loaderFiles = []string{"EFI/BOOT/", "EFI/systemd/", "loader/loader.conf", "loader/keys/"}

// makeESP makes the boot partition: a FAT32 file system with the boot loader of the running system, and the kernel image and its entry.
func makeESP(d *window, b Boot, r Release) error {
	f, err := fat32.Create(storage{d}, d.size, 0, sectorBytes, "ESP", false)
	if err != nil {
		return fmt.Errorf("make FAT32: %w", err)
	}
	if err := f.SetLabel("ESP"); err != nil {
		return fmt.Errorf("label FAT32: %w", err)
	}
	if err := copyLoader(f, b.Files); err != nil {
		return err
	}
	if err := put(f, loader.KernelPath(slot), io.LimitReader(b.Kernel, r.KernelBytes+1)); err != nil {
		return err
	}
	if err := checkKernel(f, r); err != nil {
		return fmt.Errorf("check kernel image: %w", err)
	}
	entry := loader.Entry{Slot: slot, Generation: 1, Version: r.Version, Left: loader.Unlimited}
	return put(f, entry.Path(), strings.NewReader(entry.Text()))
}

// copyLoader copies the boot loader's files. Without a program that firmware finds the disk would not start.
func copyLoader(f *fat32.FileSystem, from fs.FS) error {
	starts := false
	err := fs.WalkDir(from, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		for _, want := range loaderFiles {
			if !strings.HasPrefix(strings.ToLower(name), strings.ToLower(want)) {
				continue
			}
			in, err := from.Open(name)
			if err != nil {
				return err
			}
			starts = starts || strings.HasPrefix(strings.ToLower(name), "efi/boot/boot")
			return errors.Join(put(f, name, io.LimitReader(in, maxLoaderBytes)), in.Close())
		}
		return nil
	})
	if err == nil && !starts {
		err = fmt.Errorf("the running system's boot partition has no boot loader EFI/BOOT/BOOT*.EFI: %w", fs.ErrNotExist)
	}
	if err != nil {
		return fmt.Errorf("copy boot loader: %w", err)
	}
	return nil
}

// put makes a file with its folders.
func put(f *fat32.FileSystem, name string, from io.Reader) error {
	if err := f.Mkdir("/" + path.Dir(name)); err != nil {
		return fmt.Errorf("make folder of %s: %w", name, err)
	}
	out, err := f.OpenFile("/"+name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return fmt.Errorf("make %s: %w", name, err)
	}
	// The library writes a whole table of the file system for each piece.
	buffer := make([]byte, 4*mib)
	for {
		n, err := io.ReadFull(from, buffer)
		if n > 0 {
			if _, err := out.Write(buffer[:n]); err != nil {
				return fmt.Errorf("write %s: %w", name, err)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return out.Close()
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
}

// checkKernel reads the kernel image that was written: its command line has to name the root.
func checkKernel(f *fat32.FileSystem, r Release) error {
	in, err := f.OpenFile("/"+loader.KernelPath(slot), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer in.Close()
	size, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size != r.KernelBytes {
		return fmt.Errorf("%w: it has %d bytes, want %d", ErrDamaged, size, r.KernelBytes)
	}
	line, err := commandLine(seekReader{in})
	if err != nil {
		return err
	}
	want := "roothash=" + r.RootHash
	for word := range strings.FieldsSeq(line) {
		if word == want {
			return nil
		}
	}
	return fmt.Errorf("%w: its command line does not have %s: %.200q", ErrDamaged, want, line)
}

// maxLineBytes bounds the command line; the kernel takes no more than 2048 (COMMAND_LINE_SIZE of x86).
const maxLineBytes = 16 << 10

// commandLine is that of a unified kernel image: the section .cmdline (UAPI Unified Kernel Image).
func commandLine(r io.ReaderAt) (string, error) {
	image, err := pe.NewFile(r)
	if err != nil {
		return "", fmt.Errorf("%w: it is no EFI program: %w", ErrDamaged, err)
	}
	s := image.Section(".cmdline")
	if s == nil {
		return "", fmt.Errorf("%w: it has no section .cmdline", ErrDamaged)
	}
	if s.Size > maxLineBytes {
		return "", fmt.Errorf("%w: its command line has %d bytes", ErrDamaged, s.Size)
	}
	data, err := s.Data()
	if err != nil {
		return "", fmt.Errorf("%w: read its command line: %w", ErrDamaged, err)
	}
	if n := int(s.VirtualSize); n < len(data) {
		data = data[:n]
	}
	return strings.ToValidUTF8(string(bytes.TrimRight(data, "\x00")), "?"), nil
}

// seekReader reads at offsets by seeking. It is of one goroutine.
type seekReader struct{ io.ReadSeeker }

// ReadAt implements io.ReaderAt.
func (s seekReader) ReadAt(p []byte, at int64) (int, error) {
	if _, err := s.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(s.ReadSeeker, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// storage is a window for the library of FAT.
type storage struct{ *window }

var _ backend.Storage = storage{}

// Stat implements fs.File.
func (s storage) Stat() (fs.FileInfo, error) { return info{s.size}, nil }

// Sys implements backend.Storage: there is no file, and the library asks for none to make FAT.
func (s storage) Sys() (*os.File, error) { return nil, backend.ErrNotSuitable }

// Path implements backend.Storage.
func (s storage) Path() string { return "" }

// Writable implements backend.Storage.
func (s storage) Writable() (backend.WritableFile, error) { return s, nil }

// info is what there is to know of a window.
type info struct{ size int64 }

func (i info) Name() string       { return "disk" }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return 0o600 }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return nil }
