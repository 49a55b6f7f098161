package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/hack/qemu/vmtest/wire"
)

// mount is one mount(2).
type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

// earlyMounts are needed before anything else can be looked up.
var earlyMounts = []mount{
	{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
	{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
}

// lateMounts are made in the new root.
var lateMounts = []mount{
	{"cgroup2", "/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "nsdelegate"},
	{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "ptmxmode=0666,gid=5,mode=620"},
	{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, ""},
	{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
}

func mountEarly() error { return mountAll(earlyMounts) }

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
		err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data)
		if err != nil && !errors.Is(err, unix.EBUSY) { // the kernel may have mounted /dev
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// loadModules loads files in order; one that is there already is fine.
func loadModules(files []string) error {
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("load kernel module: %w", err)
		}
		err = unix.FinitModule(int(file.Fd()), "", 0)
		_ = file.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load kernel module %s: %w", path, err)
		}
	}
	return nil
}

// deviceTimeout is how long a device may take to come up behind its driver.
const deviceTimeout = 10 * time.Second

// await repeats a look-up until it finds something.
func await(what string, find func() string) (string, error) {
	for deadline := time.Now().Add(deviceTimeout); ; time.Sleep(10 * time.Millisecond) {
		if found := find(); found != "" {
			return found, nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("find %s: it did not come up within %s", what, deviceTimeout)
		}
	}
}

// findAttribute returns the name of the first folder that matches the pattern
// and has a file with the wanted text.
func findAttribute(pattern, file, want string) string {
	dirs, _ := filepath.Glob(pattern)
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err == nil && strings.TrimSpace(string(text)) == want {
			return filepath.Base(dir)
		}
	}
	return ""
}

// openPort opens a virtio-serial port by its name
// (Documentation/ABI/testing/sysfs-class-virtio-ports is its sysfs side).
func openPort(name string) (*os.File, error) {
	device, err := await("port "+name, func() string {
		return findAttribute("/sys/class/virtio-ports/*", "name", name)
	})
	if err != nil {
		return nil, err
	}
	return os.OpenFile("/dev/"+device, os.O_WRONLY, 0)
}

// findDisk returns the device node of the disk with a serial number.
func findDisk(serial string) (string, error) {
	device, err := await("disk "+serial, func() string {
		return findAttribute("/sys/block/vd*", "serial", serial)
	})
	return "/dev/" + device, err
}

// setUp makes a root that is no initramfs, since pivot_root(2) refuses there,
// and mounts the rest. It returns the scratch disks, with colons in between.
func setUp(plan wire.Plan) (string, error) {
	if err := newRoot(plan.Image); err != nil {
		return "", err
	}
	if err := mountAll(lateMounts); err != nil {
		return "", err
	}
	// No mount of its own: the package under test may lie below /tmp.
	if err := os.MkdirAll("/tmp", 0o755); err != nil {
		return "", fmt.Errorf("make /tmp: %w", err)
	}
	if err := os.Chmod("/tmp", 0o777|fs.ModeSticky); err != nil {
		return "", fmt.Errorf("make /tmp: %w", err)
	}
	if err := raiseLoopback(); err != nil {
		return "", err
	}
	if err := unix.Sethostname([]byte("vmtest")); err != nil {
		return "", fmt.Errorf("set hostname: %w", err)
	}
	var disks []string
	for i := range plan.Scratch {
		disk, err := findDisk(fmt.Sprintf("%s%d", wire.ScratchSerial, i))
		if err != nil {
			return "", err
		}
		disks = append(disks, disk)
	}
	return strings.Join(disks, ":"), nil
}
