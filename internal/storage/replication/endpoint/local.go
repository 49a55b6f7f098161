package endpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Summer makes checksums of the files of a snapshot.
type Summer interface {
	Sum(ctx context.Context, snapshot string) ([]byte, error)
}

// Replayer has OpenZFS write what the intent log of a file system holds: what was synced right before the power failed. Until the file system is mounted it is in no
// snapshot, and a receive or a rollback gives it up without a word. Volumes need none: their logs are replayed when their devices are made, at the import of the pool
// (zvol_os_create_minor in module/os/linux/zfs/zvol_os.c, OpenZFS 2.3.9).
type Replayer interface {
	// Replay returns when ctx ends at the latest. One that is mounted has nothing to be replayed.
	Replay(ctx context.Context, fileSystem string) error
}

// Local implements replication.Side.
type Local struct {
	system zfs.System
	summer Summer
	memory *Memory
	// tops are datasets from which on downwards what is missing above a replica is made.
	tops []string
}

var _ replication.Side = (*Local)(nil)

// New returns the side of a system. A nil summer means that contents cannot be compared here. One that is a Replayer, too, replays what is to become a replica, or gets
// its last snapshot.
func New(system zfs.System, summer Summer) *Local {
	return &Local{system: system, summer: summer, memory: &Memory{}}
}

// Under returns the same side, which makes the file systems that are missing above what it receives, as placeholders: from the tops on downwards,
// themselves included. What lies above a top has to be there.
func (l *Local) Under(tops ...string) *Local {
	c := *l
	c.tops = tops
	return &c
}

// Remembering returns the same side with a memory that others may share, such as those of later requests.
func (l *Local) Remembering(m *Memory) *Local {
	c := *l
	c.memory = m
	return &c
}

// Roots reads the states of roots, each of which is in the answer, in their order. With an error those that could not be read are there without their name, and without
// anything else.
func (l *Local) Roots(ctx context.Context, names []string) ([]replication.RootState, error) {
	out, errs := make([]replication.RootState, len(names)), make([]error, len(names))
	eachPool(names, func(i int) {
		states, err := l.roots(ctx, names[i:i+1])
		if err != nil {
			errs[i] = err
			return
		}
		out[i].Name = names[i]
		for _, s := range states {
			if s.Name == names[i] {
				out[i] = s
			}
		}
	})
	return out, errors.Join(errs...)
}

// eachPool calls do for datasets, by their places: for those of one pool one after the other, and beside those of others. A pool that does not answer is in the way of
// none of them.
func eachPool(names []string, do func(i int)) {
	pools := map[string][]int{}
	for i, name := range names {
		pools[poolOf(name)] = append(pools[poolOf(name)], i)
	}
	var all sync.WaitGroup
	for _, places := range pools {
		all.Go(func() {
			for _, i := range places {
				do(i)
			}
		})
	}
	all.Wait()
}

// poolOf is the pool of a dataset.
func poolOf(dataset string) string {
	pool, _, _ := strings.Cut(dataset, "/")
	return pool
}

var everyKind = []zfs.Kind{zfs.Filesystem, zfs.Volume, zfs.Snapshot, zfs.Bookmark}

// localOf is the value of a property that is set on the dataset itself.
func localOf(d zfs.Dataset, property string) string {
	if p := d.Properties[property]; p.Source == zfs.SourceLocal {
		return p.Value
	}
	return ""
}

// number reads a property that is one; what is no number is 0, as where there is none.
func number(value string) uint64 {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// roots reads the states of roots. One that is not there is not among them.
func (l *Local) roots(ctx context.Context, names []string) ([]replication.RootState, error) {
	var states []replication.RootState
	for _, name := range names {
		found, err := l.system.List(ctx, zfs.Query{
			Roots: []string{name}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Properties: append(replication.OwnProperties(), "readonly"),
		})
		if errors.Is(err, zfs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read root %s: %w", name, err)
		}
		for _, d := range found {
			states = append(states, rootState(d))
		}
	}
	return states, nil
}

func rootState(d zfs.Dataset) replication.RootState {
	generation := number(localOf(d, replication.PropertyGeneration))
	promoting := localOf(d, replication.PropertyPromoting)
	s := replication.RootState{
		Name: d.Name, Exists: true, Generation: generation, Fenced: localOf(d, replication.PropertyFenced) != "",
		Replica:   localOf(d, replication.PropertyReplica),
		Promoting: promoting != "" && number(promoting) == generation,
	}
	s.Frozen = !s.Fenced && s.Replica == "" && localOf(d, replication.PropertyBefore) != ""
	// A promotion opens a placeholder, and what closes it after that notes how it was.
	s.Placeholder = localOf(d, replication.PropertyPlaceholder) == "on" && localOf(d, "readonly") == "on" &&
		localOf(d, replication.PropertyBefore) == "" && !s.Promoting
	return s
}

// allow checks a request against the generation of this side.
func (l *Local) allow(ctx context.Context, f replication.Fence, sending bool) error {
	states, err := l.roots(ctx, f.Roots)
	if err != nil {
		return err
	}
	return allowed(states, f, sending)
}

// allowed checks a request against the states of its roots.
func allowed(states []replication.RootState, f replication.Fence, sending bool) error {
	for _, root := range states {
		switch {
		case root.Generation > f.Generation:
			return fmt.Errorf("%s: generation %d %w, %d", root.Name, f.Generation, replication.ErrFenced, root.Generation)
		case sending && root.Fenced && root.Replica == "":
			return fmt.Errorf("%s %w, %d, and sends nothing", root.Name, replication.ErrFenced, root.Generation)
		}
	}
	return nil
}

// one lists one file system, with the holds of a job or, without one, with none; nil where there is none.
func (l *Local) one(ctx context.Context, job, name string) (*replication.FileSystem, error) {
	_, found, err := l.tree(ctx, job, name, 0)
	if err != nil {
		return nil, err
	}
	for i := range found {
		if found[i].Name == name {
			return &found[i], nil
		}
	}
	return nil, nil
}

// snapshot finds a file system and one of its snapshots, with the terms of one.
func (l *Local) snapshot(ctx context.Context, job, name string, guid zfs.GUID) (*replication.FileSystem, *replication.Version, error) {
	f, err := l.one(ctx, job, name)
	if err != nil {
		return nil, nil, err
	}
	v, err := snapshotOf(f, name, guid)
	return f, v, err
}

// snapshotOf is a snapshot of a file system, which is nil where that is gone.
func snapshotOf(f *replication.FileSystem, name string, guid zfs.GUID) (*replication.Version, error) {
	if f == nil {
		return nil, fmt.Errorf("%s %w: it is gone", name, replication.ErrChanged)
	}
	v := f.Snapshot(guid)
	if v == nil {
		return nil, fmt.Errorf("%s %w: its snapshot %s is gone", name, replication.ErrChanged, guid)
	}
	return v, nil
}

// Clean implements replication.Endpoint. Holds and cursors go at the same time: each waits for a transaction, which may be the same, and a run that is cut
// between any two of them leaves what the next one takes away.
func (l *Local) Clean(ctx context.Context, r replication.CleanRequest) error {
	var step, last error
	var wait sync.WaitGroup
	if len(r.StepHolds) > 0 {
		wait.Go(func() { step = l.system.Release(ctx, replication.StepTag(r.Job), r.StepHolds...) })
	}
	if len(r.LastHolds) > 0 {
		wait.Go(func() { last = l.system.Release(ctx, replication.LastTag(r.Job), r.LastHolds...) })
	}
	var errs []error
	for _, name := range r.Cursors {
		if job, _, ok := replication.ParseCursor(behind(name)); !ok || job != r.Job {
			errs = append(errs, fmt.Errorf("destroy cursor %s: it is none of job %s", name, r.Job))
			continue
		}
		errs = append(errs, gone(l.system.Destroy(ctx, name)))
	}
	wait.Wait()
	return errors.Join(append(errs, step, last)...)
}

// replay is for a file system that may not have been mounted since its pool was imported. One that is encrypted may have no key to be mounted with; no job of this
// node's configuration replicates such.
func (l *Local) replay(ctx context.Context, f *replication.FileSystem) error {
	r, ok := l.summer.(Replayer)
	if !ok || f.Kind != zfs.Filesystem || f.Encryption != "" && f.Encryption != "off" {
		return nil
	}
	return r.Replay(ctx, f.Name)
}

// behind is the part of a name after the '#'.
func behind(name string) string {
	if i := slices.Index([]byte(name), '#'); i >= 0 {
		return name[i+1:]
	}
	return ""
}

// gone takes it for done that what was to be destroyed is not there.
func gone(err error) error {
	if errors.Is(err, zfs.ErrNotExist) {
		return nil
	}
	return err
}

// there takes it for done that what was to be made is there.
func there(err error) error {
	if errors.Is(err, zfs.ErrExist) {
		return nil
	}
	return err
}

// Checksum implements replication.Endpoint.
func (l *Local) Checksum(ctx context.Context, r replication.ChecksumRequest) ([]byte, error) {
	if l.summer == nil {
		return nil, fmt.Errorf("checksum %s: %w", r.FileSystem, replication.ErrUnsupported)
	}
	f, v, err := l.snapshot(ctx, "", r.FileSystem, r.To)
	if err != nil {
		return nil, fmt.Errorf("checksum: %w", err)
	}
	if f.Kind != zfs.Filesystem {
		return nil, fmt.Errorf("checksum of a %s, %s: %w", f.Kind, r.FileSystem, replication.ErrUnsupported)
	}
	return l.summer.Sum(ctx, f.Whole(*v))
}
