package hostid

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestOf: the number is that of the ID for good, as pools have it on their disks.
func TestOf(t *testing.T) {
	for id, want := range map[string]uint32{
		"0123456789abcdef0123456789abcdef": 0x86d04db5, "0123456789abcdef0123456789abcdee": 0x83d048fc,
	} {
		if got := Of(id); got != want {
			t.Errorf("%s: got %#x, want %#x", id, got, want)
		}
	}
}

func TestSet(t *testing.T) {
	sys := t.TempDir()
	if err := Set(sys, 7); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the module: %v", err)
	}
	path := filepath.Join(sys, "module/spl/parameters/spl_hostid")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("0\n"), 0o600), Set(sys, 4<<30-1)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "4294967295\n" {
		t.Errorf("got %q, %v", got, err)
	}
}
