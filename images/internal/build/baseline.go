package build

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/images/internal/oci"
	"github.com/cyvive/cyvive/images/internal/programs"
	"github.com/cyvive/cyvive/images/internal/step"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// baselinePackages are those of Debian on the baseline, beside what is essential:
// a system that boots, containerd, and what kubeadm's checks ask for.
var baselinePackages = []string{
	"systemd-sysv", "dbus", "udev", "kmod", "initramfs-tools", "zstd", "e2fsprogs", "iproute2", "procps",
	"containerd", "containernetworking-plugins", "iptables", "nftables", "conntrack", "ethtool", "socat", "ca-certificates",
}

// baselineDiskBytes is the size of its file system; what is not written takes no
// room on the build machine.
const baselineDiskBytes = 12 << 30

// containerised are the programs that kubeadm runs as static pods.
var containerised = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// Baseline makes the machine that the node is measured against: Debian with
// systemd and Debian's containerd, the kernel that the image has, and the same
// Kubernetes, set up by kubeadm at the first boot. It is in Out/Arch/baseline:
// disk.qcow2 (one ext4 file system), vmlinuz, initrd, and lists: packages and
// programs, and in download the bytes of it all, compressed with zstd.
func Baseline(ctx context.Context, o Options) error {
	o.Until = "bundle"
	b, err := newBuilder(o)
	if err != nil {
		return err
	}
	if err := b.runSteps(ctx); err != nil {
		return err
	}
	b.current = "baseline"
	return b.baseline(ctx)
}

func (b *builder) baseline(ctx context.Context) error {
	tools, err := programs.FindToolchain(ctx, b.Images)
	if err != nil {
		return err
	}
	pb := &programs.Builder{Images: b.Images, Arch: b.Arch, Go: tools}
	for _, p := range programs.Stock() {
		if err := b.program(ctx, pb, p); err != nil {
			return err
		}
	}
	files, err := b.baselineFiles(ctx)
	if err != nil {
		return err
	}
	sources, err := b.baselineSources()
	if err != nil {
		return err
	}
	key := []string{"baseline-1", b.Arch, b.pins.Kernel, strings.Join(baselinePackages, " ")}
	for _, name := range files.Paths() {
		e := files.Get(name)
		part := fmt.Sprintf("%s %v %v %s %s", name, e.Kind, e.Mode, e.Target, e.Data)
		if e.Source != "" {
			sum, err := hashFile(e.Source)
			if err != nil {
				return err
			}
			part += sum
		}
		key = append(key, part)
	}
	dir, err := b.run.Cached("baseline", step.Key(key...), func(dir string) error {
		return b.bootstrap(ctx, dir, files, sources)
	})
	if err != nil {
		return err
	}
	return b.publishDir("baseline", dir)
}

// baselineFiles are those that come to Debian's own.
func (b *builder) baselineFiles(ctx context.Context) (*tree.Tree, error) {
	kubernetes, err := programs.ModuleVersion(ctx, filepath.Join(b.Images, "baseline"), "k8s.io/kubernetes")
	if err != nil {
		return nil, err
	}
	etcd, err := programs.ModuleVersion(ctx, b.Images, "go.etcd.io/etcd/server/v3")
	if err != nil {
		return nil, err
	}
	t := tree.New()
	if err := t.AddDir("/", filepath.Join(b.Images, "baseline/root")); err != nil {
		return nil, err
	}
	fill := strings.NewReplacer("@VERSION@", b.version, "@KUBERNETES@", kubernetes, "@ETCD@", etcd)
	for _, name := range []string{"/etc/containerd/config.toml", "/etc/kubernetes/kubeadm.yaml"} {
		text, err := t.Get(name).Content()
		if err != nil {
			return nil, err
		}
		t.Write(name, 0o644, []byte(fill.Replace(string(text))))
	}
	for _, p := range programs.Stock() {
		name := strings.TrimPrefix(p.Name, "stock-")
		if !slices.Contains(containerised, name) {
			t.Copy("/usr/bin/"+name, 0o755, b.results.programs[p.Name])
		}
	}
	for _, name := range bundled {
		t.Copy("/var/lib/baseline/images/"+name+".tar", 0o644, filepath.Join(b.results.bundle, name+".tar"))
	}
	images := map[string]string{"etcd": etcd}
	for _, name := range containerised {
		images[name] = kubernetes
	}
	dir, err := b.cache.Dir(filepath.Join("own", b.Arch))
	if err != nil {
		return nil, err
	}
	for name, tag := range images {
		file := filepath.Join(dir, "baseline-"+name+".tar")
		if err := b.baselineImage(name, tag, file); err != nil {
			return nil, err
		}
		t.Copy("/var/lib/baseline/images/"+name+".tar", 0o644, file)
	}
	return t, nil
}

// baselineImage writes the image of one program, which runs as root: it reads
// the keys that kubeadm made.
func (b *builder) baselineImage(program, tag, file string) error {
	root := tree.New()
	root.MkdirAll("/dev", "/proc", "/sys", "/etc", "/tmp", "/usr/bin")
	root.Write("/etc/passwd", 0o644, []byte("root:x:0:0:root:/:\n"))
	root.Copy("/usr/bin/"+program, 0o755, cmp.Or(b.results.programs["stock-"+program], b.results.programs[program]))
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return oci.Write(f, oci.Image{
		Name: registry + program + ":" + tag, Tag: tag, Arch: b.Arch, Root: root,
		Entrypoint: []string{"/usr/bin/" + program}, User: "0:0", At: b.epoch(),
	})
}

// baselineSources are apt's, from the machine's own.
func (b *builder) baselineSources() ([]string, error) {
	c, err := client()
	if err != nil {
		return nil, err
	}
	return []string{
		"deb " + c.Addresses.Main + " trixie main",
		"deb " + c.Addresses.Main + " trixie-updates main",
		"deb " + c.Addresses.Security + " trixie-security main",
	}, nil
}

// bootstrap has mmdebstrap install Debian and the files, and turns the result
// into a disk. mmdebstrap's namespace maps further users than the builder's, so
// what its hooks write passes through a folder that all may write to.
func (b *builder) bootstrap(ctx context.Context, dir string, files *tree.Tree, sources []string) error {
	work, err := os.MkdirTemp("", "baseline-*")
	if err != nil {
		return fmt.Errorf("make baseline: %w", err)
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o777); err != nil {
		return fmt.Errorf("make baseline: %w", err)
	}
	archive := filepath.Join(work, "files.tar")
	if err := b.writeArchive(archive, files); err != nil {
		return err
	}
	args := []string{
		"--variant=minbase", "--format=null", "--mode=unshare", "--architectures=" + b.Arch,
		"--include=" + strings.Join(append([]string{"linux-image-" + b.pins.Kernel}, baselinePackages...), ","),
	}
	// While hooks run, /proc, /sys and more are mounted in the tree. A bind of the
	// tree alone shows it without them.
	view := filepath.Join(work, "view")
	for _, hook := range []string{
		`tar -C "$1" --no-same-owner -xf ` + archive,
		`rm -f "$1"/etc/machine-id; : >"$1"/etc/machine-id`,
		`chroot "$1" systemctl enable systemd-networkd kubelet kube-proxy baseline-init`,
		`chroot "$1" dpkg-query -W -f '${Package}\t${Version}\t${Installed-Size}\n' >` + filepath.Join(work, "packages"),
		`mkdir ` + view + ` && mount --bind "$1" ` + view,
		`cd ` + view + ` && find var/lib/apt/lists var/cache/apt -type f -delete`,
		`cd ` + view + ` && find usr/bin usr/sbin usr/lib/cni -type f -perm /111 -printf '%f\n' | sort >../programs`,
		`cd ` + view + ` && tar -cf - . | zstd -q -9 -T0 | wc -c >../download`,
		`cd ` + view + ` && cp boot/vmlinuz-* ../vmlinuz && cp boot/initrd.img-* ../initrd && chmod 644 ../vmlinuz ../initrd`,
		fmt.Sprintf("mke2fs -q -F -t ext4 -L root -d %s %s %dk", view, filepath.Join(work, "disk.raw"), baselineDiskBytes>>10),
		`umount ` + view,
	} {
		args = append(args, "--customize-hook="+hook)
	}
	args = append(args, "trixie", "/dev/null")
	args = append(args, sources...)
	name := "mmdebstrap"
	if os.Geteuid() == 0 {
		// As root it needs no further users, but its mounts are to be its own.
		args[2] = "--mode=root"
		name, args = "unshare", append([]string{"--mount", "--propagation", "private", "mmdebstrap"}, args...)
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return fmt.Errorf("make baseline: mmdebstrap is not there; `make bench` installs the package: %w", err)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+work)
	if err := b.run.Command(ctx, "baseline", cmd); err != nil {
		return err
	}
	for _, name := range []string{"packages", "programs", "download", "vmlinuz", "initrd"} {
		data, err := os.ReadFile(filepath.Join(work, name))
		if err != nil {
			return fmt.Errorf("make baseline: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("make baseline: %w", err)
		}
	}
	return b.run.Command(ctx, "baseline-disk", exec.CommandContext(ctx, "qemu-img", "convert", "-O", "qcow2",
		filepath.Join(work, "disk.raw"), filepath.Join(dir, "disk.qcow2")))
}

func (b *builder) writeArchive(name string, files *tree.Tree) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("make baseline: %w", err)
	}
	defer f.Close()
	if err := files.WriteTar(f, b.epoch()); err != nil {
		return fmt.Errorf("make baseline: %w", err)
	}
	return f.Chmod(0o644)
}
