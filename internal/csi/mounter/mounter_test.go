package mounter

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/storage/signature"
)

// TestPathsStayBelow: what lies in the directory leads nowhere else, whoever put it there.
func TestPathsStayBelow(t *testing.T) {
	top := t.TempDir()
	root, outside := filepath.Join(top, "kubelet"), filepath.Join(top, "outside")
	for _, dir := range []string{root + "/pods/p", outside} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"absolute": outside, "relative": "../../outside", "inside": "p", "dots": "..", "proc": "/proc/self/root"} {
		if err := os.Symlink(to, filepath.Join(root, "pods", name)); err != nil {
			t.Fatal(err)
		}
	}
	victim := filepath.Join(outside, "file")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := New(root, Tools{}, Devices{})
	for _, target := range []string{
		"pods/absolute/file", "pods/relative/file", "pods/inside/file", "pods/dots/pods/p", "pods/proc/etc", "../outside/file", "/" + victim, victim, "..", ".", "",
		"pods/../../outside/file", "pods/p/../../../outside/file", "pods//p", "pods/p/",
	} {
		if err := m.Remove(t.Context(), target); err == nil {
			t.Errorf("Remove(%q): no error", target)
		}
		if err := m.Unmount(t.Context(), target); err == nil {
			t.Errorf("Unmount(%q): no error", target)
		}
		if err := m.MakeDirectory(target); err == nil {
			t.Errorf("MakeDirectory(%q): no error", target)
		}
		if l, err := m.Listen(target); err == nil {
			t.Errorf("Listen(%q): no error", target)
			l.Close()
		}
		if m.Present(target) {
			t.Errorf("Present(%q)", target)
		}
	}
	if _, err := os.Stat(victim); err != nil {
		t.Errorf("the file outside: %v", err)
	}
	// A link as the last name is that which is removed, and not what it leads to.
	if err := m.Remove(t.Context(), "pods/absolute"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("the directory outside: %v", err)
	}
	for _, target := range []string{"pods/p", "pods/p", "pods/gone", "gone/p"} {
		if err := m.Remove(t.Context(), target); err != nil {
			t.Errorf("Remove(%q): %v", target, err)
		}
	}
	if err := m.Unmount(t.Context(), "gone/p"); err != nil {
		t.Error(err)
	}
}

// TestListen: a socket takes the place of an old one, is known to be there, and goes by its name.
func TestListen(t *testing.T) {
	m := New(t.TempDir(), Tools{}, Devices{})
	if err := m.MakeDirectory("plugins"); err != nil {
		t.Fatal(err)
	}
	const target = "plugins/csi.sock"
	for range 2 {
		l, err := m.Listen(target)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(filepath.Join(m.root, target))
		if err != nil || info.Mode() != os.ModeSocket|0o600 || !m.Present(target) {
			t.Errorf("socket: %v, %v", info.Mode(), err)
		}
		l.Close()
		if !m.Present(target) {
			t.Error("closing has removed the socket by its name, which may be another's by then")
		}
	}
	if err := m.Remove(t.Context(), target); err != nil || m.Present(target) {
		t.Errorf("remove: %v", err)
	}
	if _, err := m.Listen("gone/csi.sock"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("without a directory: %v", err)
	}
}

// TestListenIsNotLedAway: what somebody puts in the place of a socket that was made just now is not changed, nor what it leads to.
func TestListenIsNotLedAway(t *testing.T) {
	m := New(t.TempDir(), Tools{}, Devices{})
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.Mkdir(victim, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(m.root, "link")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(m.root, "file")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chmod(file, 0o644), os.Chmod(victim, 0o755)); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	for _, name := range []string{"link", "file", "gone"} {
		dir, last, err := m.parent(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := restrict(dir, last); err == nil {
			t.Errorf("%s: no error", name)
		}
		dir.Close()
	}
	for path, want := range map[string]os.FileMode{victim: os.ModeDir | 0o755, file: 0o644} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has the mode %v, want %v", path, info.Mode(), want)
		}
	}
}

// TestGrowOpensDirectories: a pipe in the place of a mount is an error, and nothing to wait for.
func TestGrowOpensDirectories(t *testing.T) {
	m := New(t.TempDir(), Tools{}, Devices{})
	if err := unix.Mkfifo(filepath.Join(m.root, "mount"), 0o600); err != nil {
		t.Fatal(err)
	}
	grown := make(chan error, 1)
	go func() { grown <- m.Grow(t.Context(), "ext4", "mount") }()
	select {
	case err := <-grown:
		if !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("a pipe: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for somebody to write to the pipe")
		if f, err := os.OpenFile(filepath.Join(m.root, "mount"), os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
			f.Close() // lets it go on
		}
	}
}

func TestMountOf(t *testing.T) {
	for _, c := range []struct {
		info   mountinfo.Info
		want   csi.Mount
		device string
	}{
		{
			mountinfo.Info{Mountpoint: "/k/a/mount", FSType: "zfs", Source: "node/plane/volumes/a", Root: "/", Options: "rw,nodev,noatime", VFSOptions: "rw,xattr"},
			csi.Mount{Volume: "node/plane/volumes/a", Target: "a/mount", FileSystem: "zfs"}, "",
		},
		{
			mountinfo.Info{Mountpoint: "/k/a", FSType: "ext4", Source: "/dev/zd16", Root: "/", Options: "ro,nodev"},
			csi.Mount{Target: "a", FileSystem: "ext4", ReadOnly: true}, "/dev/zd16",
		},
		{
			mountinfo.Info{Mountpoint: "/k/a", FSType: "devtmpfs", Source: "devtmpfs", Root: "/zd0", Options: "rw"},
			csi.Mount{Target: "a"}, "/dev/zd0",
		},
		{
			mountinfo.Info{Mountpoint: "/k/a", FSType: "devtmpfs", Source: "devtmpfs", Root: "/sda", Options: "rw"},
			csi.Mount{Target: "a"}, "",
		},
		{
			mountinfo.Info{Mountpoint: "/k/a", FSType: "ext4", Source: "/dev/sda1", Options: "rw,errors=remount-ro"},
			csi.Mount{Target: "a", FileSystem: "ext4"}, "",
		},
	} {
		got, device := mountOf("/k", &c.info)
		if diff := cmp.Diff(c.want, got); diff != "" || device != c.device {
			t.Errorf("%+v: device %q (-want +got):\n%s", c.info, device, diff)
		}
	}
}

// TestMounted: the kernel's own list, of a directory in which nothing is mounted.
func TestMounted(t *testing.T) {
	all, err := New(t.TempDir(), Tools{}, Devices{}).Mounted(t.Context())
	if err != nil || len(all) > 0 {
		t.Errorf("got %v, %v", all, err)
	}
}

// TestHolds: a file system that is at its place is what a device holds; a picture of one elsewhere is not, and nothing else is taken for nothing.
func TestHolds(t *testing.T) {
	put := func(at int, what string, more ...string) string {
		b := make([]byte, 4<<20)
		copy(b[at:], what)
		if len(more) > 0 {
			copy(b[len(b)-len(more[0]):], more[0])
		}
		return string(b)
	}
	for _, c := range []struct{ name, data, want string }{
		{"blank", put(0, ""), ""},
		{"ext4", put(1024+0x38, "\x53\xEF"), "ext4"},
		{"xfs", put(0, "XFSB"), "xfs"},
		{"ext4 with something at the end", put(1024+0x38, "\x53\xEF", "EFI PART"), "ext4"},
	} {
		found, err := signature.Find(strings.NewReader(c.data), int64(len(c.data)))
		if err != nil {
			t.Fatal(err)
		}
		if got := holds(found); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	data := put(4096, "somebody's")
	found, err := signature.Find(strings.NewReader(data), int64(len(data)))
	if got := holds(found); err != nil || got == "" || got == "ext4" || got == "xfs" {
		t.Errorf("data: got %q, %v", got, err)
	}
}

// TestLayouts: structures have the kernel's sizes, which are a part of the numbers of their calls.
func TestLayouts(t *testing.T) {
	for name, c := range map[string]struct {
		request uintptr
		bytes   uintptr
	}{
		"BLKZNAME": {zname, zfsNameBytes}, "EXT4_IOC_RESIZE_FS": {resizeFS, 8},
		"XFS_IOC_FSGEOMETRY_V1": {xfsGeometry, unsafe.Sizeof(geometry{})}, "XFS_IOC_FSGROWFSDATA": {xfsGrow, unsafe.Sizeof(growth{})},
	} {
		// _IOC_SIZE of include/uapi/asm-generic/ioctl.h.
		if got := c.request >> 16 & 0x3fff; got != c.bytes {
			t.Errorf("%s: %d bytes in its number, %d in the structure", name, got, c.bytes)
		}
	}
}

const formatted = "node/plane/volumes/a"

// formatter returns a Mounter for which a file of 16 MiB is the device of a volume, and says its name once it is open.
func formatter(t *testing.T, tools Tools, name string) (m *Mounter, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "device")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 16<<20)); err != nil {
		t.Fatal(err)
	}
	z, m := newZvols(t)
	z.put("/dev/zd0", 1, formatted)
	m.tools = tools
	m.file = func(string) (*os.File, error) { return os.Open(file) }
	m.nameOpen = func(*os.File) (string, error) { return name, nil }
	return m, file
}

// TestFormat makes and checks a real file system, on a file in the place of a device.
func TestFormat(t *testing.T) {
	tools := Tools{Mke2fs: find(t, "mke2fs"), E2fsck: find(t, "e2fsck")}
	if d := cmp.Diff([]string{"ext4"}, tools.FileSystems()); d != "" {
		t.Errorf("file systems that can be made (-want +got):\n%s", d)
	}
	m, file := formatter(t, tools, formatted)
	if got, err := m.Holds(t.Context(), formatted); err != nil || got != "" {
		t.Errorf("before, it holds %q, %v", got, err)
	}
	if err := m.Format(t.Context(), formatted, "ext4"); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Holds(t.Context(), formatted); err != nil || got != "ext4" {
		t.Errorf("it holds %q, %v", got, err)
	}
	if err := m.Repair(t.Context(), formatted, "ext4"); err != nil {
		t.Error(err)
	}
	if err := m.Format(t.Context(), formatted, "xfs"); err == nil {
		t.Error("a file system was made for which there is no program")
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := run(t.Context(), f, nil, tools.E2fsck, "-p", file+"-gone"); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("of no device: %v", err)
	}
}

// TestFormatOther: a device that has become another volume's between the look and the opening is neither read, nor written to, nor mounted.
func TestFormatOther(t *testing.T) {
	m, _ := formatter(t, Tools{Mke2fs: "/nosuch/mke2fs", E2fsck: "/nosuch/e2fsck"}, "node/plane/volumes/b")
	for what, do := range map[string]func() error{
		"Holds":  func() error { _, err := m.Holds(t.Context(), formatted); return err },
		"Format": func() error { return m.Format(t.Context(), formatted, "ext4") },
		"Repair": func() error { return m.Repair(t.Context(), formatted, "ext4") },
		"Mount": func() error {
			return m.Mount(t.Context(), csi.Mount{Volume: formatted, Target: "a", FileSystem: "ext4"})
		},
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "it has become that of node/plane/volumes/b") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestFormatKeepsTheDevice: a program has the device open from its first moment on, so that no other can come to its path.
func TestFormatKeepsTheDevice(t *testing.T) {
	if os.Getenv("CYVIVE_VM") == "1" {
		t.Skip("takes a shell, and runs on the machine that builds")
	}
	program := filepath.Join(t.TempDir(), "program")
	const script = "#!/bin/sh\nfor device; do :; done\ntest /proc/self/fd/3 -ef \"$device\" || exit 9\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	m, _ := formatter(t, Tools{Mke2fs: program, E2fsck: program}, formatted)
	if err := errors.Join(m.Format(t.Context(), formatted, "ext4"), m.Repair(t.Context(), formatted, "ext4")); err != nil {
		t.Error(err)
	}
}

// find returns a program of the machine's e2fsprogs, without which the test is skipped.
func find(t *testing.T, program string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/bin/"} {
		if _, err := os.Stat(dir + program); err == nil {
			return dir + program
		}
	}
	if os.Getenv("REQUIRE_ROOT") == "1" {
		t.Fatalf("REQUIRE_ROOT=1 promised %s of e2fsprogs, and it is not installed", program)
	}
	t.Skipf("needs %s of e2fsprogs", program)
	return ""
}
