package verity

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
)

// loop attaches a file to a loop device and returns its path.
func loop(t *testing.T, file string) string {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Fatalf("find loop device: %v", err)
	}
	backing, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer backing.Close()
	path := fmt.Sprintf("/dev/loop%d", n)
	device, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	c := unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY}}
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &c); err != nil {
		t.Fatalf("set up %s: %v", path, err)
	}
	return path
}

// TestVMOpen opens a device on the real kernel, reads all of it, and cannot
// write it. What a bad block does is seen from outside: it ends the machine.
func TestVMOpen(t *testing.T) {
	if os.Getenv("CYVIVE_VM") != "1" {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatal("REQUIRE_VM=1, but the test does not run in a virtual machine")
		}
		t.Skip("needs a virtual machine of its own (make vm-test)")
	}
	mods, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"loop", "dm-mod", "dm-verity"} {
		if err := mods.Load(m); err != nil {
			t.Fatal(err)
		}
	}
	data, tree, root := makeTree(t, 300)
	d, err := Open("test", loop(t, data), loop(t, tree), root)
	if err != nil {
		t.Fatal(err)
	}
	if d.SizeBytes != 300*BlockBytes {
		t.Errorf("size = %d, want %d", d.SizeBytes, 300*BlockBytes)
	}
	want, err := os.ReadFile(data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(d.Path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v; want the data", len(got), err)
	}
	if n, err := CheckAll(t.Context(), d.Path); n != int64(d.SizeBytes) || err != nil {
		t.Errorf("CheckAll = %d, %v; want %d", n, err, d.SizeBytes)
	}
	if err := os.WriteFile(d.Path, []byte("x"), 0); err == nil {
		t.Error("the device can be written")
	}
	if _, err := Open("test", "/dev/loop0", "/dev/loop1", root); err == nil {
		t.Error("a second device of the same name was made")
	}
}
