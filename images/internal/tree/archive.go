package tree

import (
	"archive/tar"
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// WriteTar writes the tree as a tar archive, sorted, every entry with the
// time at. Hard links come behind all files, so that their targets exist.
func (t *Tree) WriteTar(w io.Writer, at time.Time) error {
	out := tar.NewWriter(w)
	for _, links := range []bool{false, true} {
		for _, name := range t.Paths() {
			e := t.entries[name]
			if (e.Kind == Link) != links {
				continue
			}
			if err := writeTarEntry(out, name, e, at); err != nil {
				return fmt.Errorf("write %s to archive: %w", name, err)
			}
		}
	}
	return out.Close()
}

func writeTarEntry(out *tar.Writer, name string, e *Entry, at time.Time) error {
	h := &tar.Header{
		Name: strings.TrimPrefix(name, "/"), ModTime: at, Format: tar.FormatPAX,
		Mode: int64(e.Mode.Perm()), Uid: e.UID, Gid: e.GID,
	}
	switch e.Kind {
	case Dir:
		h.Typeflag, h.Name = tar.TypeDir, "./"+h.Name
		if name != "/" {
			h.Name = strings.TrimPrefix(name, "/") + "/"
		}
	case Symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Target
	case Link:
		h.Typeflag, h.Linkname = tar.TypeLink, strings.TrimPrefix(e.Target, "/")
	case File:
		h.Typeflag = tar.TypeReg
		b, err := e.Content()
		if err != nil {
			return err
		}
		h.Size = int64(len(b))
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		_, err = out.Write(b)
		return err
	}
	return out.WriteHeader(h)
}

// WriteList writes one line for every path: kind, mode, owner, group, size in
// bytes, path, the target of links, and what a file's content begins like
// ("elf", "script" or "data"), separated by tabs.
func (t *Tree) WriteList(w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, name := range t.Paths() {
		e := t.entries[name]
		of := e // the file that a hard link is another name of
		if e.Kind == Link && t.entries[e.Target] != nil {
			of = t.entries[e.Target]
		}
		size, err := of.Size()
		if err != nil {
			return fmt.Errorf("list %s: %w", name, err)
		}
		content, err := of.beginning()
		if err != nil {
			return fmt.Errorf("list %s: %w", name, err)
		}
		fmt.Fprintf(out, "%s\t%04o\t%d\t%d\t%d\t%s\t%s\t%s\n",
			e.Kind, of.Mode.Perm(), of.UID, of.GID, size, name, e.Target, content)
	}
	return out.Flush()
}

// beginning says what a File's content begins like, and "" for other kinds.
func (e *Entry) beginning() (string, error) {
	if e.Kind != File {
		return "", nil
	}
	head := e.Data
	if e.Source != "" {
		f, err := os.Open(e.Source)
		if err != nil {
			return "", err
		}
		defer f.Close()
		head = make([]byte, 4)
		n, err := io.ReadFull(f, head)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return "", err
		}
		head = head[:n]
	}
	switch {
	case IsELF(head):
		return "elf", nil
	case bytes.HasPrefix(head, []byte("#!")):
		return "script", nil
	}
	return "data", nil
}
