package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/install"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/loader"
)

func testVersion() server.Version { return server.Version{OS: "1.2.3"} }

// TestRunningBoot: the boot partition is handed out while it is mounted, with the kernel image of the running slot.
func TestRunningBoot(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"EFI/BOOT/BOOTX64.EFI": "loader", "EFI/cyvive/a.efi": "old", "EFI/cyvive/b.efi": "kernel"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mounted := 0
	r := running{slot: "b", version: "1.2.3", rootHash: "ab", boot: loader.New(func() (loader.Volume, error) {
		mounted++
		return loader.Volume{Dir: dir, Close: func() error { mounted--; return nil }}, nil
	})}
	got, err := r.Release(t.Context())
	if err != nil || got.Version != "1.2.3" || got.RootHash != "ab" || got.KernelBytes != int64(len("kernel")) || got.Pushed {
		t.Errorf("release %+v, %v", got, err)
	}
	err = r.Boot(t.Context(), func(b install.Boot) error {
		kernel, err := io.ReadAll(b.Kernel)
		if err != nil || string(kernel) != "kernel" || mounted != 1 {
			t.Errorf("kernel %q, %v; mounted %d times", kernel, err, mounted)
		}
		f, err := b.Files.Open("EFI/BOOT/BOOTX64.EFI")
		if err == nil {
			err = f.Close()
		}
		return err
	})
	if err != nil || mounted != 0 {
		t.Errorf("%v, still mounted %d times", err, mounted)
	}
	r.slot = "c"
	if _, err := r.Release(t.Context()); err == nil {
		t.Error("a slot without a kernel image can be installed")
	}
}
