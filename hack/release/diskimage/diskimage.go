// Package diskimage signs the disk image that the image builder has published: a node that starts from it for the first time can seal its disk then, and
// firmware with Secure Boot starts it, or takes the keys from it by which it does.
package diskimage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// File is the name of the disk image in the builder's folder.
const File = "disk.raw"

// Options are what a disk image is signed with.
type Options struct {
	// Keys are those of releases; the one for the manifest is not used.
	Keys bundle.Keys
	// Variables are what a machine in setup mode is to enrol, and Enrol when its boot loader does that. Without variables it never does.
	Variables map[secureboot.Variable][]byte
	Enrol     Enrol
}

// Enrol says when the boot loader enrols the keys of Secure Boot in a machine that is in setup mode (loader.conf(5), secure-boot-enroll).
type Enrol string

// When keys are enrolled.
const (
	// EnrolIfSafe is in virtual machines, which have no firmware on cards that the keys could lock out.
	EnrolIfSafe Enrol = "if-safe"
	// EnrolForce is in all machines, after a pause of fifteen seconds in which a key stops it.
	EnrolForce Enrol = "force"
	// EnrolOff is never.
	EnrolOff Enrol = "off"
)

// ParseEnrol reads the word of a command line.
func ParseEnrol(word string) (Enrol, error) {
	switch e := Enrol(word); e {
	case EnrolIfSafe, EnrolForce, EnrolOff:
		return e, nil
	}
	return "", fmt.Errorf("enrol keys %q: want %s, %s or %s", word, EnrolIfSafe, EnrolForce, EnrolOff)
}

// Sign writes a copy of a folder's disk image whose boot partition is signed. It is sparse, as the original is, and whole or not there. The same input gives
// the same bytes.
func Sign(path, dir string, o Options) error {
	in, err := os.Open(filepath.Join(dir, File))
	if err != nil {
		return fmt.Errorf("sign disk image: %w", err)
	}
	defer in.Close()
	esp, err := findESP(in)
	if err != nil {
		return fmt.Errorf("sign disk image %s: %w", in.Name(), err)
	}
	files, err := readFiles(in, esp)
	if err != nil {
		return fmt.Errorf("sign disk image %s: %w", in.Name(), err)
	}
	if err := files.sign(dir, o); err != nil {
		return fmt.Errorf("sign disk image %s: %w", in.Name(), err)
	}
	out, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("sign disk image: %w", err)
	}
	defer os.Remove(out.Name())
	defer out.Close()
	if err := copySparse(out, in, esp); err != nil {
		return fmt.Errorf("sign disk image: %w", err)
	}
	if err := files.write(out, esp); err != nil {
		return fmt.Errorf("sign disk image: %w", err)
	}
	if err := errors.Join(out.Chmod(0o644), out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("sign disk image: %w", err)
	}
	return os.Rename(out.Name(), path)
}

const (
	sectorBytes = 512
	chunkBytes  = 1 << 20
	// typeESP is the type of the boot partition (UEFI 2.10, 5.3.3).
	typeESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
)

// span is a part of a disk, in bytes.
type span struct{ start, size int64 }

// findESP finds the boot partition.
func findESP(disk *os.File) (span, error) {
	table, err := gpt.Read(file.New(disk, true), sectorBytes, sectorBytes)
	if err != nil {
		return span{}, fmt.Errorf("read partition table: %w", err)
	}
	for _, p := range table.Partitions {
		if p.Type == typeESP {
			return span{p.GetStart(), p.GetSize()}, nil
		}
	}
	return span{}, errors.New("it has no EFI system partition")
}

// copySparse copies what is not zero, and nothing of one part.
func copySparse(out, in *os.File, without span) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	for _, part := range []span{{0, without.start}, {without.start + without.size, info.Size() - without.start - without.size}} {
		if err := copyPart(out, in, part); err != nil {
			return err
		}
	}
	return nil
}

func copyPart(out, in *os.File, part span) error {
	chunk := make([]byte, chunkBytes)
	for at := part.start; at < part.start+part.size; at += chunkBytes {
		n, err := in.ReadAt(chunk[:min(chunkBytes, part.start+part.size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if isZero(chunk[:n]) {
			continue
		}
		if _, err := out.WriteAt(chunk[:n], at); err != nil {
			return err
		}
	}
	return nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
