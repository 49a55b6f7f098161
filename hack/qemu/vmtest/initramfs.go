package vmtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/hack/qemu/cpio"
	"github.com/cyvive/cyvive/hack/qemu/modules"
	"github.com/cyvive/cyvive/hack/qemu/vmtest/wire"
)

// baseModules are loaded in every guest, in this order: the bus and the devices that the
// runner attaches, the file systems of the image and of a node's volumes, and before them
// their checksum, which the kernel would else ask a helper for that a guest has not.
var baseModules = []string{"virtio_pci", "virtio_console", "virtio_blk", "virtio_rng", "crc32c_generic", "erofs", "ext4"}

// writeInitramfs makes the archive that the guest boots from.
func writeInitramfs(path string, o Options, plan wire.Plan) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("make initramfs: %w", err)
		}
	}()
	tree, err := modules.Open(filepath.Join(o.ImageDir, "modules"))
	if err != nil {
		return err
	}
	files, err := tree.Closure(append(baseModules[:len(baseModules):len(baseModules)], o.Modules...))
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	buffer := bufio.NewWriterSize(file, 1<<20)
	a := cpio.New(buffer)
	for _, module := range files {
		name := "/modules/" + filepath.Base(module)
		plan.Modules = append(plan.Modules, name)
		if err := a.AddFile(name, filepath.Join(tree.Dir, module)); err != nil {
			return err
		}
	}
	if err := addPayload(a, o, plan); err != nil {
		return err
	}
	return errors.Join(a.Close(), buffer.Flush())
}

// addPayload adds what is not the kernel's: guest program, test, data and plan.
func addPayload(a *cpio.Archive, o Options, plan wire.Plan) error {
	if err := a.AddFile("/init", o.Guest); err != nil {
		return err
	}
	if err := a.AddFile(wire.TestPath, o.Test); err != nil {
		return err
	}
	if err := a.Folder(o.Dir); err != nil {
		return err
	}
	testdata := filepath.Join(o.Dir, "testdata")
	if _, err := os.Stat(testdata); err == nil {
		if err := a.AddTree(testdata, testdata); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for name, source := range o.Files {
		if err := a.AddFile(name, source); err != nil {
			return err
		}
	}
	data, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	return a.Add(wire.PlanPath, 0o644, data)
}
