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
	release, err := d.locks.take(ctx, id)
	if err != nil {
		return "", err
	}
	defer release()
	v, err := d.find(ctx, id)
	if errors.Is(err, zfs.ErrNotExist) {
		return "", d.gone(ctx, id)
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
	if v.origin == "" {
		// The usual case takes one step.
		if err := d.System.Destroy(ctx, v.dataset); !errors.Is(err, zfs.ErrHasDependents) {
			return "", err
		}
	}
	return d.putAside(ctx, v)
}

// putAside renames a volume, which is gone for Kubernetes then.
func (d *Driver) putAside(ctx context.Context, v volume) (string, error) {
	// It has the mark, so that others know whose it is; as the name of no volume, which that is, it makes no volume of it.
	properties := map[string]string{"mountpoint": "none", "canmount": "off", markVolume: trashName}
	err := d.System.Create(ctx, trashOf(v.parent), zfs.CreateOptions{Properties: properties})
	if err != nil && !errors.Is(err, zfs.ErrExist) {
		return "", err
	}
	to := trashed(v.parent, v.id, v.guid)
	return to, d.System.Rename(ctx, v.dataset, to)
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
	release, err := d.locks.take(ctx, volume)
	if err != nil {
		return "", err
	}
	defer release()
	s, err := d.findSnapshot(ctx, id)
	switch {
	case errors.Is(err, zfs.ErrNotExist):
		return "", d.gone(ctx, id)
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
