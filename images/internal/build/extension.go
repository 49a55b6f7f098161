package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cyvive/cyvive/images/internal/kernel"
	"github.com/cyvive/cyvive/images/internal/sbom"
	"github.com/cyvive/cyvive/images/internal/step"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// ExtensionOptions say what extension to make.
type ExtensionOptions struct {
	// Arch and Images are those of Options.
	Arch, Images string
	// Dir has extension.json and, for a service, the directory rootfs.
	Dir string
	// Out is the directory that gets the parts.
	Out      string
	Progress io.Writer
}

// extensionDescription is what of extension.json is needed to make its image;
// whoever signs it checks all of it (internal/extension of the root module).
type extensionDescription struct {
	Name, Version string
	Modules       []string
	Service       *struct {
		Program string
		Paths   []string
		Data    bool
	}
}

// Extension makes the parts of an extension (docs/extensions.md), unsigned: its
// file system with modules of the pinned kernel package and the root of its
// service, the hash tree, the bill of materials, and what is needed to write the
// manifest: extension.json, roothash, and build.json.
func Extension(ctx context.Context, o ExtensionOptions) error {
	text, err := os.ReadFile(filepath.Join(o.Dir, "extension.json"))
	if err != nil {
		return fmt.Errorf("make extension: %w", err)
	}
	var d extensionDescription
	if err := json.Unmarshal(text, &d); err != nil {
		return fmt.Errorf("make extension: read extension.json: %w", err)
	}
	scratch, err := os.MkdirTemp("", "extension-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	b, err := newBuilder(Options{Arch: o.Arch, Images: o.Images, Out: scratch, Until: "tree", Progress: o.Progress})
	if err != nil {
		return err
	}
	if err := b.runSteps(ctx); err != nil {
		return err
	}
	b.current = "extension"
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return err
	}
	return b.extension(ctx, o, d, text)
}

func (b *builder) extension(ctx context.Context, o ExtensionOptions, d extensionDescription, text []byte) error {
	modules := ""
	if len(d.Modules) > 0 {
		modules = filepath.Join(b.Out, "modules")
		if err := b.extensionModules(d.Modules, modules); err != nil {
			return err
		}
	}
	t, err := extensionTree(d, modules, o.Dir)
	if err != nil {
		return err
	}
	var list bytes.Buffer
	if err := t.WriteList(&list); err != nil {
		return err
	}
	content, err := contentKey(t)
	if err != nil {
		return err
	}
	if err := b.makeErofs(ctx, t, step.Key("extension-1", list.String(), content), b.Out); err != nil {
		return err
	}
	image := filepath.Join(b.Out, "root.erofs")
	hash, err := makeVerity(image, filepath.Join(b.Out, "root.verity"))
	if err != nil {
		return err
	}
	document, err := b.extensionSBOM(ctx, d, t)
	if err != nil {
		return err
	}
	facts, err := json.Marshal(map[string]string{"architecture": b.Arch, "kernel": b.kernelOf(d)})
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"extension.json": text, "roothash": fmt.Appendf(nil, "%x\n", hash), "build.json": append(facts, '\n'), "sbom.spdx.json": document,
	} {
		if err := os.WriteFile(filepath.Join(o.Out, name), data, 0o644); err != nil {
			return err
		}
	}
	return errors.Join(copyFile(filepath.Join(o.Out, "image.erofs"), image), copyFile(filepath.Join(o.Out, "image.verity"), filepath.Join(b.Out, "root.verity")))
}

// kernelOf is the kernel that an extension is for: that of the image, if it has
// modules.
func (b *builder) kernelOf(d extensionDescription) string {
	if len(d.Modules) == 0 {
		return ""
	}
	return b.pins.Kernel
}

// moduleSignature ends a module that is signed (MODULE_SIG_STRING,
// include/linux/module_signature.h). Nodes are locked down, and take no other.
const moduleSignature = "~Module signature appended~\n"

// extensionModules writes the named modules, with all they need, and their indexes.
func (b *builder) extensionModules(names []string, dir string) error {
	all, err := kernel.Open(filepath.Join(b.results.kernel, "modules"), b.pins.Kernel)
	if err != nil {
		return err
	}
	set, err := all.Subset(names...)
	if err != nil {
		return err
	}
	for file, data := range set.Modules {
		if !bytes.HasSuffix(data, []byte(moduleSignature)) {
			return fmt.Errorf("make extension: module %s has no signature: nodes are locked down and would not take it", file)
		}
	}
	return errors.Join(os.Mkdir(dir, 0o755), set.Save(dir))
}

// extensionTree is what is in the image. The root of a service has a place for
// everything that is mounted in it.
func extensionTree(d extensionDescription, modules, dir string) (*tree.Tree, error) {
	t := tree.New()
	if modules != "" {
		if err := t.AddDir("/modules", modules); err != nil {
			return nil, err
		}
	}
	if d.Service == nil {
		return t, nil
	}
	if err := t.AddDir("/rootfs", filepath.Join(dir, "rootfs")); err != nil {
		return nil, err
	}
	for _, name := range []string{"dev", "proc", "sys", "run", "tmp"} {
		t.MkdirAll("/rootfs/" + name)
	}
	if d.Service.Data {
		t.MkdirAll("/rootfs/data")
	}
	for _, p := range d.Service.Paths {
		if at := path.Join("/rootfs", p); t.Get(at) == nil {
			t.Write(at, 0o644, nil)
		}
	}
	program := t.Get(path.Join("/rootfs", d.Service.Program))
	if program == nil || program.Kind != tree.File || program.Mode&0o111 == 0 {
		return nil, fmt.Errorf("make extension: rootfs has no program %s that can be run", d.Service.Program)
	}
	return t, nil
}

// extensionSBOM is the bill of materials: the kernel package, and each program
// with the Go modules that are linked into it.
func (b *builder) extensionSBOM(ctx context.Context, d extensionDescription, t *tree.Tree) ([]byte, error) {
	im := sbom.Image{Name: d.Name, Version: d.Version, Arch: b.Arch, At: b.epoch()}
	if len(d.Modules) > 0 {
		p, err := b.pins.Find("linux-image-" + b.pins.Kernel)
		if err != nil {
			return nil, err
		}
		c, err := b.debianComponent(p)
		if err != nil {
			return nil, err
		}
		im.Contains = append(im.Contains, c)
	}
	seen := map[string]bool{}
	for _, name := range t.Paths() {
		e := t.Get(name)
		if e.Kind != tree.File || e.Mode&0o111 == 0 || !strings.HasPrefix(name, "/rootfs/") {
			continue
		}
		sum, err := hashFile(e.Source)
		if err != nil {
			return nil, err
		}
		c := sbom.Component{
			ID: "program-" + name, Name: strings.TrimPrefix(name, "/rootfs"), Version: d.Version, SHA256: sum, Source: "rootfs of the extension",
			PURL: "pkg:generic/" + path.Base(name) + "@" + d.Version,
		}
		modules, err := sbom.Modules(e.Source)
		if err != nil {
			modules = nil // it is no Go program
		}
		for _, m := range modules {
			c.DependsOn = append(c.DependsOn, m.ID)
			if !seen[m.ID] {
				seen[m.ID] = true
				im.Linked = append(im.Linked, m)
			}
		}
		im.Contains = append(im.Contains, c)
	}
	var out bytes.Buffer
	if err := sbom.Write(sbom.Document(im), &out); err != nil {
		return nil, fmt.Errorf("write bill of materials: %w", err)
	}
	return out.Bytes(), ctx.Err()
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// readExtensionKeys reads the Ed25519 public keys of whoever may sign extensions
// for nodes of the image, besides those of releases; nil if no file is named.
func readExtensionKeys(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	keys, err := readKeys(file)
	if err != nil {
		return nil, fmt.Errorf("extension keys: %w", err)
	}
	return keys, nil
}

// addExtensionKeys places them, if the image is to have any.
func (b *builder) addExtensionKeys(t *tree.Tree) error {
	if b.extensionKeys != nil {
		t.Write(cyviveDir+"/extension-keys.pem", 0o644, b.extensionKeys)
	}
	return nil
}
