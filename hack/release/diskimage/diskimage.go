// Package diskimage signs the disk image that the image builder has published: a node that starts from it for the first time can seal its disk then.
package diskimage

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/internal/release"
)

// File is the name of the disk image in the builder's folder.
const File = "disk.raw"

// Sign writes a copy of a folder's disk image whose kernel image is signed. It is sparse, as the original is, and whole or not there.
func Sign(path, dir string, key *ecdsa.PrivateKey) error {
	built, err := os.ReadFile(filepath.Join(dir, release.Kernel))
	if err != nil {
		return fmt.Errorf("sign disk image: %w", err)
	}
	signed, err := bundle.SignKernel(built, key)
	if err != nil {
		return fmt.Errorf("sign disk image: %w", err)
	}
	in, err := os.Open(filepath.Join(dir, File))
	if err != nil {
		return fmt.Errorf("sign disk image: %w", err)
	}
	defer in.Close()
	at, err := Find(in, built)
	if err != nil {
		return fmt.Errorf("sign disk image %s: %w", in.Name(), err)
	}
	out, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("sign disk image: %w", err)
	}
	defer os.Remove(out.Name())
	defer out.Close()
	if err := copySparse(out, in); err != nil {
		return fmt.Errorf("sign disk image: %w", err)
	}
	// No header of the kernel image has changed, nor its size: it lies where the file system has it.
	if _, err := out.WriteAt(signed, at); err != nil {
		return fmt.Errorf("sign disk image: %w", err)
	}
	if err := errors.Join(out.Chmod(0o644), out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("sign disk image: %w", err)
	}
	return os.Rename(out.Name(), path)
}

const (
	// sectorBytes is what files in the boot partition begin at a multiple of.
	sectorBytes = 512
	// searchBytes is how far into a disk its boot partition reaches, which is the first.
	searchBytes = 1 << 30
	chunkBytes  = 1 << 20
)

// ErrAbsent says that an image does not lie on a disk in one piece.
var ErrAbsent = errors.New("the kernel image beside it is not on it: it is of another build")

// Find returns where on a disk a kernel image lies. The builder fills the boot partition once, file after file, so each is in one piece.
func Find(disk io.ReaderAt, kernel []byte) (int64, error) {
	if len(kernel) < sectorBytes {
		return 0, fmt.Errorf("find kernel image: it has %d bytes", len(kernel))
	}
	chunk := make([]byte, chunkBytes)
	for base := int64(0); base < searchBytes; base += chunkBytes {
		n, err := disk.ReadAt(chunk, base)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for i := 0; i+sectorBytes <= n; i += sectorBytes {
			if !bytes.Equal(chunk[i:i+sectorBytes], kernel[:sectorBytes]) {
				continue
			}
			if same, err := holds(disk, base+int64(i), kernel); same || err != nil {
				return base + int64(i), err
			}
		}
		if n < len(chunk) {
			break
		}
	}
	return 0, ErrAbsent
}

// holds tells whether a disk has the data at a place.
func holds(disk io.ReaderAt, at int64, data []byte) (bool, error) {
	got := make([]byte, len(data))
	if _, err := disk.ReadAt(got, at); errors.Is(err, io.EOF) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return bytes.Equal(got, data), nil
}

// copySparse copies what is not zero.
func copySparse(out, in *os.File) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	chunk := make([]byte, chunkBytes)
	for at := int64(0); at < info.Size(); at += chunkBytes {
		n, err := in.ReadAt(chunk, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(bytes.Trim(chunk[:n], "\x00")) == 0 {
			continue
		}
		if _, err := out.WriteAt(chunk[:n], at); err != nil {
			return err
		}
	}
	return nil
}
