package kernel

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/go-dmverity/pkg/verity"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/extension/keeper"
	bootverity "github.com/cyvive/cyvive/internal/machined/boot/verity"
)

// image writes a file system with a module and a text, and its hash tree.
func image(t *testing.T, dir string) keeper.Image {
	t.Helper()
	matches, err := filepath.Glob("/usr/lib/modules/*/kernel/drivers/net/ifb.ko*")
	if err != nil || len(matches) != 1 {
		t.Fatalf("the root has no module ifb: %v, %v", matches, err)
	}
	module, err := os.ReadFile(matches[0])
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Base(matches[0])
	data := erofs(&node{children: []*node{
		{name: "modules", children: []*node{{name: file, data: module}, {name: "modules.dep", data: []byte(file + ":\n")}}},
		{name: "text", data: bytes.Repeat([]byte("text"), 3000)},
	}})
	i := keeper.Image{Data: filepath.Join(dir, "image.erofs"), Tree: filepath.Join(dir, "image.verity")}
	if err := os.WriteFile(i.Data, data, 0o600); err != nil {
		t.Fatal(err)
	}
	p := verity.DefaultParams()
	p.DataBlockSize, p.HashBlockSize, p.DataBlocks = blockBytes, blockBytes, uint64(len(data)/blockBytes)
	p.Salt, p.SaltSize, p.UUID, p.HashAreaOffset = []byte(strings.Repeat("s", 32)), 32, [16]byte{1}, blockBytes
	hash, err := verity.Create(&p, i.Data, i.Tree)
	if err != nil {
		t.Fatal(err)
	}
	i.RootHash = [32]byte(hash)
	return i
}

// TestVMMount mounts an image on the real kernel, as two agents of one boot do, loads a module of it, and reads a block that was changed.
func TestVMMount(t *testing.T) {
	if os.Getenv("CYVIVE_VM") != "1" {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatal("REQUIRE_VM=1, but the test does not run in a virtual machine")
		}
		t.Skip("needs a virtual machine of its own (make vm-test)")
	}
	var admitted []uint32
	at := t.TempDir()
	k := New(Config{Dir: at, Modules: "/usr/lib/modules", Admit: func(devices []uint32) ([]uint32, error) {
		admitted = devices
		return devices, nil
	}})
	i := image(t, t.TempDir())
	t.Cleanup(func() {
		for _, name := range []string{"test", "changed"} {
			if err := errors.Join(unix.Unmount(filepath.Join(at, name), 0), bootverity.Close(deviceName(name))); err != nil {
				t.Errorf("take %s away: %v", name, err)
			}
		}
	})
	first, err := k.Mount("test", i)
	if err != nil {
		t.Fatal(err)
	}
	again, err := New(k.cfg).Mount("test", i)
	if err != nil || again != first || first.Dir != filepath.Join(at, "test") {
		t.Errorf("mounted as %+v and then %+v, %v", first, again, err)
	}
	other := i
	other.RootHash[0] ^= 1
	if _, err := k.Mount("test", other); err == nil || !strings.Contains(err.Error(), "until the next boot") {
		t.Errorf("another image of the same name: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(first.Dir, "text"))
	if err != nil || !bytes.Equal(text, bytes.Repeat([]byte("text"), 3000)) {
		t.Errorf("read %d bytes, %v", len(text), err)
	}
	if err := os.WriteFile(filepath.Join(first.Dir, "text"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write: %v, want it to be read-only", err)
	}
	if open, err := k.Open(); err != nil || !slices.Contains(open, i.Data) || !slices.Contains(open, i.Tree) {
		t.Errorf("open are %v, %v", open, err)
	}
	if got, err := k.Admit([]uint32{first.Device}); err != nil || !slices.Equal(got, admitted) {
		t.Errorf("admitted %v, %v", got, err)
	}
	if err := k.Load(filepath.Join(first.Dir, "modules"), "ifb"); err != nil {
		t.Errorf("load: %v", err)
	}
	if _, err := os.Stat("/sys/module/ifb"); err != nil {
		t.Errorf("after it was loaded: %v", err)
	}
	if err := k.Load(filepath.Join(first.Dir, "modules"), "none"); err == nil {
		t.Error("a module that is not there was loaded")
	}
	changed(t, i)
	if _, err := k.Mount("changed", i); err != nil {
		t.Fatalf("an image of which a block was changed: %v", err)
	}
	if _, err := os.ReadFile(filepath.Join(at, "changed", "text")); !errors.Is(err, unix.EIO) {
		t.Errorf("read what was changed: %v, want EIO", err)
	}
}

// changed changes a byte of the text in the image's file.
func changed(t *testing.T, i keeper.Image) {
	t.Helper()
	data, err := os.ReadFile(i.Data)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(i.Data, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("T"), int64(bytes.Index(data, []byte("texttext")))); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}
