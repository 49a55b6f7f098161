package tree

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/cyvive/cyvive/images/internal/deb"
)

// mergedDirs are the directories that Debian merged into /usr; packages may
// still name files by the old path.
var mergedDirs = [...]string{"/bin", "/sbin", "/lib", "/lib64"}

// Merged returns name with a merged directory replaced by its place in /usr.
func Merged(name string) string {
	name = Clean(name)
	for _, d := range mergedDirs {
		if name == d || strings.HasPrefix(name, d+"/") {
			return "/usr" + name
		}
	}
	return name
}

// AddDeb adds those entries of the package file at source for whose merged
// path keep returns true.
func (t *Tree) AddDeb(source string, keep func(name string) bool) error {
	f, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("open package: %w", err)
	}
	defer f.Close()
	err = deb.Walk(f, func(h *tar.Header, r io.Reader) error {
		name := Merged(h.Name)
		if name == "/" || !keep(name) {
			return nil
		}
		return t.addHeader(name, h, r)
	})
	if err != nil {
		return fmt.Errorf("unpack %s: %w", source, err)
	}
	return nil
}

func (t *Tree) addHeader(name string, h *tar.Header, r io.Reader) error {
	e := &Entry{Mode: h.FileInfo().Mode() &^ fs.ModeType, UID: h.Uid, GID: h.Gid}
	switch h.Typeflag {
	case tar.TypeDir:
		if t.entries[name] != nil {
			return nil
		}
		e.Kind = Dir
	case tar.TypeReg:
		b, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		e.Kind, e.Data = File, b
	case tar.TypeSymlink:
		e.Kind, e.Target = Symlink, h.Linkname
	case tar.TypeLink:
		e.Kind, e.Target = Link, Merged(h.Linkname)
	default:
		return fmt.Errorf("add %s: entries of type %q are not supported", name, h.Typeflag)
	}
	t.Put(path.Clean(name), e)
	return nil
}
