package csi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// find returns the volume with an id. None is [zfs.ErrNotExist]; none but in a pool that is suspended, where nobody can look, is [zfs.ErrSuspended].
func (d *Driver) find(ctx context.Context, id string) (volume, error) {
	if !isComponent(id) {
		return volume{}, fmt.Errorf("volume %.64q: %w", id, zfs.ErrNotExist)
	}
	missing := fmt.Errorf("volume %s: %w", id, zfs.ErrNotExist)
	for _, parent := range d.parents() {
		v, err := d.findIn(ctx, parent, id)
		switch {
		case errors.Is(err, zfs.ErrNotExist):
		case errors.Is(err, zfs.ErrSuspended):
			missing = err
		default:
			return v, err
		}
	}
	return volume{}, missing
}

// findIn is find in one parent.
func (d *Driver) findIn(ctx context.Context, parent, id string) (volume, error) {
	found, err := d.System.List(ctx, zfs.Query{
		Roots: []string{parent + "/" + id}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Properties: volumeProperties(),
	})
	if err != nil {
		return volume{}, err
	}
	for _, one := range found {
		if v, ok := d.volumeOf(one); ok {
			return v, nil
		}
	}
	return volume{}, fmt.Errorf("volume %s below %s: %w", id, parent, zfs.ErrNotExist)
}

// volumes returns all volumes, by id, without those in pools that are suspended. Where there are no others, that is the error.
func (d *Driver) volumes(ctx context.Context) ([]volume, error) {
	found, away, err := d.below(ctx, zfs.Query{Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Depth: 1, Properties: volumeProperties()})
	if err != nil {
		return nil, err
	}
	var all []volume
	for _, one := range found {
		if v, ok := d.volumeOf(one); ok {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return nil, away
	}
	slices.SortFunc(all, func(a, b volume) int { return strings.Compare(a.id, b.id) })
	return all, nil
}

// below asks for what is below all parents. One that is not there has nothing. One in a pool that is suspended has something that nobody can see: the
// others are asked all the same, and away is [zfs.ErrSuspended] then, so that what is not found does not count as gone.
func (d *Driver) below(ctx context.Context, q zfs.Query) (all []zfs.Dataset, away, err error) {
	for _, parent := range d.parents() {
		q.Roots = []string{parent}
		found, err := d.System.List(ctx, q)
		switch {
		case errors.Is(err, zfs.ErrNotExist):
		case errors.Is(err, zfs.ErrSuspended):
			away = err
		case err != nil:
			return nil, nil, err
		}
		all = append(all, found...)
	}
	return all, away, nil
}

// gone is what is said of something that was not found and is to be deleted: nothing, or that it may be in a pool which is not imported, or has
// stopped. As deleted it would be forgotten, and take room for ever. Volume is the one that it is, or is of; empty if it names none. Looked are the parents from before
// it was looked for.
func (d *Driver) gone(ctx context.Context, id, volume string, looked []string) error {
	for _, name := range d.pools() {
		if err := d.here(ctx, name, id); err != nil {
			return err
		}
	}
	var away []string
	if d.Away != nil {
		away = d.Away()
	}
	if !slices.Equal(looked, d.parents()) { // of what was away before, it is one of these now
		return status.Errorf(codes.Unavailable, "%.128q was not here, and may be in a pool that has become one for volumes meanwhile", id)
	}
	for _, parent := range away {
		if err := d.notBelow(ctx, parent, id, volume); err != nil {
			return err
		}
	}
	return nil
}

// here says why something may be in a pool in which it was not found.
func (d *Driver) here(ctx context.Context, name, id string) error {
	pool, err := d.Pools.Pool(ctx, name)
	if errors.Is(err, zfs.ErrNotExist) {
		return status.Errorf(codes.Unavailable, "%.128q is not here, and may be in pool %s, which is not imported: import that, or declare it no more", id, name)
	}
	if err != nil {
		return err
	}
	if pool.State == suspended {
		// If it was not when it was asked, its list may still have been cut: zfs list ends well then (zfs_callback in cmd/zfs/zfs_iter.c of OpenZFS 2.3.9).
		return status.Errorf(codes.Unavailable, "%.128q is not here, and may be in pool %s, which is suspended: see nodectl pool status", id, name)
	}
	return nil
}

// notBelow says why something may be below a file system that is not for volumes now: the pool cannot be looked at, or has the volume, be it deleted; or any, where it
// is not known which. Nothing is deleted there.
func (d *Driver) notBelow(ctx context.Context, parent, id, volume string) error {
	pool := poolOf(parent)
	if err := d.here(ctx, pool, id); err != nil {
		return err
	}
	found, err := d.System.List(ctx, zfs.Query{
		Roots: []string{parent}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Depth: 2, Properties: []string{markVolume},
	})
	if errors.Is(err, zfs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, one := range found {
		if mark := own(one, markVolume); mark != "" && mark != trashName && (volume == "" || mark == volume) {
			return status.Errorf(codes.Unavailable, "%.128q is not here, and may be in pool %s, which has volumes and is not for them now: it is read-only, or file system %s "+
				"is not declared; change that, or declare the pool no more", id, pool, parent)
		}
	}
	return nil
}
