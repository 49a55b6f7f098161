package kernel

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cyvive/cyvive/images/internal/deb"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// Unpack reads the kernel image and the modules of release from the package
// file at source.
func Unpack(source, release string) (vmlinuz []byte, set *Set, err error) {
	f, err := os.Open(source)
	if err != nil {
		return nil, nil, fmt.Errorf("open kernel package: %w", err)
	}
	defer f.Close()
	set = &Set{Release: release, Modules: map[string][]byte{}}
	base := "/usr/lib/modules/" + release + "/"
	err = deb.Walk(f, func(h *tar.Header, r io.Reader) error {
		if h.Typeflag != tar.TypeReg {
			return nil
		}
		name := tree.Merged(h.Name)
		if name == "/boot/vmlinuz-"+release {
			vmlinuz, err = io.ReadAll(r)
			return err
		}
		if rel, ok := strings.CutPrefix(name, base); ok {
			return set.addFile(rel, r)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("unpack kernel: %w", err)
	}
	if vmlinuz == nil || len(set.Modules) == 0 {
		return nil, nil, fmt.Errorf("unpack kernel: %s holds no kernel %s", source, release)
	}
	return vmlinuz, set, nil
}

func (s *Set) addFile(rel string, r io.Reader) error {
	plain, err := deb.Decompress(rel, r)
	if err != nil {
		return err
	}
	defer plain.Close()
	b, err := io.ReadAll(plain)
	if err != nil {
		return fmt.Errorf("read %s: %w", rel, err)
	}
	switch rel = strings.TrimSuffix(rel, ".xz"); {
	case strings.HasSuffix(rel, ".ko"):
		s.Modules[rel] = b
	case rel == "modules.builtin":
		s.Builtin = b
	case rel == "modules.builtin.modinfo":
		s.BuiltinInfo = b
	case rel == "modules.order":
		s.Order = bytes.ReplaceAll(b, []byte(".ko.xz\n"), []byte(".ko\n"))
	}
	return nil
}

// Save writes the set, with its indexes, to dir.
func (s *Set) Save(dir string) error {
	files, err := s.Indexes()
	if err != nil {
		return err
	}
	for _, m := range []map[string][]byte{files, s.Modules} {
		for name, b := range m {
			p := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				return fmt.Errorf("save modules: %w", err)
			}
			if err := os.WriteFile(p, b, 0o644); err != nil {
				return fmt.Errorf("save modules: %w", err)
			}
		}
	}
	return nil
}

// Open reads a set that Save wrote. Its modules are read into memory.
func Open(dir, release string) (*Set, error) {
	s := &Set{Release: release, Modules: map[string][]byte{}}
	if err := s.AddModules(dir, "."); err != nil {
		return nil, err
	}
	for name, to := range map[string]*[]byte{
		"modules.builtin": &s.Builtin, "modules.builtin.modinfo": &s.BuiltinInfo, "modules.order": &s.Order,
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("open modules: %w", err)
		}
		*to = b
	}
	return s, nil
}

// AddModules adds the modules below dir to the set, below the path at.
func (s *Set) AddModules(dir, at string) error {
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(p, ".ko") {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		s.Modules[filepath.ToSlash(filepath.Join(at, rel))] = b
		return nil
	})
	if err != nil {
		return fmt.Errorf("add modules: %w", err)
	}
	return nil
}
