package device

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// TestLayout: the structures are the kernel's, whose ioctl numbers hold their size.
func TestLayout(t *testing.T) {
	if got := unsafe.Sizeof(nvmeAdminCommand{}); got != 72 {
		t.Errorf("struct nvme_passthru_cmd has %d bytes, want 72", got)
	}
	if nvmeAdminIoctl != 0xc0484e41 {
		t.Errorf("NVME_IOCTL_ADMIN_CMD is %x", uint64(nvmeAdminIoctl))
	}
	var h sgHeader
	for name, c := range map[string][2]uintptr{
		"size": {unsafe.Sizeof(h), 88}, "data": {unsafe.Offsetof(h.data), 16}, "timeout": {unsafe.Offsetof(h.timeoutMillis), 40},
		"user": {unsafe.Offsetof(h.user), 56}, "status": {unsafe.Offsetof(h.status), 64}, "residual": {unsafe.Offsetof(h.residual), 72},
	} {
		if c[0] != c[1] {
			t.Errorf("struct sg_io_hdr: %s is %d, want %d", name, c[0], c[1])
		}
	}
	var c nvmeAdminCommand
	for name, o := range map[string][2]uintptr{
		"namespace": {unsafe.Offsetof(c.namespace), 4}, "data": {unsafe.Offsetof(c.data), 24}, "size": {unsafe.Offsetof(c.dataSize), 36},
		"dwords": {unsafe.Offsetof(c.dwords), 40}, "timeout": {unsafe.Offsetof(c.timeoutMillis), 64},
	} {
		if o[0] != o[1] {
			t.Errorf("struct nvme_passthru_cmd: %s is at %d, want %d", name, o[0], o[1])
		}
	}
}

// TestNotThere: what is no such device is an error that says what was tried, and no
// name leads out of the folder.
func TestNotThere(t *testing.T) {
	dir := t.TempDir()
	d := Devices{Dir: dir}
	if _, err := d.NVMeHealth("nvme0n1"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "open nvme0n1") {
		t.Errorf("no disk: got %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sda"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	sub := Devices{Dir: filepath.Join(dir, "dev")}
	if _, err := sub.SCSILog("../sda", 0x2f); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name with a path: got %v", err)
	}
	if _, err := d.NVMeHealth("sda"); !errors.Is(err, syscall.ENOTTY) || !strings.Contains(err.Error(), "log page 02h") {
		t.Errorf("NVMe on a file: got %v", err)
	}
	if _, err := d.ATAHealth("sda"); !errors.Is(err, syscall.ENOTTY) {
		t.Errorf("ATA on a file: got %v", err)
	}
	if _, err := d.SCSILog("sda", 0x2f); !errors.Is(err, syscall.ENOTTY) {
		t.Errorf("SCSI on a file: got %v", err)
	}
	if _, err := d.TPMProperties([]byte{1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no TPM: got %v", err)
	}
	if _, err := d.NICFirmware("nosuch0"); err == nil {
		t.Error("an interface that is not there has firmware")
	}
}

// TestCommand: the bytes of SAT-4, 12.2.2.
func TestCommand(t *testing.T) {
	want := []byte{0x85, 0x08, 0x0e, 0, 0xd0, 0, 1, 0, 0, 0, 0x4f, 0, 0xc2, 0, 0xb0, 0}
	if got := smartCommand(readData, true); string(got) != string(want) {
		t.Errorf("got %x, want %x", got, want)
	}
	want = []byte{0x85, 0x06, 0x20, 0, 0xda, 0, 0, 0, 0, 0, 0x4f, 0, 0xc2, 0, 0xb0, 0}
	if got := smartCommand(returnStatus, false); string(got) != string(want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestSenseError(t *testing.T) {
	const want = "the disk refuses it with sense key 5h, code 20h, qualifier 01h"
	for _, sense := range [][]byte{
		{0x72, 5, 0x20, 1, 0, 0, 0, 0},
		{0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 1},
	} {
		if got := (&senseError{sense}).Error(); got != want {
			t.Errorf("%x: got %q, want %q", sense, got, want)
		}
	}
	if got := (&senseError{[]byte{0x70}}).Error(); !strings.Contains(got, "key 0h") {
		t.Errorf("cut off: got %q", got)
	}
}
