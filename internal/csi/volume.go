package csi

import (
	"context"
	"strconv"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// volume is a volume that exists.
type volume struct {
	id, dataset, parent string
	kind                zfs.Kind
	guid                zfs.GUID
	// capacity is what it should have, and sizeBytes what it has, which is less only until it is whole.
	capacity, sizeBytes int64
	// step is what its size is a multiple of.
	step int64
	// reserved says that a file system has its capacity reserved; short that a device has less reserved than its size, and something.
	reserved, short bool
	// fileSystem is zfs, ext4, xfs, or empty for a raw device.
	fileSystem string
	// source is as in markSource, empty for none; origin is the snapshot that it is a clone of.
	source, origin string
	parameters     string
	generation     uint64
	formatting     bool
	// hidden says that the kernel has no device of it, as it was not made to the end.
	hidden bool
}

// block says whether the volume is handed out as a device.
func (v volume) block() bool { return v.fileSystem == "" }

// volumeOf reads a volume of a dataset. One that is deleted, or none of the driver's, is not ok.
func (d *Driver) volumeOf(found zfs.Dataset) (volume, bool) {
	at, ok := d.placeOf(found.Name)
	if !ok || at.deleted || own(found, markVolume) != at.id {
		return volume{}, false
	}
	v := volume{
		id: at.id, dataset: found.Name, parent: at.parent, kind: found.Kind, guid: found.GUID,
		capacity: number(own(found, markCapacity)), fileSystem: optional(own(found, markFileSystem)), source: optional(own(found, markSource)),
		parameters: own(found, markParameters), origin: found.Properties["origin"].Value, formatting: own(found, markFormatting) != "",
		hidden: found.Kind == zfs.Volume && own(found, "volmode") == "none",
	}
	v.generation, _ = strconv.ParseUint(own(found, markGeneration), 10, 64)
	v.step = stepOf(v.kind, found.Properties["volblocksize"].Value)
	reserved := number(found.Properties["refreservation"].Value)
	if v.kind == zfs.Volume {
		v.sizeBytes = number(found.Properties["volsize"].Value)
		v.short = reserved > 0 && reserved < v.sizeBytes
	} else {
		v.sizeBytes = number(found.Properties["refquota"].Value)
		if reserved > 0 {
			v.reserved, v.sizeBytes = true, min(v.sizeBytes, reserved)
		}
	}
	v.capacity = max(v.capacity, v.sizeBytes)
	return v, true
}

// optional is a value that may be none.
func optional(value string) string {
	if value == none {
		return ""
	}
	return value
}

// grow gives a volume a size, unless it has it. Quota and reservation are not set at once where ZFS refuses the second; so the smaller of them
// counts, and the next call goes on.
func (d *Driver) grow(ctx context.Context, v *volume, bytes int64) error {
	if v.short {
		// The size of a device and its reservation are set one after the other (zfs_set_prop_nvlist in module/zfs/zfs_ioctl.c of OpenZFS 2.3.9), and only what is as
		// large as the device follows it.
		if err := d.System.Set(ctx, v.dataset, map[string]string{"refreservation": "auto"}); err != nil {
			return err
		}
		v.short = false
	}
	if v.sizeBytes >= bytes {
		return nil
	}
	size := strconv.FormatInt(bytes, 10)
	properties := map[string]string{"refquota": size}
	switch {
	case v.kind == zfs.Volume:
		// A volume whose reservation was its size keeps one that is (zfs_add_synthetic_resv in lib/libzfs/libzfs_dataset.c).
		properties = map[string]string{"volsize": size}
	case v.reserved:
		properties["refreservation"] = size
	}
	if err := d.System.Set(ctx, v.dataset, properties); err != nil {
		return err
	}
	v.capacity, v.sizeBytes = max(v.capacity, bytes), bytes
	return nil
}

// info is the volume as Kubernetes sees it.
func (d *Driver) info(ctx context.Context, v volume) (*spec.Volume, error) {
	topologies, err := d.topologies(ctx, v)
	if err != nil {
		return nil, err
	}
	return &spec.Volume{
		VolumeId: v.id, CapacityBytes: v.capacity, ContentSource: contentSource(v.source), AccessibleTopology: topologies,
		// Of its first generation, since Kubernetes wants the context of a volume never to change.
		VolumeContext: map[string]string{contextGeneration: "1"},
	}, nil
}

// contentSource writes a source as CSI has it.
func contentSource(source string) *spec.VolumeContentSource {
	kind, id, _ := strings.Cut(source, "/")
	switch kind {
	case "snapshot":
		return &spec.VolumeContentSource{Type: &spec.VolumeContentSource_Snapshot{Snapshot: &spec.VolumeContentSource_SnapshotSource{SnapshotId: id}}}
	case "volume":
		return &spec.VolumeContentSource{Type: &spec.VolumeContentSource_Volume{Volume: &spec.VolumeContentSource_VolumeSource{VolumeId: id}}}
	}
	return nil
}
