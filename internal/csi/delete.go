package csi

import (
	"context"
	"errors"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// DeleteVolume implements the Controller service.
func (d *Driver) DeleteVolume(ctx context.Context, r *spec.DeleteVolumeRequest) (*spec.DeleteVolumeResponse, error) {
	id := r.GetVolumeId()
	if id == "" {
		return nil, refuse("volume id: expected one")
	}
	left, err := d.remove(ctx, id)
	if err == nil {
		err = d.reap(ctx, left)
	}
	if err != nil {
		d.dirty.Store(true)
		return nil, failure(err, "delete volume %.64q", id)
	}
	d.tidy(ctx)
	return &spec.DeleteVolumeResponse{}, nil
}

// remove takes the volume away under its id. It returns the dataset that then has to be reaped.
func (d *Driver) remove(ctx context.Context, id string) (left string, err error) {
	release, err := d.take(ctx, id)
	if err != nil {
		return "", err
	}
	defer release()
	looked := d.parents()
	v, err := d.find(ctx, id)
	if errors.Is(err, zfs.ErrNotExist) {
		part, _, _ := strings.Cut(id, "@")
		return "", d.gone(ctx, id, part, looked)
	}
	if err != nil {
		return "", err
	}
	used, err := d.mountsOf(ctx, v)
	if err != nil {
		return "", err
	}
	if len(used) > 0 {
		return "", precondition("volume %s is in use: it is mounted on %s in kubelet's directory", id, used[0].Target)
	}
	// The usual case takes one step.
	if left, err = d.destroy(ctx, v); !errors.Is(err, zfs.ErrHasDependents) {
		return left, err
	}
	if left, err = d.putAside(ctx, v); errors.Is(err, zfs.ErrNoSpace) {
		return d.destroyAll(ctx, v, err)
	}
	return left, err
}

// destroy destroys a volume that nothing needs. It returns the dataset that it was cloned from.
func (d *Driver) destroy(ctx context.Context, v volume) (left string, err error) {
	if err := d.System.Destroy(ctx, v.dataset); err != nil {
		return "", err
	}
	left, _, _ = strings.Cut(v.origin, "@")
	return left, nil
}

// putAside renames a volume, which is gone for Kubernetes then.
func (d *Driver) putAside(ctx context.Context, v volume) (string, error) {
	if err := d.makeTrash(ctx, v.parent); err != nil {
		return "", err
	}
	to := trashed(v.parent, v.id, v.guid)
	return to, d.System.Rename(ctx, v.dataset, to)
}

// makeTrash makes the file system for deleted volumes of a parent, unless it is there.
func (d *Driver) makeTrash(ctx context.Context, parent string) error {
	// It has the mark, so that others know whose it is; as the name of no volume, which that is, it makes no volume of it.
	properties := map[string]string{"mountpoint": "none", "canmount": "off", markVolume: trashName}
	err := d.System.Create(ctx, trashOf(parent), zfs.CreateOptions{Properties: properties})
	if errors.Is(err, zfs.ErrExist) {
		return nil
	}
	return err
}

// expectTrash is makeTrash ahead of the time, since in a pool that is full then nothing is made. A volume that gets a snapshot is one that may have to be put aside.
// Once for each parent is enough: putAside makes it, too.
func (d *Driver) expectTrash(ctx context.Context, parent string) {
	if _, done := d.trashes.Load(parent); done {
		return
	}
	err := d.makeTrash(ctx, parent)
	if err == nil {
		err = d.markTrash(ctx, parent)
	}
	if err != nil {
		d.Logger.Warn("cannot make the file system for deleted volumes", "parent", parent, "error", err)
		return
	}
	d.trashes.Store(parent, true)
}

// markTrash gives it the mark that a power cut may have kept from it: OpenZFS makes a file system first, and sets user properties later. Whoever has made it, deleted
// volumes go there.
func (d *Driver) markTrash(ctx context.Context, parent string) error {
	name := trashOf(parent)
	found, err := d.System.List(ctx, zfs.Query{Roots: []string{name}, Kinds: []zfs.Kind{zfs.Filesystem}, Properties: []string{markVolume}})
	if err != nil {
		return err
	}
	for _, one := range found {
		if one.Name == name && own(one, markVolume) == "" {
			return d.System.Set(ctx, name, map[string]string{markVolume: trashName})
		}
	}
	return nil
}

// destroyAll destroys a volume that cannot be put aside, with the snapshots that are none of Kubernetes's: to another place goes only what its pool and the quotas
// there have room for (dsl_dir_transfer_possible in module/zfs/dsl_dir.c of OpenZFS 2.3.9), and pods exceed a quota by a little before they are stopped. Where
// Kubernetes has snapshots of it, nothing is destroyed.
func (d *Driver) destroyAll(ctx context.Context, v volume, full error) (left string, err error) {
	found, err := d.System.List(ctx, zfs.Query{Roots: []string{v.dataset}, Kinds: []zfs.Kind{zfs.Snapshot}, Properties: snapshotProperties()})
	if err != nil {
		return "", err
	}
	var theirs, needed []string
	for _, one := range found {
		if s, ok := d.snapshotOf(one); ok {
			theirs = append(theirs, s.id())
		}
	}
	if len(theirs) > 0 {
		return "", precondition("volume %s cannot be put aside while its pool or a quota is full: make room, or delete its snapshots first: %s (%v)", v.id,
			strings.Join(theirs, ", "), full)
	}
	for _, one := range found {
		gone, err := d.reapSnapshot(ctx, one, true)
		if err != nil {
			return "", err
		}
		if !gone {
			needed = append(needed, one.Name)
		}
	}
	if len(needed) > 0 {
		return "", precondition("volume %s cannot be put aside while its pool or a quota is full: make room, or delete first what is made of its snapshots, and release "+
			"those that are held: %s (%v)", v.id, strings.Join(needed, ", "), full)
	}
	return d.destroy(ctx, v)
}

// DeleteSnapshot implements the Controller service.
func (d *Driver) DeleteSnapshot(ctx context.Context, r *spec.DeleteSnapshotRequest) (*spec.DeleteSnapshotResponse, error) {
	id := r.GetSnapshotId()
	if id == "" {
		return nil, refuse("snapshot id: expected one")
	}
	left, err := d.removeSnapshot(ctx, id)
	if err == nil {
		err = d.reap(ctx, left)
	}
	if err != nil {
		d.dirty.Store(true)
		return nil, failure(err, "delete snapshot %.128q", id)
	}
	d.tidy(ctx)
	return &spec.DeleteSnapshotResponse{}, nil
}

// removeSnapshot returns the dataset of the snapshot, if it has to be reaped.
func (d *Driver) removeSnapshot(ctx context.Context, id string) (left string, err error) {
	volume, _, _ := strings.Cut(id, "@")
	release, err := d.take(ctx, volume)
	if err != nil {
		return "", err
	}
	defer release()
	looked := d.parents()
	s, err := d.findSnapshot(ctx, id)
	switch {
	case errors.Is(err, zfs.ErrNotExist):
		return "", d.gone(ctx, id, volume, looked)
	case err != nil:
		return "", err
	case s.group != "":
		return "", refuse("snapshot %s is one of group %s, and goes with it", id, s.group)
	}
	return d.drop(ctx, s)
}

// drop destroys a snapshot, or has it wait for its clones under a name of the driver's own.
func (d *Driver) drop(ctx context.Context, s snapshot) (left string, err error) {
	err = d.System.DestroySnapshots(ctx, []string{s.whole()})
	if errors.Is(err, zfs.ErrHasDependents) {
		err = d.System.Rename(ctx, s.whole(), s.dataset+"@"+deletedPrefix+s.guid.String())
	}
	if at, ok := d.placeOf(s.dataset); err != nil || !ok || !at.deleted {
		return "", err
	}
	return s.dataset, nil
}
