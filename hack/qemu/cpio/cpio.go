// Package cpio writes the archives that a kernel takes as its initramfs.
package cpio

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Archive writes a cpio archive in the "newc" format, the one that the kernel
// unpacks (Documentation/driver-api/early-userspace/buffer-format.rst). Files
// belong to root; parent folders are made as they are needed. It is for one
// goroutine.
type Archive struct {
	w     io.Writer
	inode int
	made  map[string]bool
}

// New returns an archive that is written to w; Close ends it.
func New(w io.Writer) *Archive { return &Archive{w: w, made: map[string]bool{"/": true}} }

// maxFileBytes is what eight hexadecimal digits can say.
const maxFileBytes = 1<<32 - 1

// File types of the mode field (inode(7)).
const (
	typeFolder  = 0o040000
	typeRegular = 0o100000
)

// Add writes a regular file.
func (a *Archive) Add(name string, mode fs.FileMode, data []byte) error {
	if err := a.Folder(path.Dir(name)); err != nil {
		return err
	}
	return a.entry(name, typeRegular|int(mode.Perm()), data)
}

// AddFile copies a file of the host.
func (a *Archive) AddFile(name, source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	return a.Add(name, info.Mode(), data)
}

// AddFrom writes a regular file of size bytes, which it reads. A reader that ends before is an error.
func (a *Archive) AddFrom(name string, mode fs.FileMode, from io.Reader, size int64) error {
	if err := a.Folder(path.Dir(name)); err != nil {
		return err
	}
	if size < 0 || size > maxFileBytes {
		return fmt.Errorf("add %s: it has %d bytes, the format has room for %d", name, size, int64(maxFileBytes))
	}
	if err := a.header(name, typeRegular|int(mode.Perm()), size); err != nil {
		return err
	}
	if _, err := io.CopyN(a.w, from, size); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	_, err := a.w.Write(make([]byte, -size&3))
	return err
}

// AddTree copies a folder of the host with all regular files in it.
func (a *Archive) AddTree(name, source string) error {
	if err := a.Folder(name); err != nil {
		return err
	}
	return filepath.WalkDir(source, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		relative, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		return a.AddFile(path.Join(name, filepath.ToSlash(relative)), file)
	})
}

// Folder makes a folder and its parents, each once.
func (a *Archive) Folder(name string) error {
	if a.made[name] {
		return nil
	}
	if err := a.Folder(path.Dir(name)); err != nil {
		return err
	}
	a.made[name] = true
	return a.entry(name, typeFolder|0o755, nil)
}

// Close writes the trailer, which the kernel takes for the end.
func (a *Archive) Close() error { return a.entry("/TRAILER!!!", 0, nil) }

func (a *Archive) entry(name string, mode int, data []byte) error {
	if err := a.header(name, mode, int64(len(data))); err != nil {
		return err
	}
	_, err := a.w.Write(pad(data))
	return err
}

// header writes what is in front of a file's content.
func (a *Archive) header(name string, mode int, size int64) error {
	a.inode++
	name = strings.TrimPrefix(name, "/")
	// magic, inode, mode, uid, gid, links, mtime, size, device and special
	// device (major and minor each), name's length with its zero, checksum.
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0)
	_, err := a.w.Write(pad([]byte(header + name + "\x00")))
	return err
}

// pad fills up to a multiple of four bytes.
func pad(data []byte) []byte {
	if rest := len(data) % 4; rest != 0 {
		data = append(data[:len(data):len(data)], make([]byte, 4-rest)...)
	}
	return data
}
