package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/images/internal/lock"
	"github.com/cyvive/cyvive/images/internal/step"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// cPrograms are the C programs of the image, by their path in Debian's
// packages.
var cPrograms = []string{
	"/usr/sbin/mke2fs", "/usr/sbin/e2fsck", "/usr/sbin/zfs", "/usr/sbin/zpool", "/usr/sbin/cryptsetup",
	"/usr/bin/mount", "/usr/bin/umount",
}

// loadedLibraries are opened by name at run time, so that no program lists them: libgcc_s by glibc's pthread_cancel (nptl/pthread_cancel.c), which zfs send
// ends its thread of progress with, and aborts without.
func loadedLibraries(arch string) []string { return []string{libDir(arch) + "/libgcc_s.so.1"} }

// dataFiles are what programs read: mke2fs its defaults, zpool the features of a release that a pool is kept to (zpoolprops(7), compatibility).
var dataFiles = []string{"/etc/mke2fs.conf", "/usr/share/zfs/compatibility.d/openzfs-2.3"}

// bootFiles of the package systemd-boot-efi go into the image's boot
// partition, not into its root.
const bootDir = "/usr/lib/systemd/boot/efi/"

// libDir is where Debian keeps the libraries of an architecture.
func libDir(arch string) string {
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[arch]
	return "/usr/lib/" + triplet
}

// userland takes the C programs with exactly the libraries they need, the boot
// loader and the public certificate authorities out of the packages; its result is a
// tree archive.
func (b *builder) userland(context.Context) error {
	var sums []string
	var packages []lock.Package
	for _, p := range b.pins.Packages {
		if imagePackage(p.Name) {
			packages, sums = append(packages, p), append(sums, p.SHA256)
		}
	}
	key := step.Key("userland-4", b.Arch, strings.Join(slices.Concat(cPrograms, loadedLibraries(b.Arch), dataFiles), " "), strings.Join(sums, " "))
	dir, err := b.run.Cached("userland", key, func(dir string) error {
		from, to := tree.New(), tree.New()
		owner := map[string]string{} // path → package
		for _, p := range packages {
			err := from.AddDeb(b.cache.Deb(p.SHA256), func(name string) bool {
				keep := b.imageFile(name)
				if keep {
					owner[name] = p.Name
				}
				return keep
			})
			if err != nil {
				return err
			}
		}
		if _, err := tree.CopyClosure(to, from, libDir(b.Arch), append(loadedLibraries(b.Arch), cPrograms...)...); err != nil {
			return err
		}
		for _, name := range from.Paths() {
			if e := from.Get(name); e.Kind == tree.File && (strings.HasPrefix(name, bootDir) || slices.Contains(dataFiles, name)) {
				to.Put(name, e)
			}
		}
		bundle, err := authorities(from)
		if err != nil {
			return err
		}
		to.Write(authoritiesFile, 0o644, bundle)
		owner[authoritiesFile] = authoritiesPackage
		if err := writeOwners(filepath.Join(dir, "packages"), to, owner); err != nil {
			return err
		}
		f, err := os.Create(filepath.Join(dir, "userland.tar"))
		if err != nil {
			return err
		}
		defer f.Close()
		return to.WriteTar(f, b.epoch())
	})
	if err != nil {
		return err
	}
	b.results.userland = filepath.Join(dir, "userland.tar")
	if err := b.publishLoader(); err != nil {
		return err
	}
	return b.cComponents(filepath.Join(dir, "packages"))
}

// imagePackage reports whether files of the package may go into the image.
func imagePackage(name string) bool {
	switch name {
	case "cryptsetup-bin", "e2fsprogs", "mount", "zfsutils-linux", "systemd-boot-efi", "zlib1g", authoritiesPackage:
		return true
	}
	return strings.HasPrefix(name, "lib") && !strings.HasSuffix(name, "-dev")
}

// imageFile reports whether the image can use a file of those packages.
func (b *builder) imageFile(name string) bool {
	dir := filepath.Dir(name)
	switch {
	case dir == "/usr/bin", dir == "/usr/sbin", dir == libDir(b.Arch), dir == "/usr/lib64":
		return true
	case slices.Contains(dataFiles, name), strings.HasPrefix(name, bootDir), isAuthority(name):
		return true
	}
	return false
}

// writeOwners writes the names of the packages that the files of t are from.
func writeOwners(file string, t *tree.Tree, owner map[string]string) error {
	var names []string
	for _, name := range t.Paths() {
		if t.Get(name).Kind == tree.Dir {
			continue
		}
		if owner[name] == "" {
			return fmt.Errorf("find the package of %s: none has it", name)
		}
		names = append(names, owner[name])
	}
	slices.Sort(names)
	return os.WriteFile(file, []byte(strings.Join(slices.Compact(names), "\n")), 0o644)
}

// cComponents lists the Debian packages of which something is in the image: the
// kernel, and those that owners names.
func (b *builder) cComponents(owners string) error {
	text, err := os.ReadFile(owners)
	if err != nil {
		return err
	}
	for _, name := range append([]string{"linux-image-" + b.pins.Kernel}, strings.Fields(string(text))...) {
		p, err := b.pins.Find(name)
		if err != nil {
			return err
		}
		b.results.components = append(b.results.components, component{name, p.Version, p.Path})
		b.results.packages = append(b.results.packages, p)
	}
	return nil
}

// openUserland reads the tree archive.
func (b *builder) openUserland() (*tree.Tree, error) {
	f, err := os.Open(b.results.userland)
	if err != nil {
		return nil, fmt.Errorf("open userland: %w", err)
	}
	defer f.Close()
	t := tree.New()
	return t, t.AddTar(f)
}
