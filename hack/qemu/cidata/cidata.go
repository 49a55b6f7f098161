// Package cidata makes the volume that a node takes its configuration from: an
// ISO 9660 image with the label "cidata" and the files user-data and meta-data,
// as cloud-init's NoCloud data source has it.
package cidata

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

// Label is the volume's name, which NoCloud looks for in either case.
const Label = "cidata"

// blockBytes is ISO 9660's logical block (ECMA-119, 6.2.2).
const blockBytes = 2048

// Write makes the volume at path with the two files, in place of one that is
// there. The file can be read by its owner only, since user-data holds private keys.
func Write(path string, userData, metaData []byte) error {
	return WriteVolume(path, Label, map[string][]byte{"user-data": userData, "meta-data": metaData})
}

// WriteVolume makes a volume of any label and files as Write does.
func WriteVolume(path, label string, files map[string][]byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write volume %s: %w", label, err)
		}
	}()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	work, err := os.MkdirTemp("", "cidata")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	volume, err := iso9660.Create(file.New(out, false), 0, 0, blockBytes, work)
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(work+"/"+name, data, 0o600); err != nil {
			return err
		}
	}
	return volume.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: label})
}
