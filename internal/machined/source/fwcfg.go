package source

import (
	"bytes"
	"context"
	"path/filepath"

	"github.com/cyvive/cyvive/internal/machined"
)

// fwCfgName is the file of fw_cfg. QEMU's "QEMU Firmware Configuration (fw_cfg) Device" keeps opt/ and a reversed domain for users' files.
const fwCfgName = "opt/dev.cyvive.config"

// fwCfg is a file that QEMU hands to its machine (-fw_cfg name=opt/dev.cyvive.config,file=FILE). The module qemu_fw_cfg shows it
// (Documentation/ABI/testing/sysfs-firmware-qemu_fw_cfg), to root only; it is loaded when
// the device is found, so the file may appear during the search.
type fwCfg struct{ sys string }

func (fwCfg) Where() string { return "QEMU's fw_cfg file " + fwCfgName }

func (f fwCfg) Find(context.Context) (*machined.Document, error) {
	data, err := fwCfgFile(f.sys, fwCfgName, maxRawBytes)
	if err != nil || data == nil {
		return nil, err
	}
	return document("fw_cfg "+fwCfgName, data)
}

// fwCfgFile returns a file of fw_cfg; nil if there is none, or nothing in it.
func fwCfgFile(sys, name string, limitBytes int64) ([]byte, error) {
	data, err := readFile(filepath.Join(sys, "firmware/qemu_fw_cfg/by_name", name, "raw"), limitBytes)
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return nil, err
	}
	return data, nil
}
