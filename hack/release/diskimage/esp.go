package diskimage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/internal/release"
)

// ErrAbsent says that an image does not lie on a disk.
var ErrAbsent = errors.New("the kernel image beside it is not on it: it is of another build")

const (
	loaderConf = "/loader/loader.conf"
	// keysDir is where the boot loader looks for variables, by the name of the set that it enrols by itself (src/boot/boot.c of systemd 257.13,
	// secure_boot_discover_keys).
	keysDir  = "/loader/keys/auto/"
	espLabel = "ESP"
)

// Boot is a boot partition.
type Boot struct {
	// Files are all that are on it, by their whole names.
	Files map[string][]byte
	// Written is when the builder says that they were.
	Written time.Time
}

// ReadBoot reads the boot partition of a disk image.
func ReadBoot(path string) (Boot, error) {
	disk, err := os.Open(path)
	if err != nil {
		return Boot{}, err
	}
	defer disk.Close()
	esp, err := findESP(disk)
	if err != nil {
		return Boot{}, fmt.Errorf("%s: %w", path, err)
	}
	f, err := readFiles(disk, esp)
	if err != nil {
		return Boot{}, fmt.Errorf("%s: %w", path, err)
	}
	return Boot{Files: f.content, Written: f.written}, nil
}

// Write makes the partition in a part of a disk that holds zeros. Twice the same gives the same bytes.
func (b Boot) Write(disk *os.File, startBytes, sizeBytes int64) error {
	return files{content: b.Files, written: b.Written}.write(disk, span{startBytes, sizeBytes})
}

// files are those of a boot partition, by their whole names.
type files struct {
	content map[string][]byte
	// written is when the builder says that they were.
	written time.Time
}

// readFiles reads all of a boot partition.
func readFiles(disk *os.File, esp span) (files, error) {
	volume, err := fat32.Read(file.New(disk, true), esp.size, esp.start, sectorBytes)
	if err != nil {
		return files{}, fmt.Errorf("read boot partition: %w", err)
	}
	f := files{content: map[string][]byte{}}
	if err := f.read(volume, "."); err != nil {
		return files{}, err
	}
	return f, nil
}

func (f *files) read(volume *fat32.FileSystem, dir string) error {
	entries, err := volume.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read boot partition: %s: %w", dir, err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.Name() == "." || e.Name() == ".." {
			continue
		}
		if e.IsDir() {
			if err := f.read(volume, name); err != nil {
				return err
			}
			continue
		}
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("read boot partition: %s: %w", name, err)
		}
		if info.ModTime().After(f.written) {
			f.written = info.ModTime()
		}
		if f.content["/"+name], err = readFile(volume, name, info.Size()); err != nil {
			return fmt.Errorf("read boot partition: %s: %w", name, err)
		}
	}
	return nil
}

// readFile reads a file at once: from within a cluster on, the library reads more than there is.
func readFile(volume *fat32.FileSystem, name string, size int64) ([]byte, error) {
	in, err := volume.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	content := make([]byte, size)
	n, err := in.Read(content)
	if int64(n) != size || err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%d bytes of %d: %w", n, size, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return content, nil
}

// sign signs the kernel image that lies beside the disk image, wherever it is on the boot partition, and all other EFI programs there, and puts in what
// firmware is to enrol.
func (f files) sign(dir string, o Options) error {
	built, err := os.ReadFile(filepath.Join(dir, release.Kernel))
	if err != nil {
		return err
	}
	kernel, err := bundle.SignKernel(built, o.Keys)
	if err != nil {
		return err
	}
	found := false
	for name, content := range f.content {
		switch {
		case bytes.Equal(content, built):
			f.content[name], found = kernel, true
		case o.Keys.SecureBoot != nil && strings.EqualFold(path.Ext(name), ".efi"):
			if f.content[name], err = o.Keys.SecureBoot.SignProgram(content); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if !found {
		return ErrAbsent
	}
	if len(o.Variables) == 0 || o.Enrol == EnrolOff {
		return nil
	}
	name := f.find(loaderConf)
	conf, ok := f.content[name]
	if !ok || bytes.Contains(conf, []byte("secure-boot-enroll")) {
		return fmt.Errorf("%s: want one that does not say when to enrol keys: %q", name, conf)
	}
	f.content[name] = fmt.Appendf(bytes.Clone(conf), "secure-boot-enroll %s\n", o.Enrol)
	for v, data := range o.Variables {
		f.content[keysDir+string(v)+".auth"] = data
	}
	return nil
}

// find returns the name of a file as it is written there: FAT does not tell cases apart.
func (f files) find(want string) string {
	for name := range f.content {
		if strings.EqualFold(name, want) {
			return name
		}
	}
	return want
}

// write makes the boot partition anew. Its place on the disk holds zeros.
func (f files) write(disk *os.File, esp span) error {
	// The FAT library takes file times from the environment only.
	if err := os.Setenv("SOURCE_DATE_EPOCH", strconv.FormatInt(f.written.Unix(), 10)); err != nil {
		return err
	}
	volume, err := fat32.Create(file.New(disk, false), esp.size, esp.start, sectorBytes, espLabel, true)
	if err != nil {
		return fmt.Errorf("make boot partition: %w", err)
	}
	if err := volume.SetLabel(espLabel); err != nil {
		return fmt.Errorf("make boot partition: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(f.content)) {
		if err := writeFile(volume, name, f.content[name]); err != nil {
			return fmt.Errorf("make boot partition: %s: %w", name, err)
		}
	}
	return nil
}

func writeFile(volume *fat32.FileSystem, name string, content []byte) error {
	if err := volume.Mkdir(path.Dir(name)); err != nil {
		return err
	}
	out, err := volume.OpenFile(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	if _, err := out.Write(content); err != nil {
		return err
	}
	return out.Close()
}
