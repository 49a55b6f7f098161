package medium

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAttach: an initramfs without the disk is one of a node; where there is a disk, what keeps it from being used is an error and not a node's start. The files
// of the test stand for the disk and for the device, which it is not.
func TestAttach(t *testing.T) {
	dir := t.TempDir()
	disk, device := filepath.Join(dir, "disk"), filepath.Join(dir, "loop0")
	loaded := 0
	load := func(module string) error {
		if module != "loop" {
			t.Errorf("the module %s was loaded", module)
		}
		loaded++
		return nil
	}
	if name, err := attach(disk, device, load); name != "" || err != nil || loaded != 0 {
		t.Errorf("without a disk: %q, %v, and %d modules were loaded", name, err, loaded)
	}
	if err := os.WriteFile(disk, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if name, err := attach(disk, device, load); name != "" || !errors.Is(err, os.ErrNotExist) || loaded != 1 {
		t.Errorf("without a device: %q, %v", name, err)
	}
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if name, err := attach(disk, device, load); name != "" || !errors.Is(err, unix.ENOTTY) || !strings.Contains(err.Error(), device) {
		t.Errorf("with a device that is none: %q, %v", name, err)
	}
	broken := errors.New("no such module")
	if name, err := attach(disk, device, func(string) error { return broken }); name != "" || !errors.Is(err, broken) {
		t.Errorf("without the driver: %q, %v", name, err)
	}
}
