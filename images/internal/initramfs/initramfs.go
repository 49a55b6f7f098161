// Package initramfs writes file trees as the kernel's initial RAM disk: a cpio
// archive of the "newc" form (Documentation/driver-api/early-userspace/
// buffer-format.rst of the kernel).
package initramfs

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cyvive/cyvive/images/internal/tree"
)

// File types of the mode field, as in stat(2).
const (
	typeDir     = 0o040000
	typeFile    = 0o100000
	typeSymlink = 0o120000
	typeChar    = 0o020000
)

// trailer is the name of the entry that ends an archive.
const trailer = "TRAILER!!!"

type writer struct {
	out *bufio.Writer
	n   int64  // bytes written
	ino uint32 // of the last entry
	at  uint32
}

// Write writes t to w, without compression: the kernel reads microcode before it can
// decompress anything. Every file carries the time at. With /dev comes /dev/console:
// without it the first program has no standard output.
func Write(w io.Writer, t *tree.Tree, at time.Time) error {
	c := &writer{out: bufio.NewWriter(w), at: uint32(at.Unix())}
	for _, name := range t.Paths() {
		if name == "/" {
			continue
		}
		if err := c.entry(name, t.Get(name)); err != nil {
			return fmt.Errorf("write %s to initramfs: %w", name, err)
		}
	}
	if t.Get("/dev") != nil {
		c.header("dev/console", typeChar|0o600, 0, 5, 1)
	}
	c.header(trailer, 0, 0, 0, 0)
	if err := c.out.Flush(); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	return nil
}

func (c *writer) entry(name string, e *tree.Entry) error {
	name = strings.TrimPrefix(name, "/")
	mode := uint32(e.Mode.Perm())
	switch e.Kind {
	case tree.Dir:
		c.header(name, typeDir|mode, 0, 0, 0)
	case tree.Symlink:
		c.header(name, typeSymlink|mode, len(e.Target), 0, 0)
		c.body([]byte(e.Target))
	case tree.File:
		b, err := e.Content()
		if err != nil {
			return err
		}
		c.header(name, typeFile|mode, len(b), 0, 0)
		c.body(b)
	default:
		return fmt.Errorf("a %v cannot be in an initramfs", e.Kind)
	}
	return nil
}

// header writes one entry's header and name. Errors stay in the buffered
// writer until it is flushed.
func (c *writer) header(name string, mode uint32, size int, major, minor uint32) {
	c.ino++
	n, _ := fmt.Fprintf(c.out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.ino, mode, 0, 0, 1, c.at, size, 0, 0, major, minor, len(name)+1, 0, name)
	c.n += int64(n)
	c.pad()
}

func (c *writer) body(b []byte) {
	n, _ := c.out.Write(b)
	c.n += int64(n)
	c.pad()
}

// pad fills up to the next multiple of four bytes.
func (c *writer) pad() {
	for c.n%4 != 0 {
		c.out.WriteByte(0)
		c.n++
	}
}
