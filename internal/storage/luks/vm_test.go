package luks

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
)

// scratch returns an empty disk of the VM test runner.
func scratch(t *testing.T) string {
	t.Helper()
	disk, _, _ := strings.Cut(os.Getenv("CYVIVE_VM_DISKS"), ":")
	if os.Getenv("CYVIVE_VM") != "1" || disk == "" {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner with an empty disk")
		}
		t.Skip("needs the VM test runner: an empty disk of its own")
	}
	return disk
}

// mapper loads what opens volumes.
func mapper(t *testing.T) Cryptsetup {
	t.Helper()
	mods, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"dm-mod", "dm-crypt", "xts"} {
		if err := mods.Load(m); err != nil {
			t.Fatal(err)
		}
	}
	return Cryptsetup{Program: "/usr/bin/cryptsetup"}
}

// TestVMEnclosed: the kernel reads what Enclose has encrypted.
func TestVMEnclosed(t *testing.T) {
	disk := scratch(t)
	c := mapper(t)
	path := device(t)
	plain := content(t, 12<<20)
	key, _ := NewKey()
	if err := c.Enclose(t.Context(), path, "state", key, bytes.NewReader(plain)); err != nil {
		t.Fatal(err)
	}
	volume, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, disk, 0, volume)
	if err := c.Open(t.Context(), disk, "enclosed", key); err != nil {
		t.Fatal(err)
	}
	if got := read(t, MapperDir+"enclosed", 0, len(plain)); !bytes.Equal(got, plain) {
		t.Errorf("it holds %.40q", got)
	}
	if err := c.Close(t.Context(), "enclosed"); err != nil {
		t.Fatal(err)
	}
}

// TestVMOpen opens a volume with the node's own cryptsetup and kernel, where no udev runs, and closes it.
func TestVMOpen(t *testing.T) {
	disk := scratch(t)
	c := mapper(t)
	key, _ := NewKey()
	wrong, _ := NewKey()
	if err := c.Format(t.Context(), disk, "state", key); err != nil {
		t.Fatal(err)
	}
	if err := c.Open(t.Context(), disk, "vmtest", wrong); !errors.Is(err, ErrWrongKey) {
		t.Errorf("with another key: %v", err)
	}
	text := bytes.Repeat([]byte("plain text of 16"), 4096/16)
	for round := range 2 {
		if err := c.Open(t.Context(), disk, "vmtest", key); err != nil {
			t.Fatal(err)
		}
		if err := c.Open(t.Context(), disk, "vmtest", key); !errors.Is(err, ErrBusy) {
			t.Errorf("opened twice: %v", err)
		}
		if round == 0 {
			overwrite(t, MapperDir+"vmtest", 0, text)
		}
		if got := read(t, MapperDir+"vmtest", 0, len(text)); !bytes.Equal(got, text) {
			t.Errorf("round %d: read %.40q", round, got)
		}
		if err := c.Extend(t.Context(), "vmtest", key); err != nil {
			t.Errorf("extend what is as large as its device: %v", err)
		}
		if err := c.Close(t.Context(), "vmtest"); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(MapperDir + "vmtest"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("closed, and %svmtest is there: %v", MapperDir, err)
		}
	}
	if raw := read(t, disk, HeaderBytes, len(text)); bytes.Contains(raw, []byte("plain text")) || bytes.Equal(raw, make([]byte, len(raw))) {
		t.Errorf("the disk holds %.40q", raw)
	}
}

// TestVMNullSlot: the node's own cryptsetup opens a volume with a slot that is not encrypted, whatever the key, if nobody looks before; Open does.
func TestVMNullSlot(t *testing.T) {
	disk := scratch(t)
	c := mapper(t)
	key, _ := NewKey()
	if err := c.Format(t.Context(), disk, "state", key); err != nil {
		t.Fatal(err)
	}
	withNullSlot(t, disk)
	other, _ := NewKey()
	_, err := c.run(t.Context(), []Secret{other}, nil, "open", "--test-passphrase", "--type=luks2", "--key-file=-", disk)
	t.Logf("cryptsetup by itself: %v", err)
	if err := c.Open(t.Context(), disk, "vmtest", other); !errors.Is(err, ErrForm) {
		t.Errorf("opened: %v", err)
	}
}

func read(t *testing.T, path string, at int64, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, n)
	if _, err := f.ReadAt(data, at); err != nil {
		t.Fatal(err)
	}
	return data
}
