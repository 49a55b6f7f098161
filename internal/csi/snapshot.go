package csi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// snapshot is one of Kubernetes's that exists, whether its volume does or is deleted.
type snapshot struct {
	// dataset is the one that it is of, and volume the id which that has or had.
	dataset, name, volume string
	group                 string
	guid                  zfs.GUID
	created               time.Time
	// sizeBytes is what a volume made of it needs: the size of a device, or what a file system holds.
	sizeBytes int64
}

func (s snapshot) id() string    { return snapshotID(s.volume, s.name) }
func (s snapshot) whole() string { return s.dataset + "@" + s.name }

// info is the snapshot as Kubernetes sees it.
func (s snapshot) info() *spec.Snapshot {
	return &spec.Snapshot{
		SizeBytes: s.sizeBytes, SnapshotId: s.id(), SourceVolumeId: s.volume, GroupSnapshotId: s.group,
		CreationTime: timestamppb.New(s.created), ReadyToUse: true,
	}
}

// snapshotOf reads a snapshot. One that is none of Kubernetes's is not ok.
func (d *Driver) snapshotOf(found zfs.Dataset) (snapshot, bool) {
	dataset, name, _ := strings.Cut(found.Name, "@")
	at, ok := d.placeOf(dataset)
	if !ok || found.Kind != zfs.Snapshot || own(found, markSnapshot) != name || !isComponent(name) {
		return snapshot{}, false
	}
	s := snapshot{
		dataset: dataset, name: name, volume: at.id, group: own(found, markGroup), guid: found.GUID, created: found.Created,
		sizeBytes: number(found.Properties["referenced"].Value),
	}
	if size, ok := found.Properties["volsize"]; ok {
		s.sizeBytes = number(size.Value)
	}
	return s, true
}

// snapshots returns all, by id; away is as in below.
func (d *Driver) snapshots(ctx context.Context) (all []snapshot, away, err error) {
	found, away, err := d.below(ctx, zfs.Query{Kinds: []zfs.Kind{zfs.Snapshot}, Depth: 2, Properties: snapshotProperties()})
	if err != nil {
		return nil, nil, err
	}
	for _, one := range found {
		if s, ok := d.snapshotOf(one); ok {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b snapshot) int { return strings.Compare(a.id(), b.id()) })
	return all, away, nil
}

// findSnapshot returns the snapshot with an id. None is an error as of find.
func (d *Driver) findSnapshot(ctx context.Context, id string) (snapshot, error) {
	volume, name, ok := parseSnapshotID(id)
	if !ok {
		return snapshot{}, fmt.Errorf("snapshot %.64q: %w", id, zfs.ErrNotExist)
	}
	places, away, err := d.placesOf(ctx, volume)
	if err != nil {
		return snapshot{}, err
	}
	for _, dataset := range places {
		found, err := d.System.List(ctx, zfs.Query{
			Roots: []string{dataset + "@" + name}, Kinds: []zfs.Kind{zfs.Snapshot}, Properties: snapshotProperties(),
		})
		switch {
		case errors.Is(err, zfs.ErrNotExist):
		case errors.Is(err, zfs.ErrSuspended):
			away = err
		case err != nil:
			return snapshot{}, err
		}
		for _, one := range found {
			if s, ok := d.snapshotOf(one); ok {
				return s, nil
			}
		}
	}
	if away != nil {
		return snapshot{}, away
	}
	return snapshot{}, fmt.Errorf("snapshot %s: %w", id, zfs.ErrNotExist)
}

// placesOf returns the datasets that have the id of a volume, or had it; away is as in below.
func (d *Driver) placesOf(ctx context.Context, id string) (places []string, away, err error) {
	for _, parent := range d.parents() {
		places = append(places, parent+"/"+id)
		found, err := d.System.List(ctx, zfs.Query{Roots: []string{trashOf(parent)}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Depth: 1})
		switch {
		case errors.Is(err, zfs.ErrNotExist):
		case errors.Is(err, zfs.ErrSuspended):
			away = err
		case err != nil:
			return nil, nil, err
		}
		for _, one := range found {
			if at, ok := d.placeOf(one.Name); ok && at.deleted && at.id == id {
				places = append(places, one.Name)
			}
		}
	}
	return places, away, nil
}

// CreateSnapshot implements the Controller service.
func (d *Driver) CreateSnapshot(ctx context.Context, r *spec.CreateSnapshotRequest) (*spec.CreateSnapshotResponse, error) {
	if err := checkName(r.GetName()); err != nil {
		return nil, err
	}
	id, name := r.GetSourceVolumeId(), componentOf(r.GetName())
	switch {
	case id == "":
		return nil, refuse("source volume id: expected one")
	case !empty(r.GetParameters()):
		return nil, refuse("parameters: a snapshot has none")
	}
	// All snapshots of a name, too, so that there is one whatever its volume.
	release, err := d.take(ctx, id, "@"+name)
	if err != nil {
		return nil, err
	}
	defer release()
	s, err := d.snapshot(ctx, id, name)
	if err != nil {
		return nil, failure(err, "create snapshot %s of volume %s", name, id)
	}
	return &spec.CreateSnapshotResponse{Snapshot: s.info()}, nil
}

// snapshot returns the snapshot, and makes it if it is not there.
func (d *Driver) snapshot(ctx context.Context, id, name string) (snapshot, error) {
	// One in a pool that is suspended is none of this volume, if that is found.
	all, _, err := d.snapshots(ctx)
	if err != nil {
		return snapshot{}, err
	}
	for _, s := range all {
		switch {
		case s.name != name:
		case s.group != "":
			return s, exists("snapshot %s is there, as one of a group", s.id())
		case s.volume != id:
			return s, exists("snapshot %s is there, of volume %s", name, s.volume)
		default:
			return s, nil
		}
	}
	v, err := d.find(ctx, id)
	if err != nil {
		return snapshot{}, err
	}
	if v.formatting {
		return snapshot{}, unfinished(id)
	}
	d.expectTrash(ctx, v.parent)
	if err := d.System.Snapshot(ctx, []string{v.dataset + "@" + name}, map[string]string{markSnapshot: name}); err != nil {
		if errors.Is(err, zfs.ErrExist) {
			return snapshot{}, exists("%s@%s is there, and was not made by the driver", v.dataset, name)
		}
		return snapshot{}, err
	}
	return d.findSnapshot(ctx, snapshotID(id, name))
}
