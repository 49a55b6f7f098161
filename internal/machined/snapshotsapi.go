package machined

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// snapshotsAPI implements server.Snapshots.
type snapshotsAPI struct{ a *Agent }

// system is the node's OpenZFS; of what changes something also when the machine goes down it is none.
func (v snapshotsAPI) system(changes bool) (zfs.System, error) {
	if err := poolsAPI(v).here(); err != nil {
		return nil, err
	}
	if changes {
		if err := v.a.goingDown(); err != nil {
			return nil, err
		}
	}
	return v.a.cfg.Pools.Datasets, nil
}

// List implements server.Snapshots.
func (v snapshotsAPI) List(ctx context.Context, name string, recursive bool) ([]*snapshotv1.Snapshot, error) {
	system, err := v.system(false)
	if err != nil {
		return nil, err
	}
	q := zfs.Query{Kinds: []zfs.Kind{zfs.Snapshot}, Depth: -1, Properties: []string{"used", "referenced", "userrefs", "clones"}}
	if name != "" {
		q.Roots = []string{name}
		if !recursive {
			q.Depth = 0
		}
	}
	ctx, end, err := v.a.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	list, err := system.List(ctx, q)
	if err != nil {
		return nil, datasetClassed(err)
	}
	var held []string
	for _, s := range list {
		if n, _ := strconv.Atoi(s.Properties["userrefs"].Value); n > 0 {
			held = append(held, s.Name)
		}
	}
	tags := map[string][]zfs.Hold{}
	if len(held) > 0 {
		// One that is gone meanwhile is no reason to tell nothing of the others.
		if tags, err = system.Holds(ctx, held...); err != nil {
			tags = map[string][]zfs.Hold{}
		}
	}
	var out []*snapshotv1.Snapshot
	for _, s := range list {
		out = append(out, snapshotToProto(s, tags[s.Name]))
	}
	return out, nil
}

func snapshotToProto(s zfs.Dataset, holds []zfs.Hold) *snapshotv1.Snapshot {
	size := func(name string) uint64 {
		n, _ := strconv.ParseUint(s.Properties[name].Value, 10, 64)
		return n
	}
	out := &snapshotv1.Snapshot{
		Name: valid(s.Name), Guid: uint64(s.GUID), CreatedAt: stamped(s.Created), UsedBytes: size("used"), ReferencedBytes: size("referenced"),
	}
	for _, h := range holds {
		out.Holds = append(out.Holds, valid(h.Tag))
	}
	if clones := s.Properties["clones"].Value; clones != "" && clones != "-" {
		out.Clones = strings.Split(valid(clones), ",")
	}
	return out
}

// Create implements server.Snapshots. Where replication decides what is there, a snapshot that this node alone has would be in the way of what is received, until
// somebody destroys it: so such a dataset is refused, as it is left alone by schedules, and one below those that are named is left out.
func (v snapshotsAPI) Create(ctx context.Context, datasets []string, name string, recursive bool) (*snapshotv1.CreateResponse, error) {
	system, err := v.system(true)
	if err != nil {
		return nil, err
	}
	q := zfs.Query{Roots: datasets, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Properties: snapshots.PauseProperties()}
	if recursive {
		q.Depth = -1
	}
	list, err := system.List(ctx, q)
	if err != nil {
		return nil, datasetClassed(err)
	}
	var names, left []string
	for _, d := range list {
		pause, paused := snapshots.PauseOf(d)
		switch {
		case paused && slices.Contains(datasets, d.Name):
			return nil, fmt.Errorf("make a snapshot of %s: %w: replication decides what is there: %s", d.Name, server.ErrPrecondition, pause.Why)
		case paused:
			left = append(left, d.Name)
		default:
			names = append(names, d.Name+"@"+name)
		}
	}
	slices.Sort(names)
	slices.Sort(left)
	names, left = slices.Compact(names), slices.Compact(left)
	if err := system.Snapshot(ctx, names, nil); err != nil {
		return nil, datasetClassed(err)
	}
	v.a.log.Info("snapshots made over the API", "snapshots", strings.Join(names, " "), "left out", strings.Join(left, " "))
	v.a.snapshotsMade()
	return &snapshotv1.CreateResponse{Snapshots: names, LeftOut: left}, nil
}

// Destroy implements server.Snapshots.
func (v snapshotsAPI) Destroy(ctx context.Context, names []string) error {
	system, err := v.system(true)
	if err != nil {
		return err
	}
	if err := system.DestroySnapshots(ctx, names); err != nil {
		return datasetClassed(err)
	}
	v.a.log.Warn("snapshots destroyed", "snapshots", strings.Join(names, " "))
	return nil
}

// Hold implements server.Snapshots.
func (v snapshotsAPI) Hold(ctx context.Context, tag string, names []string) error {
	system, err := v.system(true)
	if err != nil {
		return err
	}
	return datasetClassed(system.Hold(ctx, tag, names...))
}

// Release implements server.Snapshots.
func (v snapshotsAPI) Release(ctx context.Context, tag string, names []string) error {
	system, err := v.system(true)
	if err != nil {
		return err
	}
	return datasetClassed(system.Release(ctx, tag, names...))
}

// Schedules implements server.Snapshots.
func (v snapshotsAPI) Schedules(context.Context) ([]*snapshotv1.Schedule, error) {
	if _, err := v.system(false); err != nil {
		return nil, err
	}
	var out []*snapshotv1.Schedule
	for _, p := range v.a.snapshot().schedules.Status.Policies {
		one := &snapshotv1.Schedule{
			Name: p.Name, Snapshots: uint32(p.Snapshots), NewestAt: stamped(p.Newest), FailingSince: stamped(p.Since), RetryAt: stamped(p.Again),
		}
		for _, problem := range slices.Concat(p.Problems, p.Paused) {
			one.Problems = append(one.Problems, valid(problem))
		}
		out = append(out, one)
	}
	return out, nil
}

// PreviewPrune implements server.Snapshots. It looks through a domain of its own: that of the loop belongs to the loop.
func (v snapshotsAPI) PreviewPrune(ctx context.Context, name string) ([]*snapshotv1.Verdict, error) {
	if _, err := v.system(false); err != nil {
		return nil, err
	}
	cfg := v.a.snapshot().input.Config
	if cfg == nil {
		return nil, nil
	}
	spec, err := plan.SnapshotSpec(cfg)
	if err != nil {
		return nil, err
	}
	ctx, end, err := v.a.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	obs, err := v.a.snapshotDomain().Observe(ctx, *spec)
	if err != nil {
		return nil, datasetClassed(err)
	}
	fates := map[snapshots.Fate]snapshotv1.Fate{
		snapshots.Stays: snapshotv1.Fate_FATE_STAYS, snapshots.Goes: snapshotv1.Fate_FATE_GOES, snapshots.Stuck: snapshotv1.Fate_FATE_STUCK,
	}
	var out []*snapshotv1.Verdict
	for _, verdict := range snapshots.Preview(*spec, obs) {
		if of, _, _ := strings.Cut(verdict.Snapshot, "@"); name == "" || of == name {
			out = append(out, &snapshotv1.Verdict{Snapshot: verdict.Snapshot, Fate: fates[verdict.Fate], Reasons: verdict.Reasons})
		}
	}
	return out, nil
}
