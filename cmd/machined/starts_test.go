package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// TestStarts reads the firmware's variables as efivarfs has them.
func TestStarts(t *testing.T) {
	const state = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	text := []byte("no EFI program")
	kernel := io.NewSectionReader(bytes.NewReader(text), 0, int64(len(text)))
	dir := t.TempDir()
	set := func(data ...byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, state), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := starts(filepath.Join(dir, "none"), kernel); err != nil {
		t.Errorf("a machine without variables: %v", err)
	}
	set(6, 0, 0, 0, 0)
	if err := starts(dir, kernel); err != nil {
		t.Errorf("Secure Boot is off: %v", err)
	}
	set(6, 0, 0, 0, 1)
	if err := starts(dir, kernel); !errors.Is(err, secureboot.ErrRefused) || !errors.Is(err, secureboot.ErrFormat) {
		t.Errorf("Secure Boot is on: %v, want a refusal of what is no program", err)
	}
	set(6, 0, 0)
	if err := starts(dir, kernel); err == nil || errors.Is(err, secureboot.ErrRefused) {
		t.Errorf("a variable that is cut off: %v, want an error that says so", err)
	}
}
