package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSumTree: what differs in any way that counts has another sum, and times do not count.
func TestSumTree(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tree := func(change func(dir string) error) []byte {
		t.Helper()
		dir := t.TempDir()
		must(os.MkdirAll(filepath.Join(dir, "a/b"), 0o755))
		must(os.WriteFile(filepath.Join(dir, "a/b/file"), []byte("contents"), 0o644))
		must(os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600))
		must(os.Symlink("../../elsewhere", filepath.Join(dir, "a/link")))
		if change != nil {
			must(change(dir))
		}
		sum, err := sumTree(t.Context(), dir)
		must(err)
		return sum
	}
	want := tree(nil)
	if got := tree(func(dir string) error {
		return os.Chtimes(filepath.Join(dir, "a/b/file"), time.Unix(1, 0), time.Unix(2, 0))
	}); !bytes.Equal(got, want) || len(want) != 32 {
		t.Errorf("with another time: %x, want %x", got, want)
	}
	for what, change := range map[string]func(dir string) error{
		"contents": func(dir string) error { return os.WriteFile(filepath.Join(dir, "a/b/file"), []byte("Contents"), 0o644) },
		"length": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "a/b/file"), []byte("contents\n"), 0o644)
		},
		"another file": func(dir string) error { return os.WriteFile(filepath.Join(dir, "more"), nil, 0o600) },
		"mode":         func(dir string) error { return os.Chmod(filepath.Join(dir, "empty"), 0o700) },
		"name":         func(dir string) error { return os.Rename(filepath.Join(dir, "empty"), filepath.Join(dir, "Empty")) },
		"empty folder": func(dir string) error { return os.Mkdir(filepath.Join(dir, "folder"), 0o755) },
		"where it goes": func(dir string) error {
			link := filepath.Join(dir, "a/link")
			return errors.Join(os.Remove(link), os.Symlink("../elsewhere", link))
		},
		"a copy for a link": func(dir string) error {
			link := filepath.Join(dir, "a/link")
			return errors.Join(os.Remove(link), os.WriteFile(link, []byte("../../elsewhere"), 0o777))
		},
	} {
		if got := tree(change); bytes.Equal(got, want) {
			t.Errorf("%s: the same sum", what)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sumTree(ended, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}
