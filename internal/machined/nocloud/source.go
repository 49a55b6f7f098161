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
	// driveLabel and driveUserData are of the OpenStack Compute documentation, "Metadata".
	driveLabel    = "config-2"
	driveUserData = "openstack/latest/user_data"
)

// Source implements machined.Place on the block devices of the machine.
type Source struct{}

// Where names the volume and its file.
func (Source) Where() string { return where(label, userData) }

// Find looks at all block devices once. A volume without user-data is an error: nobody makes one for nothing.
func (Source) Find(context.Context) (*machined.Document, error) {
	doc, device, err := find(label, userData)
	if err == nil && doc == nil && device != "" {
		return nil, fmt.Errorf("volume %s labelled %s has no file %s", device, label, userData)
	}
	return doc, err
}

// ConfigDrive implements machined.Place on OpenStack's config drive. What it finds is as the user handed it in, which may be compressed.
type ConfigDrive struct{}

// Where names the volume and its file.
func (ConfigDrive) Where() string { return where(driveLabel, driveUserData) }

// Find looks at all block devices once. OpenStack leaves the file out for a machine without user data.
func (ConfigDrive) Find(context.Context) (*machined.Document, error) {
	doc, _, err := find(driveLabel, driveUserData)
	return doc, err
}

func where(label, file string) string { return "a volume labelled " + label + " with a file " + file }

// find returns the file of the volume with the label, if there is one, and the volume's device, if there is that.
func find(label, file string) (*machined.Document, string, error) {
	volume, found, err := blockdev.FindLabel(label)
	if err != nil || !found {
		return nil, "", err
	}
	// One byte more than is allowed, so that Parse says what is wrong.
	files, err := mount.ReadFiles(volume.Device, volume.FileSystem, config.MaxBytes+1, file)
	if err != nil {
		return nil, "", err
	}
	data, ok := files[file]
	if !ok {
		return nil, volume.Device, nil
	}
	return &machined.Document{Name: file, Data: data}, volume.Device, nil
}
