package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/images/internal/kernel"
	"github.com/cyvive/cyvive/images/internal/lock"
	"github.com/cyvive/cyvive/images/internal/sbom"
	"github.com/cyvive/cyvive/images/internal/step"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// firmwareDir is where the kernel looks for firmware (fw_path of
// drivers/base/firmware_loader/main.c; /lib is a link to usr/lib).
const firmwareDir = "/usr/lib/firmware"

// blobPackage reports whether a package holds nothing but what devices and processors
// run, and their licences.
func blobPackage(name string) bool {
	return strings.HasPrefix(name, "firmware-") || strings.HasSuffix(name, "-microcode")
}

// firmware takes the files of firmware.list, which has to fit the chosen modules, out
// of their packages, with the copyright files; its result is a tree archive.
func (b *builder) firmware(context.Context) error {
	text, err := os.ReadFile(filepath.Join(b.Images, "firmware.list"))
	if err != nil {
		return err
	}
	list, err := kernel.ParseFirmware(bytes.NewReader(text))
	if err != nil {
		return err
	}
	parts := []string{"firmware-1", string(text), filepath.Base(filepath.Dir(b.results.modules)), b.epoch().String()}
	var packages []lock.Package
	for _, name := range list.Packages() {
		p, err := b.pins.Find(name)
		if err != nil {
			return err
		}
		packages, parts = append(packages, p), append(parts, p.SHA256)
	}
	dir, err := b.run.Cached("firmware", step.Key(parts...), func(dir string) error {
		return b.makeFirmware(list, packages, filepath.Join(dir, "firmware.tar"))
	})
	if err != nil {
		return err
	}
	b.results.firmware = filepath.Join(dir, "firmware.tar")
	for _, p := range packages {
		b.addPackage(p, licensesOf(list, p.Name))
	}
	return nil
}

// licensesOf are the licences of a package's files in the list, sorted.
func licensesOf(list kernel.Firmware, name string) []string {
	var out []string
	for _, l := range list.Lines {
		if l.Package == name {
			out = append(out, l.License)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// addPackage has release.json and the bill of materials name a package, of which
// files under these licences are in the image.
func (b *builder) addPackage(p lock.Package, licenses []string) {
	b.results.components = append(b.results.components, component{p.Name, p.Version, p.Path})
	b.results.packages = append(b.results.packages, p)
	b.results.licenses[p.Name] = licenses
}

func (b *builder) makeFirmware(list kernel.Firmware, packages []lock.Package, archive string) error {
	set, err := kernel.Open(b.results.modules, b.pins.Kernel)
	if err != nil {
		return err
	}
	asked, err := set.Firmware()
	if err != nil {
		return err
	}
	if err := list.Check(asked); err != nil {
		return err
	}
	to := tree.New()
	copyrights := map[[sha256.Size]byte]string{}
	for _, p := range packages {
		from := tree.New()
		if err := from.AddDeb(b.cache.Deb(p.SHA256), func(name string) bool {
			return strings.HasPrefix(name, firmwareDir+"/") || name == copyrightFile(p.Name)
		}); err != nil {
			return err
		}
		if err := addCopyright(to, from, p.Name, licensesOf(list, p.Name), copyrights); err != nil {
			return err
		}
		for _, l := range list.Lines {
			if l.Package != p.Name {
				continue
			}
			if err := addBlobs(to, from, l); err != nil {
				return err
			}
		}
	}
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	return to.WriteTar(f, b.epoch())
}

// addBlobs copies the files of a line, by the names that modules ask for; links are
// followed.
func addBlobs(to, from *tree.Tree, l kernel.FirmwareLine) error {
	for _, file := range l.Files {
		name := path.Join(firmwareDir, file)
		e := from.Get(from.Resolve(name))
		if e == nil || e.Kind != tree.File {
			return fmt.Errorf("read firmware %s: the package %s does not have it", file, l.Package)
		}
		to.Write(name, 0o644, e.Data)
	}
	return nil
}

// copyrightFile is where Debian's packages have it.
func copyrightFile(name string) string { return "/usr/share/doc/" + name + "/copyright" }

// addCopyright copies a package's copyright file, which has to name the licences. One
// that is the same for several packages, as for all of one source, lies there once.
func addCopyright(to, from *tree.Tree, name string, licenses []string, seen map[[sha256.Size]byte]string) error {
	e := from.Get(copyrightFile(name))
	if e == nil || e.Kind != tree.File {
		return fmt.Errorf("read licences of %s: the package has no copyright file", name)
	}
	known := sbom.DebianLicenses(string(e.Data))
	for _, l := range licenses {
		if !slices.Contains(known, l) {
			return fmt.Errorf("read licences of %s: its copyright file names none that is called %s", name, l)
		}
	}
	sum := sha256.Sum256(e.Data)
	if first, ok := seen[sum]; ok {
		return to.Hardlink(copyrightFile(name), first)
	}
	seen[sum] = copyrightFile(name)
	to.Write(copyrightFile(name), 0o644, e.Data)
	return nil
}

// addFirmware places it in the root.
func (b *builder) addFirmware(t *tree.Tree) error { return addArchive(t, b.results.firmware) }

// addArchive places the files of a tree archive.
func addArchive(t *tree.Tree, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("open archive: %w", err)
	}
	defer f.Close()
	from := tree.New()
	if err := from.AddTar(f); err != nil {
		return err
	}
	for _, name := range from.Paths() {
		if e := from.Get(name); e.Kind != tree.Dir {
			t.Put(name, e)
		}
	}
	return nil
}
