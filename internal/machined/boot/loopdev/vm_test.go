package loopdev

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
)

// TestVMHold: a device is held under a path that is nowhere, by the kernel and not by who asked for it, until it is let go.
func TestVMHold(t *testing.T) {
	if os.Getenv("CYVIVE_VM") != "1" {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner")
		}
		t.Skip("needs the VM test runner: it makes loop devices")
	}
	mods, err := kmod.Open("/usr/lib/modules")
	if err == nil {
		err = mods.Load("loop")
	}
	if err != nil {
		t.Fatal(err)
	}
	const prefix, as = "/var/lib/kubelet/", "/var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/pvc-1/dev/c0ffee"
	var s unix.Stat_t
	if err := unix.Stat("/dev/vda", &s); err != nil {
		t.Fatal(err)
	}
	k := Kernel{}
	f, err := k.Open(s.Rdev, as)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.Hold(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := k.List(prefix)
	if err != nil || len(got) != 1 {
		t.Fatalf("held are %v, %v", got, err)
	}
	want := Held{Name: got[0].Name, Device: unix.Major(s.Rdev)<<20 | unix.Minor(s.Rdev), As: as}
	if d := cmp.Diff(want, got[0]); d != "" || !strings.HasPrefix(got[0].Name, "loop") {
		t.Errorf("held (-want +got):\n%s", d)
	}
	// What kubelet reads (getLoopDeviceFromSysfs in pkg/volume/util/volumepathhandler).
	if text, err := os.ReadFile("/sys/block/" + got[0].Name + "/loop/backing_file"); err != nil || string(text) != as+"\n" {
		t.Errorf("the loop device is on %q, %v", text, err)
	}
	// The kernel opens a read-only device for writing, and refuses what is written (blkdev_write_iter in block/fops.c).
	loop, err := os.OpenFile("/dev/"+got[0].Name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = loop.WriteAt(make([]byte, 512), 0)
	loop.Close()
	if !errors.Is(err, unix.EPERM) {
		t.Errorf("write through the loop device: %v, want %v", err, unix.EPERM)
	}
	if other, err := k.List("/var/other/"); len(other) > 0 || err != nil {
		t.Errorf("held elsewhere: %v, %v", other, err)
	}
	going, err := k.LetGo(got[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := k.List(prefix); len(left) > 0 || err != nil {
		t.Errorf("while it goes, held are %v, %v", left, err)
	}
	if err := going.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.LetGo(got[0].Name); !errors.Is(err, unix.ENXIO) {
		t.Errorf("let go once more: %v", err)
	}
}
