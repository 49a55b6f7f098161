package build

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cyvive/cyvive/images/internal/tree"
)

const (
	cyviveDir = "/usr/lib/cyvive"
	rootfsDir = cyviveDir + "/rootfs"
	planeDir  = cyviveDir + "/plane"
)

// merged are the links that programs built for Debian's layout expect.
var merged = map[string]string{"/bin": "usr/bin", "/sbin": "usr/bin", "/lib": "usr/lib", "/lib64": "usr/lib64"}

// layout puts the root file system together. docs/architecture.md describes
// it for readers.
func (b *builder) layout() (*tree.Tree, error) {
	t := tree.New()
	t.MkdirAll("/dev", "/proc", "/sys", "/run", "/tmp", "/var", "/state", "/etc", "/usr/bin", "/usr/lib", "/usr/lib64")
	for name, target := range merged {
		t.Symlink(name, target)
	}
	for _, add := range []func(*tree.Tree) error{
		b.addUserland, b.addPrograms, b.addModules, b.addFirmware, b.addMicrocodeLicenses, b.addIdentity, b.addSystemRootfs, b.addPlane, b.addBundle, b.addDefinitions,
		b.addKeys, b.addOwner, b.addExtensionKeys, b.addLoader, b.Variant.change,
	} {
		if err := add(t); err != nil {
			return nil, fmt.Errorf("lay out root: %w", err)
		}
	}
	return t, nil
}

// addUserland places the C programs, all in /usr/bin: /sbin is a link to it.
func (b *builder) addUserland(t *tree.Tree) error {
	u, err := b.openUserland()
	if err != nil {
		return err
	}
	for _, name := range u.Paths() {
		e := u.Get(name)
		if e.Kind == tree.Dir || strings.HasPrefix(name, bootDir) || isMount(name) {
			continue // mount and umount are for the plane only
		}
		t.Put(strings.Replace(name, "/usr/sbin/", "/usr/bin/", 1), e)
	}
	return t.Hardlink("/usr/bin/mkfs.ext4", "/usr/bin/mke2fs")
}

func isMount(name string) bool { return name == "/usr/bin/mount" || name == "/usr/bin/umount" }

func (b *builder) addPrograms(t *tree.Tree) error {
	for _, name := range []string{"init", "machined", "containerd", "containerd-shim-runc-v2", "runc"} {
		t.Copy("/usr/bin/"+name, 0o755, b.results.programs[name])
	}
	return nil
}

func (b *builder) addModules(t *tree.Tree) error {
	return t.AddDir("/usr/lib/modules/"+b.pins.Kernel, b.results.modules)
}

// addIdentity places /etc: the static files and those that name the version.
func (b *builder) addIdentity(t *tree.Tree) error {
	t.Write("/usr/lib/os-release", 0o644, b.osRelease())
	t.Symlink("/etc/os-release", "../usr/lib/os-release")
	t.Symlink("/etc/resolv.conf", "/run/cyvive/resolv.conf")
	t.Symlink("/etc/machine-id", "/run/cyvive/machine-id")
	t.Symlink("/etc/mtab", "/proc/self/mounts")
	return t.AddDir("/", filepath.Join(b.Images, "files/root"))
}

// osRelease is os-release(5), in the root and in the boot image.
func (b *builder) osRelease() []byte {
	return fmt.Appendf(nil, "ID=cyvive\nNAME=Cyvive\nPRETTY_NAME=\"Cyvive %[1]s\"\nVERSION_ID=%[1]s\nIMAGE_ID=cyvive\nIMAGE_VERSION=%[1]s\n", b.version)
}

// addSystemRootfs makes the root directories of the system plane's containers.
func (b *builder) addSystemRootfs(t *tree.Tree) error {
	etcd, kube := rootfsDir+"/etcd", rootfsDir+"/kubernetes"
	for _, dir := range []string{etcd, kube} {
		for _, d := range []string{"dev", "proc", "sys", "tmp", "run", "secrets", "etc", "usr/bin"} {
			t.MkdirAll(dir + "/" + d)
		}
		for _, f := range []string{"hosts", "passwd"} {
			if err := t.Hardlink(dir+"/etc/"+f, "/etc/"+f); err != nil {
				return err
			}
		}
	}
	t.MkdirAll(etcd + "/var/lib/etcd")
	t.Copy(etcd+"/usr/bin/etcd", 0o755, b.results.programs["etcd"])
	first := kube + "/usr/bin/kube-apiserver"
	t.Copy(first, 0o755, b.results.programs["kubernetes"])
	// The API server's webhooks and issuers of tokens may have public certificates.
	if err := t.Hardlink(kube+authoritiesFile, authoritiesFile); err != nil {
		return err
	}
	for _, name := range []string{kube + "/usr/bin/kube-controller-manager", kube + "/usr/bin/kube-scheduler", kube + "/usr/bin/csi-controllers", planeDir + "/usr/bin/kubelet"} {
		if err := t.Hardlink(name, first); err != nil {
			return err
		}
	}
	return nil
}

// addPlane makes the root directory of the workload plane.
func (b *builder) addPlane(t *tree.Tree) error {
	t.MkdirAll(planeDir)
	for _, d := range []string{
		"dev", "proc", "sys", "run", "tmp", "var", "mnt", "root", "usr/bin", "usr/lib/modules", "usr/lib64",
		"etc/kubernetes", "etc/cni/net.d", "etc/containerd/certs.d", "opt/cni/bin",
	} {
		t.MkdirAll(planeDir + "/" + d)
	}
	for name, target := range merged {
		t.Symlink(planeDir+name, target)
	}
	t.Symlink(planeDir+"/etc/resolv.conf", "/run/resolv.conf")
	t.Symlink(planeDir+"/etc/machine-id", "/run/machine-id")
	t.Symlink(planeDir+"/etc/mtab", "/proc/self/mounts")
	links := map[string]string{"/opt/cni/bin/cyvive": "/usr/bin/init", "/etc/os-release": "/usr/lib/os-release", authoritiesFile: authoritiesFile}
	for _, name := range []string{"init", "containerd", "containerd-shim-runc-v2", "runc"} {
		links["/usr/bin/"+name] = "/usr/bin/" + name
	}
	for name, target := range links {
		if err := t.Hardlink(planeDir+name, target); err != nil {
			return err
		}
	}
	if err := b.addMount(t); err != nil {
		return err
	}
	if err := t.AddDir(planeDir, filepath.Join(b.Images, "files/plane")); err != nil {
		return err
	}
	// The sandbox image has the version of the image.
	const config = planeDir + "/etc/containerd/config.toml"
	text, err := t.Get(config).Content()
	if err != nil {
		return err
	}
	t.Write(config, 0o644, bytes.ReplaceAll(text, []byte("@VERSION@"), []byte(b.version)))
	return nil
}

// addMount gives the plane mount and umount, which kubelet runs, and the
// libraries they need.
func (b *builder) addMount(t *tree.Tree) error {
	u, err := b.openUserland()
	if err != nil {
		return err
	}
	sub := tree.New()
	names, err := tree.CopyClosure(sub, u, libDir(b.Arch), "/usr/bin/mount", "/usr/bin/umount")
	if err != nil {
		return err
	}
	for _, name := range names {
		if t.Get(name) == nil {
			t.Put(planeDir+name, sub.Get(name))
		} else if err := t.Hardlink(planeDir+name, name); err != nil {
			return err
		}
	}
	return nil
}

// addBundle places the bundled container images and the release description.
func (b *builder) addBundle(t *tree.Tree) error {
	for _, name := range bundled {
		t.Copy(cyviveDir+"/images/"+name+".tar", 0o644, filepath.Join(b.results.bundle, name+".tar"))
	}
	r, err := b.release()
	if err != nil {
		return err
	}
	t.Write(cyviveDir+"/release.json", 0o644, r)
	t.Write(cyviveDir+"/sbom.spdx.json", 0o644, b.results.sbom)
	return nil
}

// release is the content of release.json.
func (b *builder) release() ([]byte, error) {
	r := struct {
		Version string `json:"version"`
		// Floor is the oldest version that a node of this release may be taken to.
		Floor      string      `json:"floor"`
		Kernel     string      `json:"kernel"`
		Components []component `json:"components"`
		Images     []string    `json:"images"`
	}{b.version, b.floor, b.pins.Kernel, b.results.components, nil}
	for _, name := range bundled {
		r.Images = append(r.Images, b.imageName(name))
	}
	out, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode release: %w", err)
	}
	return append(out, '\n'), nil
}
