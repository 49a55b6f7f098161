package csi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// sourceOf reads what a volume is to be made of, as in markSource. An id that is none names nothing that is there.
func sourceOf(s *spec.VolumeContentSource) (string, error) {
	switch {
	case s == nil:
		return "", nil
	case s.GetSnapshot() != nil:
		id := s.GetSnapshot().GetSnapshotId()
		if _, _, ok := parseSnapshotID(id); !ok {
			return "", notFound("source snapshot %.64q is not there", id)
		}
		return "snapshot/" + id, nil
	case s.GetVolume() != nil:
		id := s.GetVolume().GetVolumeId()
		if !isComponent(id) {
			return "", notFound("source volume %.64q is not there", id)
		}
		return "volume/" + id, nil
	}
	return "", refuse("volume content source: expected a snapshot or a volume")
}

// origin is what a volume is cloned from.
type origin struct {
	// snapshot is its whole name. A fresh one is to be taken first.
	snapshot string
	fresh    bool
	// needs are the bytes that a volume of it has to have at least, and usual what it has if nothing else is asked for.
	needs, usual int64
	of           zfs.Dataset
	// parent is that of the volume of a fresh one.
	parent string
}

// createFrom clones, under the name that the volume has until it is whole.
func (d *Driver) createFrom(ctx context.Context, w wish) error {
	kind, id, _ := strings.Cut(w.source, "/")
	from := d.fromSnapshot
	if kind == "volume" {
		from = d.fromVolume
	}
	o, err := from(ctx, id, w)
	if err != nil {
		return err
	}
	if err := w.canBe(id, o); err != nil {
		return err
	}
	size, err := w.size.stepped(stepOf(w.kind, o.of.Properties["volblocksize"].Value))
	if err != nil {
		return err
	}
	capacity := size.choose(max(o.needs, o.usual))
	if capacity < o.needs {
		return outOfRange("source %s needs %d bytes: %d are too few", id, o.needs, capacity)
	}
	properties := w.zfsProperties(capacity)
	if w.kind == zfs.Filesystem {
		maps.Copy(properties, w.room(capacity))
	} else {
		// The block size is the source's. The device has the source's size first, and grows once it is there; its reservation follows.
		delete(properties, "volblocksize")
		if !w.isSparse() {
			properties["refreservation"] = "auto"
		}
	}
	if o.fresh {
		d.expectTrash(ctx, o.parent)
		err = d.takeFresh(ctx, o.snapshot)
	}
	if err == nil {
		err = d.System.Clone(ctx, o.snapshot, w.unmade(), properties)
	}
	return err
}

// takeFresh takes a snapshot for a clone. One of an earlier call that did not come to its end is as good, and one of somebody else's is not.
func (d *Driver) takeFresh(ctx context.Context, whole string) error {
	_, name, _ := strings.Cut(whole, "@")
	err := d.System.Snapshot(ctx, []string{whole}, map[string]string{markSnapshot: name})
	if !errors.Is(err, zfs.ErrExist) {
		return err
	}
	found, err := d.System.List(ctx, zfs.Query{Roots: []string{whole}, Kinds: []zfs.Kind{zfs.Snapshot}, Properties: snapshotProperties()})
	if err == nil && !slices.ContainsFunc(found, internal) {
		return precondition("snapshot %s is there, and was not made by the driver: rename it", whole)
	}
	return err
}

// canBe says why a volume cannot be made of a source.
func (w wish) canBe(id string, o origin) error {
	has := optional(own(o.of, markFileSystem))
	blocks := o.of.Properties["volblocksize"].Value
	switch asked := w.properties["volblocksize"]; {
	case own(o.of, markFormatting) != "":
		return unfinished(id)
	case o.of.Kind != w.kind || has != w.fileSystem:
		return refuse("source %s is %s: a volume made of it is, too", id, describe(access{block: has == "", fileSystem: has}))
	case poolOf(o.snapshot) != poolOf(w.parent):
		return refuse("source %s is in pool %s, the new volume in %s: a clone stays in its pool", id, poolOf(o.snapshot), poolOf(w.parent))
	case asked != "" && blocks != "" && asked != blocks:
		return refuse("parameter volblocksize %s: the source has %s, and a volume made of it has, too", asked, blocks)
	}
	return nil
}

// fromSnapshot finds the snapshot.
func (d *Driver) fromSnapshot(ctx context.Context, id string, w wish) (origin, error) {
	s, err := d.findSnapshot(ctx, id)
	if errors.Is(err, zfs.ErrNotExist) {
		return origin{}, notFound("source snapshot %s is not there", id)
	}
	if err != nil {
		return origin{}, err
	}
	o := origin{snapshot: s.whole(), needs: s.sizeBytes}
	if o.of, err = d.datasetOf(ctx, s.dataset); err != nil {
		return origin{}, err
	}
	o.usual = number(own(o.of, markCapacity))
	if o.of.Kind == zfs.Volume {
		o.usual = s.sizeBytes // what the volume has grown to since is not in the snapshot
	}
	return o, nil
}

// fromVolume has a snapshot taken of a volume, which goes with the clone.
func (d *Driver) fromVolume(ctx context.Context, id string, w wish) (origin, error) {
	v, err := d.find(ctx, id)
	if errors.Is(err, zfs.ErrNotExist) {
		return origin{}, notFound("source volume %s is not there", id)
	}
	if err != nil {
		return origin{}, err
	}
	o := origin{snapshot: v.dataset + "@" + clonePrefix + w.id, fresh: true, usual: v.capacity, parent: v.parent}
	if o.of, err = d.datasetOf(ctx, v.dataset); err != nil {
		return origin{}, err
	}
	o.needs = number(o.of.Properties["referenced"].Value)
	if v.kind == zfs.Volume {
		o.needs, o.usual = v.sizeBytes, v.sizeBytes
	}
	return o, nil
}

// unfinished is the answer while the file system of a volume is being made.
func unfinished(id string) error {
	return status.Errorf(codes.Aborted, "the file system of volume %s is not whole yet: it is made when the volume is next staged", id)
}

// datasetOf returns one dataset with what a source is asked for.
func (d *Driver) datasetOf(ctx context.Context, name string) (zfs.Dataset, error) {
	found, err := d.System.List(ctx, zfs.Query{
		Roots: []string{name}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume},
		Properties: []string{markCapacity, markFileSystem, markFormatting, "referenced", "volblocksize", "volsize"},
	})
	if err != nil {
		return zfs.Dataset{}, err
	}
	for _, one := range found {
		if one.Name == name {
			return one, nil
		}
	}
	return zfs.Dataset{}, fmt.Errorf("dataset %s: %w", name, zfs.ErrNotExist)
}
