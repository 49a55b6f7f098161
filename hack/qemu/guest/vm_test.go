package main

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestVMMachine looks at the machine from inside: what the runner promises is
// there.
func TestVMMachine(t *testing.T) {
	requireVM(t)
	for _, dir := range []string{"/proc/self", "/sys/class", "/dev/null", "/sys/fs/cgroup/cgroup.procs", "/dev/pts/ptmx"} {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
	if got := os.Getppid(); got != 1 {
		t.Errorf("parent is process %d, want 1", got)
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Errorf("mount in the guest: %v", err)
	} else if err := unix.Unmount(dir, 0); err != nil {
		t.Error(err)
	}
	links, err := os.ReadDir("/sys/class/net")
	if err != nil || len(links) != 1 {
		t.Errorf("network links %v, %v; want lo only", links, err)
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		t.Errorf("reboot(2) as root: %v", err)
	}
}

// TestVMRefuse: even there, only PID 1 of a fresh machine goes on.
func TestVMRefuse(t *testing.T) {
	requireVM(t)
	if err := refuse(os.Getpid()); err == nil {
		t.Error("process other than 1 was not refused")
	}
	if err := refuse(1); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("machine with /proc: got %v, want a refusal that names /proc", err)
	}
}

// requireVM skips outside the runner's machines, and fails there where one was
// promised.
func requireVM(t *testing.T) {
	t.Helper()
	if os.Getenv("CYVIVE_VM") == "1" {
		return
	}
	if os.Getenv("REQUIRE_VM") == "1" {
		t.Fatal("needs a virtual machine of hack/qemu exec, which REQUIRE_VM=1 promised")
	}
	t.Skip("needs a virtual machine: make vm-test")
}
