package build

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cyvive/cyvive/images/internal/erofs"
)

var update = flag.Bool("update", false, "write the reviewed list of the image again")

// kept are files of the image whose content tests look at.
var kept = []string{cyviveDir + "/sbom.spdx.json", cyviveDir + "/release.json", cyviveDir + "/release-keys.pem", cyviveDir + "/policy-keys.pem"}

// built is what was read from the image.
type built struct {
	entries []erofs.Entry
	files   map[string][]byte // of kept
}

// readImage reads the built image back, once for all tests.
var readImage = sync.OnceValues(func() (built, error) {
	const outDir, images = "../../../out", "../.."
	root, err := filepath.Abs(filepath.Join(outDir, arch(), "root.erofs"))
	if err != nil {
		return built{}, err
	}
	if _, err := os.Stat(root); err != nil {
		return built{}, err
	}
	b, err := newBuilder(Options{Arch: arch(), Out: outDir, Images: images, Progress: io.Discard})
	if err != nil {
		return built{}, err
	}
	ctx := context.Background()
	if err := errors.Join(b.fetch(ctx), b.tree(ctx)); err != nil {
		return built{}, err
	}
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return built{}, err
	}
	defer os.RemoveAll(dir)
	out := built{files: map[string][]byte{}}
	if out.entries, err = erofs.Read(ctx, b.results.tree, root, dir); err != nil {
		return built{}, err
	}
	for _, name := range kept {
		if out.files[name], err = os.ReadFile(filepath.Join(dir, "root", name)); err != nil {
			return built{}, err
		}
	}
	return out, nil
})

func arch() string { return cmp.Or(os.Getenv("ARCH"), runtime.GOARCH) }

// image returns the entries of the built root.erofs.
func image(t *testing.T) []erofs.Entry {
	t.Helper()
	return builtImage(t).entries
}

// builtImage returns what is in the built root.erofs. Where REQUIRE_IMAGE=1 an
// image was promised, and its absence is a failure.
func builtImage(t *testing.T) built {
	t.Helper()
	im, err := readImage()
	switch {
	case errors.Is(err, os.ErrNotExist) && os.Getenv("REQUIRE_IMAGE") != "1":
		t.Skipf("no image was built: %v", err)
	case err != nil:
		t.Fatalf("read the image: %v", err)
	case len(im.entries) < 100:
		t.Fatalf("the image has only %d entries", len(im.entries))
	}
	return im
}

// pinned reports whether the content of a file is decided by the lock file alone.
// The modules that are compiled here have a signature, of whoever builds.
func pinned(e erofs.Entry) bool {
	switch name := path.Base(e.Path); {
	case path.Base(path.Dir(e.Path)) == builtModules:
		return false
	case strings.Contains(e.Path, "/lib/modules/"), strings.HasPrefix(e.Path, firmwareDir+"/"), strings.HasPrefix(e.Path, "/usr/share/doc/"), strings.Contains(name, ".so."), slices.Contains(dataFiles, e.Path), name == path.Base(authoritiesFile):
		return true
	default:
		return slices.ContainsFunc(cPrograms, func(p string) bool { return path.Base(p) == name }) || name == "mkfs.ext4"
	}
}

// TestImageIsAsReviewed compares the image with its reviewed list; "make golden"
// writes that again, for its difference to be read.
func TestImageIsAsReviewed(t *testing.T) {
	entries := image(t)
	name := filepath.Join("../../testdata", "root."+arch()+".list")
	if *update {
		g := erofs.NewGolden(entries, func(e erofs.Entry) bool { return !pinned(e) })
		if err := os.WriteFile(name, []byte(g.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g, err := erofs.ReadGolden(f)
	if err != nil {
		t.Fatal(err)
	}
	if diff := g.Compare(entries); len(diff) > 0 {
		t.Errorf("the image differs from %s in %d lines; if that is meant, run make golden and review it:\n%s",
			name, len(diff), strings.Join(diff[:min(len(diff), 40)], "\n"))
	}
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
		name := path.Base(f.Path)
		stem := strings.TrimRight(name, "0123456789.")
		for _, n := range []string{name, stem} {
			if what, ok := banned[n]; ok && f.Kind != "d" {
				t.Errorf("%s is in the image: %s", f.Path, what)
			}
		}
		if f.Content == "script" {
			t.Errorf("%s is a script", f.Path)
		}
	}
}

// programs that the image may hold, in any of its roots. A new one must be
// added here, and so be thought about.
var expected = map[string]bool{
	"init": true, "machined": true, "containerd": true, "containerd-shim-runc-v2": true, "runc": true,
	"mke2fs": true, "mkfs.ext4": true, "e2fsck": true, "cryptsetup": true, "zfs": true, "zpool": true, "mount": true, "umount": true,
	"etcd": true, "kubelet": true, "kube-apiserver": true, "kube-controller-manager": true, "kube-scheduler": true, "csi-controllers": true,
	"cyvive": true, // the CNI plugin, another name of init
}

func TestImageHoldsOnlyKnownPrograms(t *testing.T) {
	for _, f := range image(t) {
		name := path.Base(f.Path)
		switch {
		case f.Content != "elf", strings.HasSuffix(name, ".ko"), strings.Contains(name, ".so"):
		case !expected[name]:
			t.Errorf("%s is a program that nobody expects", f.Path)
		}
	}
}

func TestImageBelongsToRoot(t *testing.T) {
	for _, f := range image(t) {
		if f.UID != 0 || f.GID != 0 {
			t.Errorf("%s belongs to %d:%d", f.Path, f.UID, f.GID)
		}
		if f.Kind != "l" && f.Mode&0o002 != 0 {
			t.Errorf("%s has mode %o: anybody may write it", f.Path, f.Mode)
		}
		if f.Mode&^0o777 != 0 {
			t.Errorf("%s has mode %o: set-user-ID and the like are not for this image", f.Path, f.Mode)
		}
		if !strings.Contains("fdl", f.Kind) {
			t.Errorf("%s is of kind %s: neither file, directory nor link", f.Path, f.Kind)
		}
	}
}

func TestImageLayout(t *testing.T) {
	at := map[string]erofs.Entry{}
	for _, f := range image(t) {
		at[f.Path] = f
	}
	plane, rootfs := planeDir, rootfsDir
	for name, kind := range map[string]string{
		"/dev": "d", "/proc": "d", "/sys": "d", "/run": "d", "/tmp": "d", "/var": "d", "/state": "d",
		"/usr/bin/init": "f", "/usr/bin/machined": "f", "/usr/bin/mkfs.ext4": "f", "/sbin": "l",
		"/etc/os-release": "l", "/etc/resolv.conf": "l", "/etc/machine-id": "l", "/etc/mke2fs.conf": "f",
		rootfs + "/etcd/usr/bin/etcd": "f", rootfs + "/etcd/var/lib/etcd": "d", rootfs + "/etcd/secrets": "d",
		rootfs + "/kubernetes/usr/bin/csi-controllers": "f", "/usr/lib/cyvive/definitions/volumesnapshots.snapshot.storage.k8s.io.json": "f",
		rootfs + "/kubernetes/usr/bin/kube-apiserver": "f", rootfs + "/kubernetes/usr/bin/kube-scheduler": "f",
		plane + "/usr/bin/kubelet": "f", plane + "/opt/cni/bin/cyvive": "f", plane + "/etc/kubernetes": "d",
		authoritiesFile: "f", plane + authoritiesFile: "f", rootfs + "/kubernetes" + authoritiesFile: "f",
		plane + "/etc/containerd/certs.d": "d",
		plane + "/etc/cni/net.d":          "d", plane + "/usr/bin/mount": "f", plane + "/usr/lib/modules": "d",
		"/usr/lib/cyvive/images/pause.tar": "f", "/usr/lib/cyvive/release.json": "f",
		"/usr/lib/cyvive/release-keys.pem": "f",
	} {
		if got := at[name].Kind; got != kind {
			t.Errorf("%s is %q, want %s", name, got, kind)
		}
	}
	if _, ok := at["/etc/hostname"]; ok {
		t.Error("/etc/hostname is in the image; the node sets its name itself")
	}
}
