package watchdog

import (
	"os"
	"path/filepath"
	"testing"
)

// TestDog uses a file in place of the device: the bytes are the protocol of
// the kernel's watchdog-api.
func TestDog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watchdog0")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Ping(); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := os.ReadFile(path); string(got) != "\x00\x00" {
		t.Errorf("device got %q, and must not get the V that stops it", got)
	}
}

func TestNoDog(t *testing.T) {
	d, err := Open(filepath.Join(t.TempDir(), "none"))
	if d != nil || err != nil {
		t.Errorf("Open of nothing = %v, %v", d, err)
	}
	if d.Ping() != nil {
		t.Error("no watchdog is an error")
	}
}
