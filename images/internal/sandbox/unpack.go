package sandbox

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cyvive/cyvive/images/internal/deb"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// links are what maintainer scripts (update-alternatives, usrmerge) would make.
var links = map[string]string{
	"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
	"usr/bin/sh": "dash", "usr/bin/awk": "mawk", "usr/bin/cc": "gcc", "usr/bin/c99": "gcc",
}

// directories are the ones that mounts and programs need and no package has.
var directories = []string{
	"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "dev", "proc", "tmp", "etc", "root", "mnt",
}

// Unpack fills dir with the packages whose files are given, several at once:
// no two packages of the archive hold the same file.
func Unpack(dir string, packages []string) error {
	for _, d := range directories {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return fmt.Errorf("make tree: %w", err)
		}
	}
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	u := &unpacker{dir: dir}
	for _, p := range packages {
		g.Go(func() error { return u.unpack(p) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for name, target := range links {
		p := filepath.Join(dir, name)
		if _, err := os.Lstat(p); err == nil {
			continue
		}
		if err := os.Symlink(target, p); err != nil {
			return fmt.Errorf("make tree: %w", err)
		}
	}
	return nil
}

// unpacker unpacks packages into one directory; it is safe for concurrent use.
type unpacker struct {
	dir  string
	made sync.Map // directories that exist, to save the system calls
}

func (u *unpacker) mkdir(name string) error {
	if _, ok := u.made.Load(name); ok {
		return nil
	}
	if err := os.MkdirAll(name, 0o755); err != nil {
		return err
	}
	u.made.Store(name, true)
	return nil
}

func (u *unpacker) unpack(source string) error {
	f, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("open package: %w", err)
	}
	defer f.Close()
	err = deb.Walk(f, func(h *tar.Header, r io.Reader) error {
		name := tree.Merged(h.Name)
		if unused(name) {
			return nil
		}
		return u.entry(filepath.Join(u.dir, name), h, r)
	})
	if err != nil {
		return fmt.Errorf("unpack %s: %w", source, err)
	}
	return nil
}

// entry makes one entry. Names were cleaned by tree.Merged, and links are
// never followed on the way: packages come from the signed archive, and each
// path component that a link could redirect was unpacked from it too.
func (u *unpacker) entry(name string, h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		return u.mkdir(name)
	}
	if err := u.mkdir(filepath.Dir(name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return writeFile(name, h, r)
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return os.Link(filepath.Join(u.dir, tree.Merged(h.Linkname)), name)
	}
	return fmt.Errorf("%s: entries of type %q are not supported", h.Name, h.Typeflag)
}

func writeFile(name string, h *tar.Header, r io.Reader) error {
	mode := os.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// unused reports whether a path holds only text for people.
func unused(name string) bool {
	for _, d := range [...]string{"doc", "man", "locale", "info", "lintian", "bug"} {
		if strings.HasPrefix(name, "/usr/share/"+d+"/") {
			return true
		}
	}
	return false
}
