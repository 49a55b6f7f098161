package diskimage

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"debug/pe"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/cyvive/cyvive/hack/release/releasetest"
	"github.com/cyvive/cyvive/internal/release"
	"github.com/cyvive/cyvive/internal/trust/pcr"
)

const (
	espStart = 1 << 20
	espBytes = 64 << 20
	diskSize = 80 << 20
	path     = "/EFI/cyvive/a.efi"
)

// folder is the builder's, with a disk whose boot partition holds the kernel image behind another file.
func folder(t *testing.T) (dir string, kernel []byte) {
	t.Helper()
	dir = releasetest.Folder(t, nil)
	kernel, err := os.ReadFile(filepath.Join(dir, release.Kernel))
	if err != nil {
		t.Fatal(err)
	}
	disk, err := os.Create(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := disk.Truncate(diskSize); err != nil {
		t.Fatal(err)
	}
	esp, err := fat32.Create(file.New(disk, false), espBytes, espStart, 512, "ESP", true)
	if err != nil {
		t.Fatal(err)
	}
	loader := releasetest.Kernel(t, pe.IMAGE_FILE_MACHINE_AMD64, ".text", "the boot loader is a PE file too")
	for _, f := range []struct {
		name string
		data []byte
	}{{"/EFI/BOOT/BOOTX64.EFI", loader}, {path, kernel}} {
		if err := esp.Mkdir(filepath.Dir(f.name)); err != nil {
			t.Fatal(err)
		}
		out, err := esp.OpenFile(f.name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(f.data); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir, kernel
}

// onDisk reads the kernel image through the file system.
func onDisk(t *testing.T, disk string) []byte {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	esp, err := fat32.Read(file.New(f, true), espBytes, espStart, 512)
	if err != nil {
		t.Fatal(err)
	}
	in, err := esp.OpenFile(path, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var data bytes.Buffer
	if _, err := data.ReadFrom(in); err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

func TestSign(t *testing.T) {
	dir, kernel := folder(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "signed.raw")
	if err := Sign(out, dir, key); err != nil {
		t.Fatal(err)
	}
	image := onDisk(t, out)
	if err := pcr.Check(bytes.NewReader(image), &key.PublicKey); err != nil {
		t.Errorf("the kernel image on the signed disk: %v", err)
	}
	if err := pcr.Detach(image); err != nil || !bytes.Equal(image, kernel) {
		t.Errorf("without its signature it is not what was built: %v", err)
	}
	after, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for i := range after {
		if after[i] != before[i] {
			changed++
		}
	}
	if len(after) != len(before) || changed == 0 || changed > pcr.SectionBytes {
		t.Errorf("%d bytes of %d changed, %d bytes long; want the section's %d at most", changed, len(before), len(after), pcr.SectionBytes)
	}
	if again, err := os.ReadFile(filepath.Join(dir, File)); err != nil || !bytes.Equal(again, before) {
		t.Errorf("the original was changed: %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	dir, kernel := folder(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	kernel[len(kernel)-1] ^= 1
	if err := os.WriteFile(filepath.Join(dir, release.Kernel), kernel, 0o644); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	if err := Sign(filepath.Join(out, "signed.raw"), dir, key); !errors.Is(err, ErrAbsent) {
		t.Errorf("the disk of another build: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, File)); err != nil {
		t.Fatal(err)
	}
	if err := Sign(filepath.Join(out, "signed.raw"), dir, key); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no disk: %v", err)
	}
	if left, _ := os.ReadDir(out); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := Find(bytes.NewReader(make([]byte, 4096)), nil); err == nil {
		t.Error("an empty kernel image was found")
	}
}
