package csi

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// reap takes away what nobody needs any more of one dataset, and, if that is a deleted volume of which nothing is needed, the dataset. Then it goes
// on with what that was cloned from. The caller has no lock.
func (d *Driver) reap(ctx context.Context, dataset string) error {
	for dataset != "" {
		at, ok := d.placeOf(dataset)
		one := d.reapOne
		if !ok {
			if at, ok = d.unmadeOf(dataset); !ok {
				return nil
			}
			one = d.reapUnmade
		}
		if d.idle(at.id) != nil {
			d.dirty.Store(true) // later, as in suspects
			return nil
		}
		release, err := d.locks.take(ctx, at.id)
		if err != nil {
			return err
		}
		next, err := one(ctx, dataset, at)
		release()
		if errors.Is(err, zfs.ErrNotExist) {
			// It was renamed meanwhile, or destroyed by another call.
			d.dirty.Store(true)
			return nil
		}
		if err != nil {
			return err
		}
		dataset = next
	}
	return nil
}

// reapOne returns the dataset that a destroyed one was cloned from, or nothing. A dataset that was not made by the driver is left alone.
func (d *Driver) reapOne(ctx context.Context, dataset string, at place) (origin string, err error) {
	found, err := d.System.List(ctx, zfs.Query{
		Roots: []string{dataset}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume, zfs.Snapshot}, Properties: append(snapshotProperties(), markVolume, "origin"),
	})
	if err != nil || !slices.ContainsFunc(found, at.isVolume) {
		return "", err
	}
	latest := ""
	for _, one := range found {
		if one.Kind != zfs.Snapshot {
			origin, _, _ = strings.Cut(one.Properties["origin"].Value, "@")
			continue
		}
		gone, err := d.reapSnapshot(ctx, one, at.deleted)
		if err != nil {
			return "", err
		}
		if !gone {
			latest = one.Name
		}
	}
	switch {
	case !at.deleted:
		return "", nil
	case latest != "":
		return "", d.shrink(ctx, dataset, latest)
	}
	return origin, d.System.Destroy(ctx, dataset)
}

// reapUnmade is reapOne for what was not made to the end.
func (d *Driver) reapUnmade(ctx context.Context, dataset string, at place) (origin string, err error) {
	if origin, err = d.discard(ctx, dataset, at.id); errors.Is(err, errForeign) {
		return "", nil
	}
	return origin, err
}

// isVolume says whether a dataset was made by the driver as the volume of a place.
func (p place) isVolume(one zfs.Dataset) bool {
	return one.Kind != zfs.Snapshot && own(one, markVolume) == p.id
}

// internal says whether a snapshot is one of the driver's own: made for a clone, or deleted while there was one. Names of that form can be anybody's.
func internal(one zfs.Dataset) bool {
	_, name, _ := strings.Cut(one.Name, "@")
	switch mark := own(one, markSnapshot); {
	case one.Kind != zfs.Snapshot || mark == "":
		return false
	case strings.HasPrefix(name, clonePrefix):
		return name == mark
	}
	return name == deletedPrefix+one.GUID.String()
}

// reapSnapshot destroys a snapshot that is none of Kubernetes's and that nothing needs: one of the driver's own, or of a volume that is deleted any.
func (d *Driver) reapSnapshot(ctx context.Context, one zfs.Dataset, deleted bool) (gone bool, err error) {
	if _, ok := d.snapshotOf(one); ok || !deleted && !internal(one) {
		return false, nil
	}
	err = d.System.DestroySnapshots(ctx, []string{one.Name})
	switch {
	case errors.Is(err, zfs.ErrHasDependents):
		return false, nil // the deletion of the clone comes back here
	case errors.Is(err, zfs.ErrHeld) || errors.Is(err, zfs.ErrBusy):
		d.dirty.Store(true) // nobody tells when it is released
		return false, nil
	}
	return err == nil, err
}

// shrink has a deleted volume take no more room than its snapshots do. What it had after the latest is gone, and nothing is reserved.
func (d *Driver) shrink(ctx context.Context, dataset, latest string) error {
	if err := d.System.Set(ctx, dataset, map[string]string{"refreservation": "none"}); err != nil {
		return err
	}
	err := d.System.Rollback(ctx, latest)
	if errors.Is(err, zfs.ErrHasDependents) || errors.Is(err, zfs.ErrBusy) {
		return nil // a bookmark is later: it stays as it is
	}
	return err
}

// tidy reaps everywhere, if something may be left. What fails is looked at again the next time.
func (d *Driver) tidy(ctx context.Context) {
	if !d.dirty.Swap(false) {
		return
	}
	datasets, err := d.suspects(ctx)
	for _, dataset := range datasets {
		err = errors.Join(err, d.reap(ctx, dataset))
	}
	if err != nil {
		d.dirty.Store(true)
		d.Logger.Warn("cannot take away what deleted volumes and snapshots have left", "error", err)
	}
}

// suspects are deleted volumes, those that have snapshots of the driver's own, and those that were not made to the end; with an error, those that were seen. Those that a
// call has at present are left for the next time: one may have it for hours, while its file system is checked.
func (d *Driver) suspects(ctx context.Context) ([]string, error) {
	found, away, err := d.below(ctx, zfs.Query{
		Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume, zfs.Snapshot}, Depth: 2, Properties: append(snapshotProperties(), markVolume),
	})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, one := range found {
		dataset, _, _ := strings.Cut(one.Name, "@")
		at, ok := d.placeOf(dataset)
		left := ok && (at.deleted && at.isVolume(one) || internal(one))
		if !ok {
			at, ok = d.unmadeOf(dataset)
			left = ok
		}
		if left && d.locks.has(at.id) {
			d.dirty.Store(true)
			continue
		}
		if left && !slices.Contains(all, dataset) {
			all = append(all, dataset)
		}
	}
	return all, away
}
