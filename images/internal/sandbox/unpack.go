package sandbox

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

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
	for _, p := range packages {
		g.Go(func() error { return unpackOne(dir, p) })
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

func unpackOne(dir, source string) error {
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
		return writeEntry(dir, filepath.Join(dir, name), h, r)
	})
	if err != nil {
		return fmt.Errorf("unpack %s: %w", source, err)
	}
	return nil
}

// writeEntry makes one entry. Names were cleaned by tree.Merged, and links
// are never followed on the way: packages come from the signed archive, and
// each path component that a link could redirect was unpacked from it too.
func writeEntry(dir, name string, h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		return os.MkdirAll(name, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
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
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return os.Link(filepath.Join(dir, tree.Merged(h.Linkname)), name)
	}
	return fmt.Errorf("%s: entries of type %q are not supported", h.Name, h.Typeflag)
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
