package build

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"

	"github.com/cyvive/cyvive/images/internal/deb"
	"github.com/cyvive/cyvive/images/internal/lock"
	"github.com/cyvive/cyvive/images/internal/programs"
	"github.com/cyvive/cyvive/images/internal/sbom"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// debianNames goes before names of licences that are not SPDX's.
const debianNames = "Debian's names: "

// sbom makes the bill of materials, which the image holds at
// /usr/lib/cyvive/sbom.spdx.json.
func (b *builder) sbom(ctx context.Context) error {
	im := sbom.Image{Name: "cyvive", Version: b.version, Arch: b.Arch, License: "Apache-2.0", At: b.epoch()}
	for _, p := range b.results.packages {
		c, err := b.debianComponent(p)
		if err != nil {
			return err
		}
		if licenses := b.results.licenses[p.Name]; len(licenses) > 0 {
			c.LicenseNote = debianNames + strings.Join(licenses, ", ")
		}
		im.Contains = append(im.Contains, c)
	}
	zfs, err := b.zfsComponent()
	if err != nil {
		return err
	}
	im.Contains = append(im.Contains, zfs)
	if err := b.addGoComponents(ctx, &im); err != nil {
		return err
	}
	var out bytes.Buffer
	if err := sbom.Write(sbom.Document(im), &out); err != nil {
		return fmt.Errorf("write bill of materials: %w", err)
	}
	b.results.sbom = out.Bytes()
	return b.write("sbom.spdx.json", func(f *os.File) error { _, err := f.Write(out.Bytes()); return err })
}

// debianComponent describes a package, with the licences that its copyright
// file names.
func (b *builder) debianComponent(p lock.Package) (sbom.Component, error) {
	c := sbom.Component{
		ID: "deb-" + p.Name, Name: p.Name, Version: p.Version, SHA256: p.SHA256, Source: "Debian 13, " + p.Path,
		PURL: fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=debian-13", p.Name, strings.ReplaceAll(p.Version, "+", "%2B"), p.Arch),
	}
	f, err := os.Open(b.cache.Deb(p.SHA256))
	if err != nil {
		return c, fmt.Errorf("open package: %w", err)
	}
	defer f.Close()
	err = deb.Walk(f, func(h *tar.Header, r io.Reader) error {
		if tree.Clean(h.Name) != "/usr/share/doc/"+p.Name+"/copyright" || h.Typeflag != tar.TypeReg {
			return nil
		}
		text, err := io.ReadAll(r)
		if names := sbom.DebianLicenses(string(text)); len(names) > 0 {
			c.LicenseNote = debianNames + strings.Join(names, ", ")
		}
		return err
	})
	if err != nil {
		return c, fmt.Errorf("read copyright of %s: %w", p.Name, err)
	}
	return c, nil
}

// zfsComponent describes the modules that are compiled from the source package.
func (b *builder) zfsComponent() (sbom.Component, error) {
	p, err := b.pins.Find("zfs-dkms")
	if err != nil {
		return sbom.Component{}, err
	}
	c, err := b.debianComponent(p)
	version, _, _ := strings.Cut(p.Version, "-")
	c.ID, c.Name, c.Version, c.License = "program-openzfs", "openzfs", version, "CDDL-1.0"
	c.Source = "compiled from " + p.Path
	return c, err
}

// addGoComponents adds each program of the image and the modules linked into it.
func (b *builder) addGoComponents(ctx context.Context, im *sbom.Image) error {
	tools, err := programs.FindToolchain(ctx, b.Images)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, p := range programs.Table() {
		if p.Host {
			continue
		}
		c, modules, err := b.goComponent(p)
		if err != nil {
			return err
		}
		for _, m := range modules {
			c.DependsOn = append(c.DependsOn, m.ID)
			if !seen[m.ID] {
				seen[m.ID] = true
				if m.License, err = b.moduleLicense(ctx, tools, m); err != nil {
					return err
				}
				im.Linked = append(im.Linked, m)
			}
		}
		im.Contains = append(im.Contains, c)
	}
	return nil
}

func (b *builder) goComponent(p programs.Program) (sbom.Component, []sbom.Component, error) {
	c := sbom.Component{ID: "program-" + p.Name, Name: p.Name, Version: b.version, License: "Apache-2.0", Source: "this repository"}
	for _, r := range b.results.components {
		if r.Name == p.Name {
			c.Version, c.Source = r.Version, r.Source
		}
	}
	c.PURL = "pkg:generic/" + p.Name + "@" + c.Version
	var err error
	if c.SHA256, err = hashFile(b.results.programs[p.Name]); err != nil {
		return c, nil, err
	}
	modules, err := sbom.Modules(b.results.programs[p.Name])
	return c, modules, err
}

// moduleLicense reads the licence in the module's sources. Where the program came
// from the cache, Go's module cache may lack them; they are fetched then.
func (b *builder) moduleLicense(ctx context.Context, tools programs.Toolchain, m sbom.Component) (string, error) {
	if m.Name == "stdlib" {
		return "BSD-3-Clause", nil
	}
	path, errPath := module.EscapePath(m.Name)
	version, errVersion := module.EscapeVersion(m.Version)
	if err := errors.Join(errPath, errVersion); err != nil {
		return "", fmt.Errorf("find licence of %s: %w", m.Name, err)
	}
	dir := filepath.Join(tools.ModCache, path+"@"+version)
	if !exists(dir) {
		cmd := exec.CommandContext(ctx, "go", "mod", "download", m.Name+"@"+m.Version)
		cmd.Dir = b.Images
		if err := b.run.Command(ctx, "sbom", cmd); err != nil {
			return "", fmt.Errorf("find licence of %s: %w", m.Name, err)
		}
	}
	return sbom.License(dir), nil
}
