package nocloud

import (
	"context"
	"fmt"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/mount"
)

const (
	label    = "cidata"
	userData = "user-data"
)

// Source implements machined.Source on the block devices of the machine.
type Source struct{}

// Where names the volume and its file.
func (Source) Where() string { return "a volume labelled " + label + " with a file " + userData }

// Find looks at all block devices once.
func (Source) Find(context.Context) (*machined.Document, error) {
	volume, found, err := blockdev.FindLabel(label)
	if err != nil || !found {
		return nil, err
	}
	// One byte more than is allowed, so that Parse says what is wrong.
	files, err := mount.ReadFiles(volume.Device, volume.FileSystem, config.MaxBytes+1, userData)
	if err != nil {
		return nil, err
	}
	data, ok := files[userData]
	if !ok {
		return nil, fmt.Errorf("volume %s labelled %s has no file %s", volume.Device, label, userData)
	}
	return &machined.Document{Name: userData, Data: data}, nil
}
