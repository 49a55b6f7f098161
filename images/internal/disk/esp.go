package disk

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
)

// WriteESP makes f a FAT32 file system of size bytes with the files, whose
// keys are absolute paths. File times are those of $SOURCE_DATE_EPOCH, which
// the caller sets: the library takes them from there.
func WriteESP(f *os.File, size int64, label string, files map[string][]byte) error {
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("size boot partition: %w", err)
	}
	fs, err := fat32.Create(file.New(f, false), size, 0, sectorBytes, label, true)
	if err != nil {
		return fmt.Errorf("make FAT32: %w", err)
	}
	if err := fs.SetLabel(label); err != nil {
		return fmt.Errorf("label FAT32: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := fs.Mkdir(path.Dir(name)); err != nil {
			return fmt.Errorf("make directory of %s: %w", name, err)
		}
		out, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		if _, err := out.Write(files[name]); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := out.Close(); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// ReadESP returns one file of the FAT32 file system in f.
func ReadESP(f *os.File, size, start int64, name string) ([]byte, error) {
	fs, err := fat32.Read(file.New(f, true), size, start, sectorBytes)
	if err != nil {
		return nil, fmt.Errorf("read FAT32: %w", err)
	}
	in, err := fs.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer in.Close()
	return io.ReadAll(in)
}
