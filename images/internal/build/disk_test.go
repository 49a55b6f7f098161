package build

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/semver"

	"github.com/cyvive/cyvive/images/internal/disk"
)

// outFile is a file that make image made; without one the test is skipped, as
// with image.
func outFile(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(filepath.Join("../../../out", arch(), name))
	if errors.Is(err, os.ErrNotExist) && os.Getenv("REQUIRE_IMAGE") != "1" {
		t.Skipf("no image was built: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestBootPartition reads the boot partition of the built disk: one entry, which
// starts the kernel image of the first slot, and no image that the boot loader
// would find by itself.
func TestBootPartition(t *testing.T) {
	raw := outFile(t, "disk.raw")
	read := func(name string) ([]byte, error) { return disk.ReadESP(raw, espBytes, mib, name) }
	kernel, err := os.ReadFile(outFile(t, "cyvive.efi").Name())
	if err != nil {
		t.Fatal(err)
	}
	version, _, err := versions(Options{Images: "../.."})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{
		entryPath: entry(version), kernelPath: kernel, "/loader/loader.conf": []byte(loaderConf),
	} {
		if got, err := read(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes that are not the %d expected: %v", name, len(got), len(want), err)
		}
	}
	if _, err := read("/EFI/Linux/cyvive-" + version + ".efi"); err == nil {
		t.Error("there is an image in /EFI/Linux, which the boot loader starts without a counter")
	}
}

// TestImageTakesUpgrades: the node finds keys, and a floor, which its own version
// is not below.
func TestImageTakesUpgrades(t *testing.T) {
	files := builtImage(t).files
	keys := files[cyviveDir+"/release-keys.pem"]
	name := filepath.Join(t.TempDir(), "keys.pem")
	if err := os.WriteFile(name, keys, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readKeys(name); err != nil || !bytes.Equal(got, keys) {
		t.Errorf("the keys of the image are not what this builder writes: %v", err)
	}
	var r struct{ Version, Floor string }
	if err := json.Unmarshal(files[cyviveDir+"/release.json"], &r); err != nil {
		t.Fatal(err)
	}
	if !semver.IsValid("v"+r.Floor) || semver.Compare("v"+r.Version, "v"+r.Floor) < 0 {
		t.Errorf("release.json has version %q and floor %q", r.Version, r.Floor)
	}
}
