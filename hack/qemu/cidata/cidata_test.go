package cidata

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/filesystem"
)

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cidata.iso")
	large := bytes.Repeat([]byte("a: b\n"), 10000)
	for _, userData := range [][]byte{[]byte("kind: Machine\n"), large, {}} {
		// The second takes the first one's place.
		if err := Write(path, userData, []byte("instance-id: a\n")); err != nil {
			t.Fatal(err)
		}
		label, files := read(t, path)
		if label != Label {
			t.Errorf("label: got %q, want %q", label, Label)
		}
		if !bytes.Equal(files["user-data"], userData) {
			t.Errorf("user-data: got %d bytes, want %d", len(files["user-data"]), len(userData))
		}
		if got := string(files["meta-data"]); got != "instance-id: a\n" {
			t.Errorf("meta-data: got %q", got)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v, %v; want 0600", info.Mode(), err)
	}
}

// read returns the label, as the descriptor has it, and the two files.
func read(t *testing.T, path string) (string, map[string][]byte) {
	t.Helper()
	disk, err := diskfs.Open(path, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	disk.LogicalBlocksize = blockBytes
	volume, err := disk.GetFilesystem(0)
	if err != nil {
		t.Fatal(err)
	}
	if volume.Type() != filesystem.TypeISO9660 {
		t.Fatalf("file system: got type %v, want ISO 9660", volume.Type())
	}
	files := map[string][]byte{}
	for _, name := range []string{"user-data", "meta-data"} {
		file, err := volume.OpenFile(name, os.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		if files[name], err = io.ReadAll(file); err != nil {
			t.Fatal(err)
		}
	}
	// The volume identifier: 32 bytes at 40 of the descriptor in sector 16
	// (ECMA-119, 8.4.7).
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := 16*blockBytes + 40
	return string(bytes.TrimRight(data[at:at+32], " \x00")), files
}
