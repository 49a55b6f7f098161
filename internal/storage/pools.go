package storage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Pools is the side of pools of ZFS. Methods that change something may be repeated after an interruption at any point.
type Pools interface {
	// Pool returns what is known of a pool that is imported, with these properties of its file systems; Imported is false if it is not.
	Pool(ctx context.Context, name string, properties []string) (PoolState, error)
	// Make makes a pool on a device, whatever is on that, and imports it. Properties are of the pool, inherited ones of its root dataset. Neither Make nor
	// Import leaves a cache file: the pool is known by what is on its device.
	Make(ctx context.Context, name, device string, properties, inherited map[string]string) error
	// Import imports the pool with a GUID from a device, also if it was not exported before. Nothing of it is mounted.
	Import(ctx context.Context, name string, guid uint64, device string) error
	// Expand has the pool take up the room by which its device has grown.
	Expand(ctx context.Context, name, device string) error
	// MakeDataset makes a file system that is mounted by nothing but Mounts.
	MakeDataset(ctx context.Context, name string, properties map[string]string) error
	// SetDataset sets properties of a dataset, all at once.
	SetDataset(ctx context.Context, name string, properties map[string]string) error
}

// PoolState is a pool as found.
type PoolState struct {
	Imported bool
	GUID     uint64
	// SizeBytes is its whole size, and ExpandableBytes what Expand would add to it.
	SizeBytes, ExpandableBytes uint64
	// Datasets are those of the properties asked for that are set on each file system itself, by its name below the pool. Numbers are exact.
	Datasets map[string]map[string]string
}

// PoolLabel is what a device says of the pool that it is of.
type PoolLabel struct {
	Name string
	GUID uint64
	// Exported says that it was left in order. Destroyed says that zpool destroy was run on it.
	Exported, Destroyed bool
}

// MountState is what is mounted on a directory.
type MountState struct {
	// Numbers are the device numbers, "major:minor"; a file system that is on no single device has its own.
	Numbers string
	// FileSystem is its type, and Source what was given to mount(2), such as node/etcd.
	FileSystem, Source string
}

// whole is the name of a dataset with that of its pool.
func (p *Pool) whole(d Dataset) string { return p.Name + "/" + d.Name }

// rest is what a dataset may take that has the rest of a pool. Who fills that has not filled the pool, and that room is kept for etcd would not be enough: a write
// counts with 24 times its size, and with some MiB for what leads to it, until its transaction group is on the disk. What of that goes beyond the room that is
// kept is refused at once in a pool that is full, and waits for the disk in one that is not (spa_asize_inflation in zfs(4); dsl_dir_tempreserve_impl in
// module/zfs/dsl_dir.c of OpenZFS 2.3.9). So some room is nobody's.
func (p *Pool) rest(poolBytes uint64) uint64 {
	const mib, gib = 1 << 20, 1 << 30
	// What ZFS keeps for itself (spa_get_slop_space in module/zfs/spa_misc.c), and what is nobody's.
	slop := max(min(poolBytes/32, 128*gib), min(poolBytes/2, 128*mib))
	taken := slop + max(32*mib, Share{2, 4 * gib}.bytes(poolBytes))
	for _, d := range p.Datasets {
		taken += max(d.Reserve.bytes(poolBytes), d.Quota.bytes(poolBytes))
	}
	// A quota of nothing would be none. In whole 64 MiB, so that a pool that grew by a little changes nothing.
	return max((poolBytes-min(poolBytes, taken))/(64*mib)*(64*mib), 16*mib)
}

// properties are those that a dataset is to have.
func (p *Pool) properties(d Dataset, poolBytes uint64) map[string]string {
	out := maps.Clone(d.Properties)
	if out == nil {
		out = map[string]string{}
	}
	// The mount point is the domain's affair, and no program's that goes by it.
	out["mountpoint"] = "legacy"
	if d.Target == "" {
		out["mountpoint"] = "none"
	}
	for name, share := range map[string]Share{"refreservation": d.Reserve, "quota": d.Quota} {
		if share != (Share{}) {
			out[name] = strconv.FormatUint(share.bytes(poolBytes), 10)
		}
	}
	if d.Rest {
		out["quota"] = strconv.FormatUint(p.rest(poolBytes), 10)
	}
	return out
}

// propertyNames are those of all properties that the datasets of a pool are to have.
func (p *Pool) propertyNames() []string {
	names := map[string]string{}
	for _, d := range p.Datasets {
		maps.Copy(names, p.properties(d, 0))
	}
	return slices.Sorted(maps.Keys(names))
}

// poolOps take a volume with a pool, which is open if it is encrypted, to having all its datasets mounted.
func poolOps(v Volume, s VolumeState) []Op {
	holder, contents := s.holder()
	add := func(ops []Op, verb Verb) []Op {
		return append(ops, Op{Verb: verb, Volume: v.Name, Partition: holder, GUID: contents.Pool.GUID})
	}
	var ops []Op
	if !s.Pool.Imported {
		made := contents.Signature == PoolMember && !contents.Formatting
		if !s.Recorded {
			ops = append(ops, Op{Verb: Record, Volume: v.Name, Partition: holder, Clean: !made || contents.Pool.Exported})
		}
		if made {
			return add(ops, Import)
		}
		return add(ops, MakePool)
	}
	if contents.Formatting {
		ops = add(ops, FinishFormat)
	}
	for _, d := range v.Pool.Datasets {
		ops = append(ops, datasetOps(v, s, d)...)
	}
	return ops
}

// op is an operation on a dataset.
func (d Dataset) op(verb Verb, v Volume, properties map[string]string) Op {
	return Op{Verb: verb, Volume: v.Name, Dataset: d, Source: v.Pool.whole(d), Properties: properties}
}

// propertyOps make a dataset, or mend its properties.
func propertyOps(v Volume, s VolumeState, d Dataset) []Op {
	want := v.Pool.properties(d, s.Pool.SizeBytes)
	have, exists := s.Pool.Datasets[d.Name]
	if !exists {
		return []Op{d.op(MakeDataset, v, want)}
	}
	maps.DeleteFunc(want, func(name, value string) bool { return have[name] == value })
	if len(want) == 0 {
		return nil
	}
	return []Op{d.op(SetDataset, v, want)}
}

// mountable are the operations without what a dataset can be mounted without.
func mountable(ops []Op) []Op {
	var out []Op
	for _, o := range ops {
		if point, set := o.Properties["mountpoint"]; set {
			o.Properties = map[string]string{"mountpoint": point}
			out = append(out, o)
		}
	}
	return out
}

// datasetOps take a dataset to being mounted. Of one that exists no more is set before than what it is mounted by: what a pool that is full refuses, such as a
// larger reservation, keeps the node from nothing.
func datasetOps(v Volume, s VolumeState, d Dataset) []Op {
	ops := propertyOps(v, s, d)
	if _, exists := s.Pool.Datasets[d.Name]; exists {
		ops = mountable(ops)
	}
	if d.Target != "" && !s.Datasets[d.Name] {
		ops = append(ops, d.op(MakeMountPoint, v, nil), d.op(Mount, v, nil))
	}
	// Here too: the mount points of those behind it lie in them.
	for _, dir := range d.Directories {
		ops = append(ops, Op{Verb: MakeDirectory, Volume: v.Name, Directory: dir})
	}
	return ops
}

// poolRefusal says why nothing is done for a volume that is to hold a pool, and does hold one; empty if there is no such reason.
func poolRefusal(v Volume, s VolumeState, where string) string {
	_, c := s.holder()
	switch {
	case s.Pool.Imported && c.Pool.GUID != s.Pool.GUID:
		return fmt.Sprintf("a pool named %s is imported that is not the one of %s: export it", v.Pool.Name, where)
	case c.Formatting:
		return ""
	case c.Pool.Name != v.Pool.Name:
		return fmt.Sprintf("%s holds pool %q, expected pool %q or nothing; it is left alone", where, c.Pool.Name, v.Pool.Name)
	case c.Pool.Destroyed:
		return fmt.Sprintf("%s holds pool %s, which was destroyed; it is left alone, and a reset makes it anew", where, v.Pool.Name)
	}
	return ""
}

// observePool looks at the pool of a volume, and at what of it is mounted where.
func (r *Reconciler) observePool(ctx context.Context, v Volume, state *VolumeState, mounted map[string]MountState) error {
	var err error
	if state.Pool, err = r.pools.Pool(ctx, v.Pool.Name, v.Pool.propertyNames()); err != nil {
		return fmt.Errorf("look at pool %s: %w", v.Pool.Name, err)
	}
	state.Datasets, state.Mounted, state.Covered = map[string]bool{}, state.Pool.Imported, false
	for _, d := range v.Pool.Datasets {
		if d.Target == "" {
			continue
		}
		on, some := mounted[d.Target]
		ours := some && on.FileSystem == PoolMember && on.Source == v.Pool.whole(d)
		state.Datasets[d.Name] = ours
		state.Mounted = state.Mounted && ours
		state.Covered = state.Covered || some && !ours
	}
	return nil
}

// targets are the directories on which a volume is mounted.
func (v Volume) targets() []string {
	if v.Pool == nil {
		return []string{v.Target}
	}
	var out []string
	for _, d := range v.Pool.Datasets {
		if d.Target != "" {
			out = append(out, d.Target)
		}
	}
	return out
}

// directories are all that are made on a volume once it is mounted.
func (v Volume) directories() []Directory {
	out := slices.Clone(v.Directories)
	if v.Pool != nil {
		for _, d := range v.Pool.Datasets {
			out = append(out, d.Directories...)
		}
	}
	return out
}
