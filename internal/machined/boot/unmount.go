package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/loopdev"
	"github.com/cyvive/cyvive/internal/machined/boot/verity"
)

// kept are mounts that stay until the end: the verified root, and what the
// last steps need. They hold nothing that could be lost.
var kept = map[string]bool{"/": true, "/dev": true, "/proc": true, "/sys": true, "/run": true}

// mounted is a mount point, with the pool that is mounted there; of another file system it
// is the source behind a slash, which no pool's name begins with.
type mounted struct{ dir, on string }

// unmountOrder lists the mounts of a mountinfo file (proc_pid_mountinfo(5)) that are to
// go, the newest first: a mount is always newer than what it is on.
func unmountOrder(mountinfo string) []mounted {
	var list []mounted
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		dir := unescape(fields[4])
		if !kept[dir] {
			list = append(list, mounted{dir, sourceOf(fields)})
		}
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

// sourceOf is what a mount with these fields of mountinfo is on; empty if they do not say.
func sourceOf(fields []string) string {
	i := slices.Index(fields, "-")
	if i < 0 || i+2 >= len(fields) {
		return ""
	}
	source := unescape(fields[i+2])
	if fields[i+1] != "zfs" {
		return "/" + source
	}
	if end := strings.IndexAny(source, "/@"); end >= 0 {
		source = source[:end]
	}
	return source
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
func unmountAll(p *parting) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		p.failed(fmt.Errorf("list mounts: %w", err))
		return
	}
	for _, m := range unmountOrder(string(raw)) {
		p.do("unmount "+m.dir, m.on, func() error { return unmount(m.dir) })
	}
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
func closeExtensions(p *parting) {
	files, err := filepath.Glob("/sys/block/dm-*/dm/name") // since Linux 2.6.29
	if err != nil {
		p.failed(fmt.Errorf("list devices of extensions: %w", err))
		return
	}
	closed := false
	for _, file := range files {
		text, err := os.ReadFile(file)
		name := strings.TrimSpace(string(text))
		if err != nil || !strings.HasPrefix(name, extensionDevices) {
			continue
		}
		p.do("close "+name, "", func() error { return verity.Close(name) })
		closed = true
	}
	if closed {
		unmountAll(p)
	}
}

// kubeletPaths begins the paths under which volumes are held that pods have as devices (package csi/mounter).
const kubeletPaths = "/var/lib/kubelet/"

// letGoOfVolumes ends the loop devices that hold pods' volumes, without which their pools could not be exported. One whose pool is suspended does not end, and
// keeps the others from nothing.
func letGoOfVolumes(p *parting) {
	held, err := loopdev.Kernel{}.List(kubeletPaths)
	p.failed(err)
	for _, h := range held {
		p.begin("let go of "+h.As, "", func() error {
			going, err := loopdev.Kernel{}.LetGo(h.Name)
			if err != nil {
				return err
			}
			return going.Close()
		})
	}
}
