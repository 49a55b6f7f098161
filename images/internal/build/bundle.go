package build

import (
	"context"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/images/internal/oci"
	"github.com/cyvive/cyvive/images/internal/step"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// registry is the name that the images of the bundle carry; nothing is ever
// fetched from it.
const registry = "cyvive.dev/"

// noUser runs a program of the bundle as nobody in particular.
const noUser = "65532:65532"

// bundled are the programs that become container images of the node image.
var bundled = []string{"coredns", "demo", "pause"}

// demoTag is the tag of the demonstration image. Manifests name it (hack/qemu/demo.yaml,
// test/e2e), so it does not follow the releases: another is due when what they rely on
// has changed. A node whose release brings another image under the same tag takes that.
const demoTag = "1"

// imageTag is the part of a bundled image's reference behind the colon.
func (b *builder) imageTag(program string) string {
	if program == "demo" {
		return demoTag
	}
	return b.version
}

// imageName is the reference of a bundled image.
func (b *builder) imageName(program string) string {
	return registry + program + ":" + b.imageTag(program)
}

// bundle makes the archives of the bundled container images.
func (b *builder) bundle(context.Context) error {
	parts := []string{"bundle-2", b.version, b.Arch, b.epoch().String()}
	for _, name := range bundled {
		sum, err := hashFile(b.results.programs[name])
		if err != nil {
			return err
		}
		parts = append(parts, b.imageName(name), sum)
	}
	dir, err := b.run.Cached("bundle", step.Key(parts...), func(dir string) error {
		for _, name := range bundled {
			if err := b.bundleImage(name, filepath.Join(dir, name+".tar")); err != nil {
				return err
			}
		}
		return nil
	})
	b.results.bundle = dir
	return err
}

func (b *builder) bundleImage(program, file string) error {
	root := tree.New()
	root.MkdirAll("/dev", "/proc", "/sys", "/etc", "/tmp", "/usr/bin")
	root.Get("/tmp").Mode = 0o777
	root.Write("/etc/passwd", 0o644, []byte("root:x:0:0:root:/:\nnonroot:x:65532:65532:nonroot:/:\n"))
	root.Write("/etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n"))
	root.Copy("/usr/bin/"+program, 0o755, b.results.programs[program])
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return oci.Write(f, oci.Image{
		Name: b.imageName(program), Tag: b.imageTag(program), Arch: b.Arch, Root: root,
		Entrypoint: []string{"/usr/bin/" + program}, User: noUser, At: b.epoch(),
	})
}
