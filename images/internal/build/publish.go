package build

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// publish copies a file of the cache to the image's files, whole or not at
// all, and not when it is there already.
func (b *builder) publish(name, source string) error {
	if same(b.out(name), source) {
		return nil
	}
	in, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	defer in.Close()
	return b.write(name, func(f *os.File) error {
		_, err := io.Copy(f, in)
		return err
	})
}

// write makes a file among the image's files, whole or not at all.
func (b *builder) write(name string, fill func(*os.File) error) error {
	f, err := os.CreateTemp(b.out(""), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := fill(f); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := f.Chmod(0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(f.Name(), b.out(name))
}

// publishDir makes the directory name among the image's files a copy of a
// directory of the cache. Files are hard links where that is possible. The
// copy names its source in .source, and is left alone when that is the same.
func (b *builder) publishDir(name, source string) error {
	dst, mark := b.out(name), filepath.Join(b.out(name), ".source")
	id := filepath.Join(filepath.Base(filepath.Dir(source)), filepath.Base(source)) // a step result's key is in it
	if old, err := os.ReadFile(mark); err == nil && string(old) == id {
		return nil
	}
	tmp, err := os.MkdirTemp(b.out(""), ".new-*")
	if err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	defer os.RemoveAll(tmp)
	if err := linkTree(tmp, source); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(tmp, ".source"), []byte(id), 0o644); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	if err := errors.Join(os.Chmod(tmp, 0o755), os.RemoveAll(dst)); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	return os.Rename(tmp, dst)
}

func linkTree(dst, source string) error {
	return filepath.WalkDir(source, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, p)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		if os.Link(p, to) == nil {
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	})
}
