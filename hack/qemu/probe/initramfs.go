package probe

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/hack/qemu/cpio"
	"github.com/cyvive/cyvive/hack/qemu/modules"
)

// WriteInitramfs writes, to path, the initramfs in the file base with the probe's
// archive behind it. guest is the compiled guest program, moduleDir the modules of
// the kernel that will run; files are those of this machine, by whole paths, that
// the probe has at the same paths. The kernel unpacks one archive after the other,
// each compressed in its own way
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func WriteInitramfs(path, base, moduleDir, guest string, files ...string) error {
	initramfs, err := os.ReadFile(base)
	if err != nil {
		return fmt.Errorf("make initramfs with probe: %w", err)
	}
	buffer := bytes.NewBuffer(initramfs)
	for buffer.Len()%4 != 0 {
		buffer.WriteByte(0)
	}
	archive := cpio.New(buffer)
	if err := addProbe(archive, moduleDir, guest, files); err != nil {
		return fmt.Errorf("make initramfs with probe: %w", err)
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("make initramfs with probe: %w", err)
	}
	return os.WriteFile(path, buffer.Bytes(), 0o644)
}

func addProbe(archive *cpio.Archive, moduleDir, guest string, brought []string) error {
	tree, err := modules.Open(moduleDir)
	if err != nil {
		return err
	}
	files, err := tree.Closure([]string{"virtio_pci", "virtio_console"})
	if err != nil {
		return err
	}
	if err := archive.Folder(ModuleDir); err != nil {
		return err
	}
	for i, file := range files {
		name := fmt.Sprintf("%s/%02d-%s", ModuleDir, i, filepath.Base(file))
		if err := archive.AddFile(name, filepath.Join(tree.Dir, file)); err != nil {
			return err
		}
	}
	if err := archive.Folder(FilesDir); err != nil {
		return err
	}
	for _, file := range brought {
		if !filepath.IsAbs(file) {
			return fmt.Errorf("add file for the probe: got %q, expected a whole path", file)
		}
		if err := archive.AddFile(FilesDir+filepath.Clean(file), file); err != nil {
			return err
		}
	}
	return archive.AddFile(GuestPath, guest)
}
