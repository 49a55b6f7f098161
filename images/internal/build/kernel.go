package build

import (
	"context"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/images/internal/kernel"
	"github.com/cyvive/cyvive/images/internal/step"
)

// kernel unpacks the kernel and its modules.
func (b *builder) kernel(context.Context) error {
	p, err := b.pins.Find("linux-image-" + b.pins.Kernel)
	if err != nil {
		return err
	}
	dir, err := b.run.Cached("kernel", step.Key("kernel-1", p.SHA256), func(dir string) error {
		vmlinuz, set, err := kernel.Unpack(b.cache.Deb(p.SHA256), b.pins.Kernel)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "vmlinuz"), vmlinuz, 0o644); err != nil {
			return err
		}
		return set.Save(filepath.Join(dir, "modules"))
	})
	if err != nil {
		return err
	}
	b.results.kernel = dir
	return b.publish("vmlinuz", filepath.Join(dir, "vmlinuz"))
}
