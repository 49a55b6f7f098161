package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func files() []attempt {
	list := []attempt{
		call("write into the node's programs", func() error { return write(host + "/usr/bin/written") }),
		{name: "write into the root after a remount", do: remountAndWrite},
		{name: "open etcd's data by file handle", do: byHandle},
		call("watch all files of the data partition", watchAll),
		call("answer for every open of the data partition", permissionEvents),
		dangerous(call("freeze the data partition", ioctl(freeze))),
		dangerous(call("shut the data partition down", ioctl(0x8004587d))), // EXT4_IOC_SHUTDOWN
		dangerous(call("rename the data partition", ioctl(0x41009432))),    // FS_IOC_SETFSLABEL
		dangerous(call("swap to a file", swapFile)),
		dangerous(call("set quotas of the data partition", quota)),
		dangerous(call("give all control groups other options", remount("/sys/fs/cgroup"))),
		dangerous(call("give the machine's /sys other options", remount("/sys"))),
		dangerous(call("give the data volume other options", remount("/var"))),
		{name: "see a folder of the node's /run", do: mountLine(" /cyvive/")},
		{name: "see the state partition's mount", do: mountLine(" /state ")},
		{name: "see etcd's mount", do: mountLine("etcd")},
	}
	for _, kind := range []string{"debugfs", "tracefs", "securityfs", "pstore", "configfs", "efivarfs", "binfmt_misc", "cgroup", "resctrl", "devtmpfs"} {
		list = append(list, call("mount "+kind, mount(kind)))
	}
	for name, file := range map[string]string{
		"set the program for core dumps":     "/proc/sys/kernel/core_pattern",
		"set the program that loads modules": "/proc/sys/kernel/modprobe",
		"use the system request key":         "/proc/sysrq-trigger",
		"allow more system requests":         "/proc/sys/kernel/sysrq",
		"let eBPF run for everybody":         "/proc/sys/kernel/unprivileged_bpf_disabled",
		"set what a panic does":              "/proc/sys/kernel/panic",
		"drop the node's caches":             "/proc/sys/vm/drop_caches",
		"overcommit the node's memory":       "/proc/sys/vm/overcommit_memory",
		"limit processes of the node":        "/proc/sys/kernel/pid_max",
		"limit open files of the node":       "/proc/sys/fs/file-max",
		"set a program for device events":    "/sys/kernel/uevent_helper",
		"put the machine to sleep":           "/sys/power/state",
		"look for devices again":             "/sys/bus/pci/rescan",
		"raise the kernel's memory":          "/sys/kernel/mm/transparent_hugepage/enabled",
		"move the interrupts":                "/proc/irq/default_smp_affinity",
	} {
		list = append(list, call(name, open(file, unix.O_WRONLY)))
	}
	return list
}

func open(file string, flags int) func() error {
	return func() error {
		fd, err := unix.Open(file, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	}
}

func write(file string) error { return os.WriteFile(file, []byte("x"), 0o600) }

// remountAndWrite takes the read-only flag off in a mount namespace of its own,
// which is allowed; the file system beneath is what must refuse.
func remountAndWrite() (string, error) {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return "", err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", err
	}
	_ = unix.Mount("", host, "", unix.MS_REMOUNT|unix.MS_BIND, "")
	_ = unix.Mount("", host, "", unix.MS_REMOUNT, "")
	return "wrote to the root", write(host + "/usr/bin/written")
}

// remount changes the options of a file system that the node has mounted as well, and
// not those of one mount.
func remount(dir string) func() error {
	return func() error { return unix.Mount("", host+dir, "", unix.MS_REMOUNT, "") }
}

// byHandle opens the root folder of the file system below /var: inode 2 of ext4,
// generation 0 (fs/exportfs, FILEID_INO32_GEN).
func byHandle() (string, error) {
	dir, err := unix.Open(host+"/var", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	handle := unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0})
	fd, err := unix.OpenByHandleAt(dir, handle, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), "root of the file system")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return fmt.Sprint(names), err
}

// watchAll marks the whole file system, of which only a folder is the pod's.
func watchAll() error { return fanotify(unix.FAN_CLASS_NOTIF, unix.FAN_OPEN) }

func permissionEvents() error { return fanotify(unix.FAN_CLASS_CONTENT, unix.FAN_OPEN_PERM) }

func fanotify(class uint, mask uint64) error {
	fd, err := unix.FanotifyInit(class|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, mask, unix.AT_FDCWD, host+"/var")
}

// FIFREEZE and FITHAW of linux/fs.h.
const freeze, thaw = 0xc0045877, 0xc0045878

// quota turns user quotas off, if there are any (Q_QUOTAOFF, linux/quota.h).
func quota() error {
	const quotaOff = 0x800003 << 8
	f, err := os.Open(host + "/var")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), quotaOff, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// mountLine looks for a mount in the namespaces of all processes in sight.
func mountLine(text string) func() (string, error) {
	return func() (string, error) {
		list, err := pids()
		if err != nil {
			return "the attempt is broken: " + err.Error(), nil
		}
		for _, pid := range list {
			raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(raw)) {
				if strings.Contains(line, text) {
					return strings.TrimSpace(line), nil
				}
			}
		}
		return "", errNothing
	}
}

// mount shows a file system of the whole machine. None of the disks' nodes of
// devtmpfs could be opened, but all could be removed.
func mount(kind string) func() error {
	return func() error {
		dir, err := folder()
		if err != nil {
			return err
		}
		defer os.Remove(dir)
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
			return err
		}
		return unix.Unmount(dir, 0)
	}
}
