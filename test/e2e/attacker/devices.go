package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// folder is where the pod can make device nodes: a volume without "nodev" is
// needed to open them.
func folder() (string, error) {
	dir, err := os.MkdirTemp("/dev", "attack")
	if err != nil {
		return "", err
	}
	return dir, nil
}

// node makes a device node and opens it. Numbers: the kernel's
// Documentation/admin-guide/devices.txt.
func node(kind uint32, major, minor uint32, flags int) error {
	dir, err := folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "node")
	if err := unix.Mknod(file, kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return err
	}
	return open(file, flags)()
}

func character(name string, major, minor uint32, flags int) attempt {
	return call(name, func() error { return node(unix.S_IFCHR, major, minor, flags) })
}

func devices() []attempt {
	return []attempt{
		character("read the machine's memory", 1, 1, unix.O_RDONLY),
		character("use its I/O ports", 1, 4, unix.O_RDWR),
		character("write kernel messages", 1, 11, unix.O_WRONLY),
		character("take the consoles", 4, 64, unix.O_RDWR),
		dangerous(character("open the watchdog", 10, 130, unix.O_WRONLY)),
		character("open the mapper of the verified root", 10, 236, unix.O_RDWR),
		character("make a loop device", 10, 237, unix.O_RDWR),
		character("read firmware variables", 10, 144, unix.O_RDWR),
		character("make virtual machines", 10, 232, unix.O_RDWR),
		{name: "open a disk or partition", do: openDisks},
		{name: "mount a disk or partition", do: mountDisks},
		{name: "open any device that is not the pod's", do: openAll, danger: true},
		call("read the kernel's memory through /proc", open("/proc/kcore", unix.O_RDONLY)),
		{name: "open a disk that is there already", do: existingDisks},
	}
}

// disks calls try with each block device that the kernel has.
func disks(try func(name string, major, minor uint32) error) (string, error) {
	files, err := filepath.Glob("/sys/class/block/*/dev")
	if err != nil || len(files) == 0 {
		return "the attempt is broken: no block devices in /sys", nil
	}
	var last error
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		first, second, _ := strings.Cut(strings.TrimSpace(string(raw)), ":")
		major, err1 := strconv.ParseUint(first, 10, 32)
		minor, err2 := strconv.ParseUint(second, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return "the attempt is broken: " + err.Error(), nil
		}
		name := filepath.Base(filepath.Dir(file))
		if last = try(name, uint32(major), uint32(minor)); last == nil {
			return name, nil
		}
	}
	return "", last
}

func openDisks() (string, error) {
	return disks(func(_ string, major, minor uint32) error { return node(unix.S_IFBLK, major, minor, unix.O_RDONLY) })
}

func mountDisks() (string, error) {
	return disks(func(name string, major, minor uint32) error {
		dir, err := folder()
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		device, target := filepath.Join(dir, name), filepath.Join(dir, "target")
		if err := unix.Mknod(device, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor))); err != nil {
			return err
		}
		if err := os.Mkdir(target, 0o700); err != nil {
			return err
		}
		for _, kind := range []string{"ext4", "erofs", "vfat", "xfs", "squashfs"} {
			if err = unix.Mount(device, target, kind, unix.MS_RDONLY, ""); err == nil {
				return unix.Unmount(target, 0)
			}
		}
		return err
	})
}

// existingDisks opens what lies in the host's /dev.
func existingDisks() (string, error) {
	last := errNothing
	entries, err := os.ReadDir(host + "/dev")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0 {
			if last = open(filepath.Join(host, "dev", e.Name()), unix.O_RDONLY)(); last == nil {
				return e.Name(), nil
			}
		}
	}
	return "", last
}

// shared are the devices that the plane has (package confine, and what runc gives
// every container); the numbers of pseudo terminals follow the names.
var shared = []string{"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "kmsg", "fuse", "net/tun"}

// openAll opens every character device that the kernel has (sysfs(5), /sys/dev/char).
func openAll() (string, error) {
	entries, err := os.ReadDir("/sys/dev/char")
	if err != nil {
		return "", err
	}
	last, tried := errNothing, 0
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join("/sys/dev/char", e.Name(), "uevent"))
		if err != nil {
			continue
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(e.Name(), "%d:%d", &major, &minor); err != nil {
			return "the attempt is broken: " + err.Error(), nil
		}
		name := ""
		for line := range strings.Lines(string(raw)) {
			if text, ok := strings.CutPrefix(line, "DEVNAME="); ok {
				name = strings.TrimSpace(text)
			}
		}
		if slices.Contains(shared, name) {
			continue
		}
		tried++
		if last = node(unix.S_IFCHR, major, minor, unix.O_RDONLY|unix.O_NONBLOCK); last == nil {
			return name, nil
		}
	}
	if tried < 10 {
		return fmt.Sprintf("the attempt is broken: only %d devices in /sys", tried), nil
	}
	return "", last
}
