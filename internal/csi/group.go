package csi

import (
	"context"
	"errors"
	"slices"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// group is snapshots that were made at once. Their name is its id.
type group []snapshot

func (g group) info() *spec.VolumeGroupSnapshot {
	answer := &spec.VolumeGroupSnapshot{GroupSnapshotId: g[0].group, CreationTime: timestamppb.New(g[0].created), ReadyToUse: true}
	for _, s := range g {
		answer.Snapshots = append(answer.Snapshots, s.info())
	}
	return answer
}

// findGroup returns the snapshots of a group; none if there is no such group. All of one are in one pool; so where none is found and a pool is
// suspended, that is the error.
func (d *Driver) findGroup(ctx context.Context, id string) (group, error) {
	all, away, err := d.snapshots(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s snapshot) bool { return s.group != id || id == "" })
	if len(all) == 0 {
		return nil, away
	}
	return all, nil
}

// CreateVolumeGroupSnapshot implements the GroupController service: one transaction of ZFS takes all snapshots.
func (d *Driver) CreateVolumeGroupSnapshot(
	ctx context.Context, r *spec.CreateVolumeGroupSnapshotRequest,
) (*spec.CreateVolumeGroupSnapshotResponse, error) {
	if err := checkName(r.GetName()); err != nil {
		return nil, err
	}
	ids := slices.Sorted(slices.Values(r.GetSourceVolumeIds()))
	switch {
	case len(ids) == 0 || ids[0] == "":
		return nil, refuse("source volume ids: expected one at least, and none that is empty")
	case len(slices.Compact(slices.Clone(ids))) != len(ids):
		return nil, refuse("source volume ids: one is there twice")
	case !empty(r.GetParameters()):
		return nil, refuse("parameters: a group of snapshots has none")
	}
	name := componentOf(r.GetName())
	release, err := d.take(ctx, append([]string{"@" + name}, ids...)...)
	if err != nil {
		return nil, err
	}
	defer release()
	g, err := d.group(ctx, name, ids)
	if err != nil {
		return nil, failure(err, "create group of snapshots %s", name)
	}
	return &spec.CreateVolumeGroupSnapshotResponse{GroupSnapshot: g.info()}, nil
}

// group returns the group, and makes it if it is not there.
func (d *Driver) group(ctx context.Context, name string, ids []string) (group, error) {
	// Those of a pool that is suspended are none of these volumes, if those are found.
	all, _, err := d.snapshots(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s snapshot) bool { return s.name != name })
	if len(all) > 0 {
		have := make([]string, len(all))
		for i, s := range all {
			have[i] = s.volume
		}
		slices.Sort(have)
		switch {
		case all[0].group != name:
			return nil, exists("snapshot %s is there, and is no group", all[0].id())
		case !slices.Equal(have, ids):
			return nil, exists("group %s is there, of volumes %s", name, strings.Join(have, ", "))
		}
		return all, nil
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		v, err := d.find(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case v.formatting:
			return nil, unfinished(id)
		case i > 0 && poolOf(v.dataset) != poolOf(names[0]):
			return nil, precondition("volumes %s and %s are in different pools, and cannot be snapshotted at once", ids[0], id)
		}
		d.expectTrash(ctx, v.parent)
		names[i] = v.dataset + "@" + name
	}
	if err := d.System.Snapshot(ctx, names, map[string]string{markSnapshot: name, markGroup: name}); err != nil {
		if errors.Is(err, zfs.ErrExist) {
			return nil, exists("one of the volumes has a snapshot %s that was not made by the driver", name)
		}
		return nil, err
	}
	g, err := d.findGroup(ctx, name)
	if err == nil && len(g) == 0 {
		err = zfs.ErrNotExist
	}
	return g, err
}

// GetVolumeGroupSnapshot implements the GroupController service.
func (d *Driver) GetVolumeGroupSnapshot(ctx context.Context, r *spec.GetVolumeGroupSnapshotRequest) (*spec.GetVolumeGroupSnapshotResponse, error) {
	if r.GetGroupSnapshotId() == "" {
		return nil, refuse("group snapshot id: expected one")
	}
	g, err := d.findGroup(ctx, r.GetGroupSnapshotId())
	switch {
	case err != nil:
		return nil, failure(err, "get group of snapshots")
	case len(g) == 0:
		return nil, notFound("group of snapshots %.64q is not there", r.GetGroupSnapshotId())
	}
	if err := g.listed(r.GetSnapshotIds()); err != nil {
		return nil, err
	}
	return &spec.GetVolumeGroupSnapshotResponse{GroupSnapshot: g.info()}, nil
}

// listed checks a list of the group's snapshots that somebody else has. An empty one says nothing.
func (g group) listed(ids []string) error {
	for _, s := range g {
		if len(ids) > 0 && !slices.Contains(ids, s.id()) {
			return refuse("snapshot ids: %s is one of group %s, and is not listed", s.id(), s.group)
		}
	}
	for _, id := range ids {
		if !slices.ContainsFunc(g, func(s snapshot) bool { return s.id() == id }) {
			return refuse("snapshot ids: %.128q is none of the group's", id)
		}
	}
	return nil
}

// DeleteVolumeGroupSnapshot implements the GroupController service. If one snapshot has clones, they go one after the other.
func (d *Driver) DeleteVolumeGroupSnapshot(
	ctx context.Context, r *spec.DeleteVolumeGroupSnapshotRequest,
) (*spec.DeleteVolumeGroupSnapshotResponse, error) {
	id := r.GetGroupSnapshotId()
	if id == "" {
		return nil, refuse("group snapshot id: expected one")
	}
	left, err := d.removeGroup(ctx, id, r.GetSnapshotIds())
	for _, dataset := range left {
		err = errors.Join(err, d.reap(ctx, dataset))
	}
	if err != nil {
		d.dirty.Store(true)
		return nil, failure(err, "delete group of snapshots %.64q", id)
	}
	d.tidy(ctx)
	return &spec.DeleteVolumeGroupSnapshotResponse{}, nil
}

// removeGroup returns the datasets that then have to be reaped.
func (d *Driver) removeGroup(ctx context.Context, id string, ids []string) (left []string, err error) {
	looked := d.parents()
	g, err := d.findGroup(ctx, id)
	if err == nil && len(g) == 0 {
		err = d.gone(ctx, id, "", looked)
	}
	if err != nil || len(g) == 0 {
		return nil, err
	}
	keys := []string{"@" + id}
	for _, s := range g {
		if !slices.Contains(keys, s.volume) {
			keys = append(keys, s.volume)
		}
	}
	release, err := d.take(ctx, keys...)
	if err != nil {
		return nil, err
	}
	defer release()
	if g, err = d.findGroup(ctx, id); err != nil || len(g) == 0 {
		return nil, err
	}
	// After a deletion that was cut, some are gone: what is listed may be more than what is there.
	if err := g.complete(ids); err != nil {
		return nil, err
	}
	names := make([]string, len(g))
	for i, s := range g {
		names[i] = s.whole()
	}
	// At once, if none has clones.
	if err := d.System.DestroySnapshots(ctx, names); err != nil && !errors.Is(err, zfs.ErrHasDependents) {
		return nil, err
	}
	for _, s := range g {
		dataset, err := d.drop(ctx, s)
		if err != nil {
			return left, err
		}
		if dataset != "" {
			left = append(left, dataset)
		}
	}
	return left, nil
}

// complete checks that all snapshots of the group are listed, and nothing but snapshots that have its name.
func (g group) complete(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	for _, id := range ids {
		if _, name, ok := parseSnapshotID(id); !ok || name != g[0].name {
			return refuse("snapshot ids: %.128q is none of the group's", id)
		}
	}
	return g.listed(slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return !slices.ContainsFunc(g, func(s snapshot) bool { return s.id() == id })
	}))
}
