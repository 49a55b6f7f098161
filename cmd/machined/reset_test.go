package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/boot/marker"
	"github.com/cyvive/cyvive/internal/storage/notes"
)

// TestNoteOfReset: the note is on the disk, beside what else is there, and gone when it is cleared.
func TestNoteOfReset(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	content := bytes.Repeat([]byte{0xA5}, 2<<20)
	clear(content[notes.Begin : notes.Begin+notes.Bytes])
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	n := note{device: path}
	if got, err := n.read(); got != nil || err != nil {
		t.Errorf("nothing: %q, %v", got, err)
	}
	if err := n.write([]byte("wipe")); err != nil {
		t.Fatal(err)
	}
	if got, err := n.read(); string(got) != "wipe" || err != nil {
		t.Errorf("written: %q, %v", got, err)
	}
	if err := n.clear(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the disk is another one afterwards: %v", err)
	}
	if err := n.write([]byte("wipe")); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte("wipe"))
	data[at] = 'W'
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := n.read(); got != nil || err != nil {
		t.Errorf("damaged: %q, %v", got, err)
	}
	if _, err := (note{device: filepath.Join(t.TempDir(), "nosuch")}).read(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no disk: %v", err)
	}
}

// TestWipesVolumesOnly: whoever asks, nothing but a volume is wiped.
func TestWipesVolumesOnly(t *testing.T) {
	for _, name := range []string{"esp", "root-a", "", "../state"} {
		if err := wipe(t.Context(), nil, "/dev/null", name); err == nil {
			t.Errorf("%q was wiped", name)
		}
	}
	if resets(nil, marker.Marker{Disk: "vda"}) != nil || installs(nil, nil, marker.Marker{Disk: "vda"}, testVersion(), nil, nil, nil) != nil {
		t.Error("a system that was started from no slot has volumes and installs")
	}
}
