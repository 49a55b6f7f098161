package modules

import (
	"bytes"
	"crypto/sha256"
	"debug/pe"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cyvive/cyvive/hack/release/releasetest"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// TestSign: each module has a signature under the name of its content; what was there before is gone.
func TestSign(t *testing.T) {
	signer := releasetest.SecureBoot(t, t.TempDir())
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "signatures")
	content := map[string][]byte{"zfs.ko": []byte("zfs"), "spl.ko": []byte("spl"), "README": []byte("text"), ".source": []byte("step")}
	for name, data := range content {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "old.p7s"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "boot-loader.efi")
	loader := releasetest.Kernel(t, pe.IMAGE_FILE_MACHINE_AMD64, ".text", "the boot loader is a PE file too")
	if err := os.WriteFile(program, loader, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Sign(out, dir, program, signer); err != nil {
		t.Fatal(err)
	}
	signed, err := os.ReadFile(filepath.Join(out, fmt.Sprintf("%x.efi", sha256.Sum256(loader))))
	if err != nil {
		t.Fatal(err)
	}
	if err := secureboot.VerifyProgram(bytes.NewReader(signed), signer.Certificate); err != nil {
		t.Errorf("the boot loader: %v", err)
	}
	for _, name := range []string{"zfs.ko", "spl.ko"} {
		want, err := signer.SignModule(content[name])
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(out, fmt.Sprintf("%x.p7s", sha256.Sum256(content[name]))))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %d bytes, want the %d of its signature", name, err, len(got), len(want))
		}
	}
	if left, err := os.ReadDir(out); err != nil || len(left) != 3 {
		t.Errorf("the folder holds %v, %v; want two signatures and a program", left, err)
	}
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := Sign(out, t.TempDir(), "", signer); err == nil {
		t.Error("a folder without modules was signed")
	}
	if err := Sign(out, dir, filepath.Join(dir, "README"), signer); err == nil {
		t.Error("what is no program was signed")
	}
}
