package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBlocks: a machine without block devices has none, and what is no number is an error. The rest takes rights that a test has not.
func TestBlocks(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	if list, err := blocks(sys, dev); err != nil || list == nil || len(list) > 0 {
		t.Errorf("without any: %v, %v", list, err)
	}
	dir := filepath.Join(sys, "class/block/vda")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dev"), []byte("x:0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := blocks(sys, dev); err == nil {
		t.Errorf("a number that is none: %v", list)
	}
}
