// Package media makes installation media of what the image builder has published: one program that a machine without a node starts, and which brings the
// whole release in memory.
//
//	firmware ─┬─ CD, USB stick ── EFI/BOOT/BOOTX64.EFI ─┐
//	          ├─ PXE ──────────── by TFTP ──────────────┼─▶ the program: stub, kernel, initramfs with a disk in it
//	          └─ HTTP boot ────── by its URL ───────────┘
//
// The program is the unified kernel image of the release with a larger initramfs. Behind the builder's own lies a second archive with one file, a disk: the
// boot partition of a disk that was signed, the root and its hash tree ([medium.Path]). The root is checked against the root hash of the command line as it is
// on any disk. Nothing has to be found on the medium once firmware has loaded the program, so it does not matter what that was, nor whether the kernel has a
// driver for it.
//
// It is signed for firmware, and not for TPMs: no disk that is sealed opens under it.
//
// The other file is a volume that is a CD and a disk at once: see writeISO.
package media

import (
	"bytes"
	"debug/pe"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cyvive/cyvive/hack/release/diskimage"
	"github.com/cyvive/cyvive/internal/release"
	"github.com/cyvive/cyvive/internal/storage/loader"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// Options are what a medium is made of.
type Options struct {
	// Dir is the builder's folder. Disk is a disk image of the same build that was signed (package diskimage): what is on its boot partition gets onto the
	// disks that are installed.
	Dir, Disk string
	// SecureBoot signs the program for firmware. Without it, machines with Secure Boot do not start it.
	SecureBoot *secureboot.Signer
}

// ErrOtherBuild says that a disk image is of another build than the builder's folder.
var ErrOtherBuild = errors.New("the disk image is of another build")

// programNames are those by which firmware finds a program on a medium, by the machine it is for (UEFI 2.10, 3.5.1.1).
var programNames = map[uint16]string{pe.IMAGE_FILE_MACHINE_AMD64: "BOOTX64.EFI", pe.IMAGE_FILE_MACHINE_ARM64: "BOOTAA64.EFI"}

// Write makes the program and the volume with it, each whole or not at all. The same input gives the same bytes.
func Write(program, volume string, o Options) error {
	hash, err := rootHash(o.Dir)
	if err != nil {
		return fmt.Errorf("make installation medium: %w", err)
	}
	boot, err := diskimage.ReadBoot(o.Disk)
	if err == nil {
		err = holds(boot, hash)
	}
	if err != nil {
		return fmt.Errorf("make installation medium: %w", err)
	}
	image, err := o.image(filepath.Dir(program), boot, hash)
	if err != nil {
		return fmt.Errorf("make installation medium: %w", err)
	}
	err = whole(program, func(f *os.File) error {
		_, err := f.Write(image)
		return err
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", program, err)
	}
	if err := whole(volume, func(f *os.File) error { return writeISO(f, image, hash, boot.Written) }); err != nil {
		return fmt.Errorf("write %s: %w", volume, err)
	}
	return nil
}

func rootHash(dir string) (hash [32]byte, err error) {
	path := filepath.Join(dir, "roothash")
	text, err := os.ReadFile(path)
	if err != nil {
		return hash, err
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != len(hash) {
		return hash, fmt.Errorf("read %s: %q is not 64 hexadecimal digits", path, text)
	}
	return [32]byte(raw), nil
}

// kernelPath is the kernel image on a boot partition.
func kernelPath() string { return "/" + loader.KernelPath("a") }

// holds says whether a boot partition has the kernel image for a root.
func holds(boot diskimage.Boot, hash [32]byte) error {
	for name, content := range boot.Files {
		if !strings.EqualFold(name, kernelPath()) {
			continue
		}
		line, err := commandLine(content)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if want := fmt.Sprintf("roothash=%x", hash); !strings.Contains(" "+line+" ", " "+want+" ") {
			return fmt.Errorf("%w: its %s has the command line %q, want one with %s", ErrOtherBuild, name, line, want)
		}
		return nil
	}
	return fmt.Errorf("%w: it has no %s", ErrOtherBuild, kernelPath())
}

// image makes the program. Work is a folder for what is made on the way.
func (o Options) image(work string, boot diskimage.Boot, hash [32]byte) ([]byte, error) {
	initramfs, err := o.initramfs(work, boot, hash)
	if err != nil {
		return nil, err
	}
	built, err := os.ReadFile(filepath.Join(o.Dir, release.Kernel))
	if err != nil {
		return nil, err
	}
	image, err := withInitramfs(built, initramfs)
	if err != nil || o.SecureBoot == nil {
		return image, err
	}
	return o.SecureBoot.SignProgram(image)
}

// commandLine is that of a kernel image.
func commandLine(image []byte) (string, error) {
	f, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		return "", fmt.Errorf("read kernel image: %w", err)
	}
	s := f.Section(".cmdline")
	if s == nil {
		return "", errors.New("read kernel image: it has no section .cmdline")
	}
	data, err := s.Data()
	if err != nil {
		return "", fmt.Errorf("read command line: %w", err)
	}
	return strings.TrimSpace(strings.TrimRight(string(data), "\x00")), nil
}

// whole makes a file, or none.
func whole(path string, fill func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := fill(f); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// writeISO makes the volume with a program.
func writeISO(f *os.File, image []byte, hash [32]byte, written time.Time) error {
	parsed, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		return fmt.Errorf("read kernel image: %w", err)
	}
	name, known := programNames[parsed.Machine]
	if !known {
		return fmt.Errorf("the kernel image is for machine %#x, which is neither amd64 nor arm64", parsed.Machine)
	}
	boot := diskimage.Boot{Files: map[string][]byte{"/EFI/BOOT/" + name: image}, Written: written}
	return isoVolume{boot: boot, hash: hash}.write(f)
}
