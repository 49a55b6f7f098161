package vmtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/hack/qemu/vmtest/wire"
)

// writeInitramfs makes the archive that the guest boots from.
func writeInitramfs(path string, o Options, plan wire.Plan) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("make initramfs: %w", err)
		}
	}()
	tree, err := openModules(filepath.Join(o.ImageDir, "modules"))
	if err != nil {
		return err
	}
	modules, err := tree.closure(append(baseModules[:len(baseModules):len(baseModules)], o.Modules...))
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	buffer := bufio.NewWriterSize(file, 1<<20)
	a := newArchive(buffer)
	for _, module := range modules {
		name := "/modules/" + filepath.Base(module)
		plan.Modules = append(plan.Modules, name)
		if err := a.addFile(name, filepath.Join(tree.dir, module)); err != nil {
			return err
		}
	}
	if err := addPayload(a, o, plan); err != nil {
		return err
	}
	return errors.Join(a.close(), buffer.Flush())
}

// addPayload adds what is not the kernel's: guest program, test, data and plan.
func addPayload(a *archive, o Options, plan wire.Plan) error {
	if err := a.addFile("/init", o.Guest); err != nil {
		return err
	}
	if err := a.addFile(wire.TestPath, o.Test); err != nil {
		return err
	}
	if err := a.folder(o.Dir); err != nil {
		return err
	}
	testdata := filepath.Join(o.Dir, "testdata")
	if _, err := os.Stat(testdata); err == nil {
		if err := a.addTree(testdata, testdata); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for name, source := range o.Files {
		if err := a.addFile(name, source); err != nil {
			return err
		}
	}
	data, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	return a.add(wire.PlanPath, 0o644, data)
}
