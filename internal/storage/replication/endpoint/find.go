package endpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// glimpse is what one program says of a file system and of some of its versions, which alone are in it. Whether it is a placeholder is not known.
type glimpse struct {
	*replication.FileSystem
	// held are the snapshots, by their whole names, on which there are holds of whomever.
	held map[string]bool
}

// glance reads a file system and some of its versions, by their whole names, and checks the request against the generation of its roots, all of it by one
// program. It is nil where any of them is not there or has another GUID.
func (l *Local) glance(
	ctx context.Context, fence replication.Fence, sending bool, name string, versions map[string]zfs.GUID,
) (*glimpse, error) {
	names := append(slices.Clone(fence.Roots), name)
	names = append(names, slices.Sorted(maps.Keys(versions))...)
	found, err := l.system.List(ctx, zfs.Query{Roots: names, Kinds: everyKind, Alone: true, Properties: listed})
	if errors.Is(err, zfs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	seen := &glimpse{held: map[string]bool{}}
	var states []replication.RootState
	var got []replication.Version
	for _, d := range found {
		if slices.Contains(fence.Roots, d.Name) {
			states = append(states, rootState(d))
		}
		if d.Name == name {
			seen.FileSystem = fileSystemOf(d)
		}
		if guid, asked := versions[d.Name]; asked && d.GUID == guid {
			got = append(got, versionOf(d))
			seen.held[d.Name] = number(d.Properties["userrefs"].Value) > 0
		}
	}
	if err := allowed(states, fence, sending); err != nil {
		return nil, err
	}
	if seen.FileSystem == nil || len(got) != len(versions) {
		return nil, nil
	}
	slices.SortStableFunc(got, older)
	seen.Versions = got
	return seen, nil
}

// find reads a file system for a request, which it checks against the generation: it has the versions of the GUIDs that are asked for, if there are such,
// and may have no others. Where all of them are remembered, that is one program; else they are looked for among all. 0 is no GUID. It is nil where there
// is no such file system.
func (l *Local) find(ctx context.Context, fence replication.Fence, sending bool, name string, guids ...zfs.GUID) (*replication.FileSystem, error) {
	guids = slices.DeleteFunc(slices.Clone(guids), func(guid zfs.GUID) bool { return guid == 0 })
	if known := l.memory.recall(name, guids); len(known) > 0 {
		versions := map[string]zfs.GUID{}
		for guid, whole := range known {
			versions[whole] = guid
		}
		seen, err := l.glance(ctx, fence, sending, name, versions)
		if err != nil {
			return nil, err
		}
		if seen != nil {
			return seen.FileSystem, nil
		}
	}
	if err := l.allow(ctx, fence, sending); err != nil {
		return nil, err
	}
	f, err := l.one(ctx, "", name)
	if err != nil || f == nil {
		return nil, err
	}
	first := slices.IndexFunc(f.Versions, func(v replication.Version) bool { return slices.Contains(guids, v.GUID) })
	if first < 0 {
		return f, nil
	}
	l.memory.keep(f, first)
	for _, guid := range guids {
		if v := f.Version(guid); v != nil {
			l.memory.add(name, guid, f.Whole(*v))
		}
	}
	return f, nil
}
