package boot

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one line of the table of kernel file systems.
type mount struct {
	fstype, dir string
	flags       uintptr
	data        string
	optional    bool // the kernel, or this machine, may not have it
}

const (
	noSuidDev     = unix.MS_NOSUID | unix.MS_NODEV
	noSuidDevExec = noSuidDev | unix.MS_NOEXEC
)

// kernelMounts are mounted in this order, after those of stage 1 (/dev, /proc,
// /sys, /run). EFI variables are read-only: some firmware does not survive
// that a wrong one is deleted. /run of the workload plane is a file system of its own:
// what fills it, or makes it read-only, is nothing to the node's.
var kernelMounts = []mount{
	{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666", false},
	{"tmpfs", "/dev/shm", noSuidDev, "mode=1777,size=50%", false},
	{"mqueue", "/dev/mqueue", noSuidDevExec, "", true},
	{"hugetlbfs", "/dev/hugepages", noSuidDev, "", true},
	{"cgroup2", cgroupRoot, noSuidDevExec, "nsdelegate,memory_recursiveprot", false},
	{"bpf", "/sys/fs/bpf", noSuidDevExec, "mode=0700", true},
	{"securityfs", "/sys/kernel/security", noSuidDevExec, "", true},
	{"tracefs", "/sys/kernel/tracing", noSuidDevExec, "mode=0700", true},
	{"pstore", "/sys/fs/pstore", noSuidDevExec, "", true},
	{"efivarfs", "/sys/firmware/efi/efivars", noSuidDevExec | unix.MS_RDONLY, "", true},
	{"tmpfs", "/tmp", noSuidDev, "mode=1777,size=10%", false},
	{"tmpfs", runDir + "/plane", noSuidDev, "mode=0755,size=20%", false},
}

// mountKernel mounts the table. It reports all that failed, but that an
// optional one is unknown to the kernel is no failure.
func mountKernel(table []mount) error {
	var errs []error
	for _, m := range table {
		if strings.HasPrefix(m.dir, "/dev/") || strings.HasPrefix(m.dir, "/run/") {
			if err := os.MkdirAll(m.dir, 0o755); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		err := unix.Mount(m.fstype, m.dir, m.fstype, m.flags, m.data)
		absent := errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP)
		if err == nil || errors.Is(err, unix.EBUSY) || m.optional && absent {
			continue
		}
		errs = append(errs, fmt.Errorf("mount %s on %s: %w", m.fstype, m.dir, err))
	}
	return errors.Join(errs...)
}

// shareMounts makes all mounts propagate to the mount namespaces below, as
// Kubernetes needs for volumes.
func shareMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	return nil
}

// devLinks are the links that programs expect in /dev and devtmpfs lacks.
func devLinks() error {
	var errs []error
	for name, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "fd/0", "/dev/stdout": "fd/1", "/dev/stderr": "fd/2",
	} {
		if err := os.Symlink(target, name); err != nil && !errors.Is(err, os.ErrExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
