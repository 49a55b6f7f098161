package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/loopdev"
	"github.com/cyvive/cyvive/internal/machined/boot/verity"
)

// kept are mounts that stay until the end: the verified root, and what the
// last steps need. They hold nothing that could be lost.
var kept = map[string]bool{"/": true, "/dev": true, "/proc": true, "/sys": true, "/run": true}

// unmountOrder lists the mount points of a mountinfo file (proc_pid_mountinfo(5))
// that are to go, the newest first: a mount is always newer than what it is on.
func unmountOrder(mountinfo string) []string {
	var list []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		dir := unescape(fields[4])
		if !kept[dir] {
			list = append(list, dir)
		}
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

// unescape undoes the kernel's \ooo for space, tab, newline and backslash.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unmountAll unmounts what is not kept. What is busy is made read-only, which
// leaves its file system clean all the same, but the pool of a dataset in use.
func unmountAll() error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	var errs []error
	for _, dir := range unmountOrder(string(raw)) {
		errs = append(errs, unmount(dir))
	}
	return errors.Join(errs...)
}

func unmount(dir string) error {
	err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil // it is gone, perhaps with another mount
	}
	if ro := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); ro != nil {
		return fmt.Errorf("unmount %s: %w; make it read-only: %w", dir, err, ro)
	}
	return nil
}

// extensionDevices begins the names of the devices in which extensions are open (package extension/kernel).
const extensionDevices = "extension-"

// closeExtensions closes what extensions were mounted from. It lies on files of the data volume by way of loop devices, which end with it; until then that is busy,
// and its pool cannot be exported. What was busy is unmounted once more.
func closeExtensions() error {
	files, err := filepath.Glob("/sys/block/dm-*/dm/name") // since Linux 2.6.29
	if err != nil {
		return fmt.Errorf("list devices of extensions: %w", err)
	}
	var errs []error
	closed := false
	for _, file := range files {
		text, err := os.ReadFile(file)
		name := strings.TrimSpace(string(text))
		if err != nil || !strings.HasPrefix(name, extensionDevices) {
			continue
		}
		errs, closed = append(errs, verity.Close(name)), true
	}
	if closed {
		errs = append(errs, unmountAll())
	}
	return errors.Join(errs...)
}

// kubeletPaths begins the paths under which volumes are held that pods have as devices (package csi/mounter).
const kubeletPaths = "/var/lib/kubelet/"

// letGoOfVolumes ends the loop devices that hold pods' volumes, without which their pools could not be exported. One whose pool is suspended does not end, and
// keeps the others from nothing.
func letGoOfVolumes() error {
	held, err := loopdev.Kernel{}.List(kubeletPaths)
	errs := make([]error, len(held))
	var all sync.WaitGroup
	for i, h := range held {
		all.Go(func() {
			going, err := loopdev.Kernel{}.LetGo(h.Name)
			if err == nil {
				err = going.Close()
			}
			errs[i] = err
		})
	}
	all.Wait()
	return errors.Join(append(errs, err)...)
}
