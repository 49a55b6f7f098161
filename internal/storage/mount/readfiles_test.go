package mount

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReadBelow: files of a volume that somebody else has made are read as far as they are files, and nothing of it is waited for.
func TestReadBelow(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "file", "out": "../" + filepath.Base(dir) + "/file"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		data []byte
		err  error
	}
	for name, want := range map[string]string{"file": "", "link": "", "folder": "it is no file", "fifo": "it is no file", "out": "cross-device", "none": "no such file"} {
		answers := make(chan answer, 1)
		go func() {
			data, err := readBelow(root, name, 100)
			answers <- answer{data, err}
		}()
		select {
		case got := <-answers:
			if want == "" && (got.err != nil || string(got.data) != "content") || want != "" && (got.err == nil || !strings.Contains(got.err.Error(), want)) {
				t.Errorf("%s: %q, %v", name, got.data, got.err)
			}
			if name == "none" && !errors.Is(got.err, unix.ENOENT) {
				t.Errorf("%s: %v", name, got.err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s is waited for", name)
		}
	}
	if _, err := readBelow(root, "file", 3); err == nil || !strings.Contains(err.Error(), "larger than 3 bytes") {
		t.Errorf("a file that is too large: %v", err)
	}
	if err := unix.Close(root); err != nil {
		t.Error(err)
	}
}
