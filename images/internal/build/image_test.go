package build

import (
	"os"
	"path"
	"strings"
	"testing"
)

// listed is one line of root.list.
type listed struct {
	kind, mode, uid, gid, size, path, target, content string
}

// image reads the list of the built image. Where REQUIRE_IMAGE=1 an image was
// promised, and its absence is a failure.
func image(t *testing.T) []listed {
	t.Helper()
	b, err := os.ReadFile("../../../out/amd64/root.list")
	if err != nil {
		if os.Getenv("REQUIRE_IMAGE") == "1" {
			t.Fatalf("an image was promised: %v", err)
		}
		t.Skipf("no image was built: %v", err)
	}
	var out []listed
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 8 {
			t.Fatalf("root.list: %q has %d fields, want 8", line, len(f))
		}
		out = append(out, listed{f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]})
	}
	if len(out) < 100 {
		t.Fatalf("root.list has only %d lines", len(out))
	}
	return out
}

// banned are names of programs by which somebody could log in, run commands,
// or change the system.
var banned = map[string]string{
	"sh": "shell", "bash": "shell", "dash": "shell", "zsh": "shell", "ash": "shell", "ksh": "shell", "fish": "shell",
	"busybox": "shell", "toybox": "shell", "env": "runs programs", "xargs": "runs programs",
	"getty": "login", "agetty": "login", "login": "login", "su": "login", "sudo": "login", "sulogin": "login",
	"sshd": "remote login", "ssh": "remote login", "dropbear": "remote login", "telnetd": "remote login",
	"apt": "package manager", "apt-get": "package manager", "dpkg": "package manager", "rpm": "package manager", "apk": "package manager",
	"perl": "interpreter", "python": "interpreter", "python3": "interpreter", "ruby": "interpreter", "lua": "interpreter",
	"node": "interpreter", "awk": "interpreter", "mawk": "interpreter", "gawk": "interpreter", "sed": "interpreter",
	"gdb": "debugger", "gcc": "compiler", "systemd": "service manager", "ctr": "container client", "crictl": "container client",
	"kubectl": "cluster client", "nsenter": "enters namespaces", "chroot": "changes roots",
}

func TestImageHoldsNoWayIn(t *testing.T) {
	for _, f := range image(t) {
		name := path.Base(f.path)
		stem := strings.TrimRight(name, "0123456789.")
		for _, n := range []string{name, stem} {
			if what, ok := banned[n]; ok && f.kind != "dir" {
				t.Errorf("%s is in the image: %s", f.path, what)
			}
		}
		if f.content == "script" {
			t.Errorf("%s is a script", f.path)
		}
	}
}

// programs that the image may hold, in any of its roots. A new one must be
// added here, and so be thought about.
var expected = map[string]bool{
	"init": true, "machined": true, "containerd": true, "containerd-shim-runc-v2": true, "runc": true,
	"mke2fs": true, "mkfs.ext4": true, "e2fsck": true, "zfs": true, "zpool": true, "mount": true, "umount": true,
	"etcd": true, "kubelet": true, "kube-apiserver": true, "kube-controller-manager": true, "kube-scheduler": true,
	"cyvive": true, // the CNI plugin, another name of init
}

func TestImageHoldsOnlyKnownPrograms(t *testing.T) {
	for _, f := range image(t) {
		name := path.Base(f.path)
		switch {
		case f.content != "elf", strings.HasSuffix(name, ".ko"), strings.Contains(name, ".so"):
		case !expected[name]:
			t.Errorf("%s is a program that nobody expects", f.path)
		}
	}
}

func TestImageBelongsToRoot(t *testing.T) {
	for _, f := range image(t) {
		if f.uid != "0" || f.gid != "0" {
			t.Errorf("%s belongs to %s:%s", f.path, f.uid, f.gid)
		}
		if f.kind != "symlink" && strings.ContainsAny(f.mode[len(f.mode)-1:], "2367") {
			t.Errorf("%s has mode %s: anybody may write it", f.path, f.mode)
		}
		if len(f.mode) != 4 || f.mode[0] != '0' {
			t.Errorf("%s has mode %s: set-user-ID and the like are not for this image", f.path, f.mode)
		}
	}
}

func TestImageLayout(t *testing.T) {
	at := map[string]listed{}
	for _, f := range image(t) {
		at[f.path] = f
	}
	plane, rootfs := planeDir, rootfsDir
	for name, kind := range map[string]string{
		"/dev": "dir", "/proc": "dir", "/sys": "dir", "/run": "dir", "/tmp": "dir", "/var": "dir", "/state": "dir",
		"/usr/bin/init": "file", "/usr/bin/machined": "file", "/usr/bin/mkfs.ext4": "link", "/sbin": "symlink",
		"/etc/os-release": "symlink", "/etc/resolv.conf": "symlink", "/etc/machine-id": "symlink", "/etc/mke2fs.conf": "file",
		rootfs + "/etcd/usr/bin/etcd": "file", rootfs + "/etcd/var/lib/etcd": "dir", rootfs + "/etcd/secrets": "dir",
		rootfs + "/kubernetes/usr/bin/kube-apiserver": "file", rootfs + "/kubernetes/usr/bin/kube-scheduler": "link",
		plane + "/usr/bin/kubelet": "link", plane + "/opt/cni/bin/cyvive": "link", plane + "/etc/kubernetes": "dir",
		plane + "/etc/cni/net.d": "dir", plane + "/usr/bin/mount": "file", plane + "/usr/lib/modules": "dir",
		"/usr/lib/cyvive/images/pause.tar": "file", "/usr/lib/cyvive/release.json": "file",
	} {
		if got := at[name].kind; got != kind {
			t.Errorf("%s is %q, want a %s", name, got, kind)
		}
	}
	if _, ok := at["/etc/hostname"]; ok {
		t.Error("/etc/hostname is in the image; the node sets its name itself")
	}
}
