package build

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/images/internal/initramfs"
	"github.com/cyvive/cyvive/images/internal/lock"
	"github.com/cyvive/cyvive/images/internal/step"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// vendor is one whose processors take microcode from the kernel.
type vendor struct {
	// pkg is the package, and dir the folder in it, with files of this suffix.
	pkg, dir, suffix string
	// early is the file in which the kernel looks for all of them together
	// (Documentation/arch/x86/microcode.rst).
	early string
}

// vendors are what Options.Microcode chooses from. Intel's 16 MB cannot be
// compressed: neither the kernel nor the boot stub would unpack them.
var vendors = map[string]vendor{
	"amd":   {"amd64-microcode", firmwareDir + "/amd-ucode/", ".bin", "kernel/x86/microcode/AuthenticAMD.bin"},
	"intel": {"intel-microcode", firmwareDir + "/intel-ucode/", "", "kernel/x86/microcode/GenuineIntel.bin"},
}

// microcode makes the archive by which the kernel updates processors before it does
// anything else, and keeps the copyright files of all of it: the files of the root are
// the same, whatever was chosen. Other architectures have none.
func (b *builder) microcode(context.Context) error {
	for _, name := range b.Microcode {
		if _, ok := vendors[name]; !ok {
			return fmt.Errorf("choose microcode: there is none of %q; it is of %s", name, strings.Join(slices.Sorted(maps.Keys(vendors)), ", "))
		}
	}
	if b.Arch != "amd64" {
		return nil
	}
	packages := map[string]lock.Package{} // by the vendor's name
	parts := []string{"microcode-1", b.epoch().String()}
	for _, name := range slices.Sorted(maps.Keys(vendors)) {
		p, err := b.pins.Find(vendors[name].pkg)
		if err != nil {
			return err
		}
		packages[name], parts = p, append(parts, name, p.SHA256, fmt.Sprint(slices.Contains(b.Microcode, name)))
	}
	dir, err := b.run.Cached("microcode", step.Key(parts...), func(dir string) error {
		return b.makeMicrocode(packages, dir)
	})
	if err != nil {
		return err
	}
	b.results.microcode = dir
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		if slices.Contains(b.Microcode, name) {
			b.addPackage(packages[name], nil)
		}
	}
	return nil
}

// makeMicrocode writes early.cpio and licenses.tar to dir.
func (b *builder) makeMicrocode(packages map[string]lock.Package, dir string) error {
	early, licenses := tree.New(), tree.New()
	copyrights := map[[sha256.Size]byte]string{}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		p, v, from := packages[name], vendors[name], tree.New()
		if err := from.AddDeb(b.cache.Deb(p.SHA256), func(name string) bool {
			return strings.HasPrefix(name, v.dir) || name == copyrightFile(p.Name)
		}); err != nil {
			return err
		}
		if err := addCopyright(licenses, from, p.Name, nil, copyrights); err != nil {
			return err
		}
		if !slices.Contains(b.Microcode, name) {
			continue
		}
		data := joined(from, v)
		if len(data) == 0 {
			return fmt.Errorf("read microcode: the package %s has none in %s", p.Name, v.dir)
		}
		early.Write(v.early, 0o644, data)
	}
	if err := writeTo(filepath.Join(dir, "early.cpio"), func(f *os.File) error { return initramfs.Write(f, early, b.epoch()) }); err != nil {
		return err
	}
	return writeTo(filepath.Join(dir, "licenses.tar"), func(f *os.File) error { return licenses.WriteTar(f, b.epoch()) })
}

// joined is the microcode of a vendor, file behind file in the order of their names.
// What several processors share is there once.
func joined(from *tree.Tree, v vendor) []byte {
	var out []byte
	seen := map[[sha256.Size]byte]bool{}
	for _, name := range from.Paths() {
		e := from.Get(name)
		if e.Kind != tree.File || !strings.HasPrefix(name, v.dir) || !strings.HasSuffix(name, v.suffix) {
			continue
		}
		if sum := sha256.Sum256(e.Data); !seen[sum] {
			seen[sum] = true
			out = append(out, e.Data...)
		}
	}
	return out
}

func writeTo(name string, fill func(*os.File) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return fill(f)
}

// addMicrocodeLicenses places the copyright files of microcode, which is itself not in
// the root but in the kernel image.
func (b *builder) addMicrocodeLicenses(t *tree.Tree) error {
	if b.results.microcode == "" {
		return nil
	}
	return addArchive(t, filepath.Join(b.results.microcode, "licenses.tar"))
}
