package snapshots

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Snapshot is one as found.
type Snapshot struct {
	// Name is what comes behind the @.
	Name      string
	GUID      zfs.GUID
	CreateTXG uint64
	// Created is by the clock of the machine that made it.
	Created time.Time
	// Holds is how many references keep it, and Tags are their names, as far as they are known.
	Holds  int
	Tags   []string
	Clones []string
}

// Clock is what time it is.
type Clock struct {
	// Now is the machine's clock, which may jump.
	Now time.Time
	// Uptime only grows: the time since the machine was started.
	Uptime time.Duration
	// Doubt says why Now may be far from the time that it is; empty if nothing speaks for that. Then no snapshot goes for its age.
	Doubt string
}

// Bases are snapshots that replication begins its next steps with, and what needs each, in words.
type Bases map[zfs.GUID]string

// Unknown are the pools of which it is not known what replication needs, and why. Empty stands for all.
type Unknown map[string]string

// why says why it is not known of a dataset; empty if it is known.
func (u Unknown) why(dataset string) string { return cmp.Or(u[""], u[poolOf(dataset)]) }

// patience is how long a look at one root, or one operation, may take: a pool that does not answer keeps the others waiting for so long, and no longer.
const patience = 2 * time.Minute

// patiently bounds what is asked of one pool.
func patiently(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s: its pool may be suspended: %w", patience, context.DeadlineExceeded))
}

// Observed is what was found.
type Observed struct {
	Clock Clock
	// Datasets has the snapshots of each file system and volume that the policies cover, oldest first by CreateTXG.
	Datasets map[string][]Snapshot
	// Missing are the targets that are not there, or cannot be looked at, and why.
	Missing map[string]string
	// Bases are never pruned. Of pools of which they are Unknown, nothing is.
	Bases   Bases
	Unknown Unknown
	// Paused are datasets that policies leave alone.
	Paused map[string]Pause
	// Since is the Uptime at which the newest snapshot of a policy and a target was first seen.
	Since map[Key]time.Duration
	// Refused is why something could not be done a while ago, by a snapshot or, of one to be made, a target and its policy; it is not tried again for now.
	Refused map[string]string
	// Failing are the targets that are missing, and those of which no snapshot could be made.
	Failing map[Key]Failure
}

// Failure is of a target of which no snapshot can be made.
type Failure struct {
	// Refused is why the last attempt failed; empty if none did. It stays until one goes well.
	Refused string
	// Since is when the target was first missing or refused, without a break, by the clock of then.
	Since time.Time
	// Again is when what was refused is tried again; zero if that is now.
	Again time.Time
}

// Key is a target of a policy.
type Key struct{ Policy, Dataset string }

// taken says that a dataset has a snapshot of the name.
func (o Observed) taken(dataset, name string) bool {
	return slices.ContainsFunc(o.Datasets[dataset], func(s Snapshot) bool { return s.Name == name })
}

// paused says that no snapshot is made of a dataset.
func (o Observed) paused(dataset string) bool { return o.Paused[dataset].Why != "" }

// newest returns the policy's newest snapshot of a dataset, or nil.
func (o Observed) newest(p Policy, dataset string) *Snapshot {
	list := o.Datasets[dataset]
	for i := len(list) - 1; i >= 0; i-- {
		if isOf(p.Prefix, list[i].Name) {
			return &list[i]
		}
	}
	return nil
}

// Observe lists datasets and snapshots. A target that is not there is no error.
func (r *Reconciler) Observe(ctx context.Context, spec Spec) (Observed, error) {
	obs := Observed{
		Clock: r.clock(), Datasets: map[string][]Snapshot{}, Missing: map[string]string{}, Paused: map[string]Pause{},
		Since: map[Key]time.Duration{}, Refused: map[string]string{}, Failing: map[Key]Failure{},
	}
	var err error
	// What comes to be a base between this and the destroying is kept by the holds that replication has on it.
	if obs.Bases, obs.Unknown, err = r.bases(ctx); err != nil {
		obs.Unknown = Unknown{"": err.Error()}
	}
	for _, root := range roots(spec) {
		if err := r.list(ctx, root, obs); err != nil {
			if ctx.Err() != nil {
				return Observed{}, err
			}
			obs.Missing[root.Dataset] = err.Error()
		}
	}
	for name := range obs.Datasets {
		if slices.Contains(spec.ReadOnly, poolOf(name)) {
			obs.Paused[name] = Pause{Why: "its pool is declared read-only", Keeps: true}
		}
	}
	for _, list := range obs.Datasets {
		slices.SortFunc(list, func(a, b Snapshot) int { return cmp.Compare(a.CreateTXG, b.CreateTXG) })
	}
	for _, p := range spec.Policies {
		for _, t := range p.Targets {
			if _, found := obs.Datasets[t.Dataset]; !found && obs.Missing[t.Dataset] == "" {
				obs.Missing[t.Dataset] = obs.whyMissing(t.Dataset)
			}
		}
	}
	r.remember(spec, obs)
	return obs, nil
}

// unmadePrefix begins the last name of a volume of Kubernetes that is being made, and has another in a moment: with it in the list no snapshot would be made of all the
// others. Package csi has the term.
const unmadePrefix = "_new-"

// volumesName is the last name of each file system that such volumes are made in: config.SystemVolumes, and POOL/volumes (volumesDataset in package plan). Elsewhere the
// prefix is anybody's.
const volumesName = "volumes"

// isUnmade says whether a dataset is such a volume.
func isUnmade(dataset string) bool {
	i := strings.LastIndexByte(dataset, '/')
	return i > 0 && strings.HasPrefix(dataset[i+1:], unmadePrefix) && strings.HasSuffix(dataset[:i], "/"+volumesName)
}

// errNone is of a target that is not there.
var errNone = errors.New("there is no such dataset")

// whyMissing is the reason of the root that a dataset would have been listed with.
func (o Observed) whyMissing(dataset string) string {
	for root, why := range o.Missing {
		if isBelow(dataset, root) {
			return why
		}
	}
	return errNone.Error()
}

// roots are what has to be listed: the targets without those that lie below a recursive one.
func roots(spec Spec) []Target {
	all := map[string]bool{}
	for _, p := range spec.Policies {
		for _, t := range p.Targets {
			all[t.Dataset] = all[t.Dataset] || t.Recursive
		}
	}
	var out []Target
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !slices.ContainsFunc(out, func(o Target) bool { return o.Recursive && isBelow(name, o.Dataset) }) {
			out = append(out, Target{Dataset: name, Recursive: all[name]})
		}
	}
	return out
}

// list adds what is below a root. Those with holds are asked for them.
func (r *Reconciler) list(ctx context.Context, root Target, obs Observed) error {
	ctx, cancel := patiently(ctx)
	defer cancel()
	q := zfs.Query{
		Roots: []string{root.Dataset}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume, zfs.Snapshot}, Properties: []string{"userrefs", "clones"},
	}
	if root.Recursive {
		q.Depth = -1
	}
	err := r.pauses(ctx, root, obs)
	var found []zfs.Dataset
	if err == nil {
		found, err = r.system.List(ctx, q)
	}
	if errors.Is(err, zfs.ErrNotExist) {
		return errNone
	} else if err != nil {
		return fmt.Errorf("list %s: %w", root.Dataset, err)
	}
	var held []string
	for _, d := range found {
		if n, _ := strconv.Atoi(d.Properties["userrefs"].Value); d.Kind == zfs.Snapshot && n > 0 {
			held = append(held, d.Name)
		}
	}
	var holds map[string][]zfs.Hold
	if len(held) > 0 {
		// Their names are for a person; that there are some is known without them.
		if holds, err = r.system.Holds(ctx, held...); err != nil && ctx.Err() != nil {
			return err
		}
	}
	for _, d := range found {
		dataset, name, isSnapshot := strings.Cut(d.Name, "@")
		if dataset != root.Dataset && isUnmade(dataset) {
			continue
		}
		if !isSnapshot {
			if _, known := obs.Datasets[dataset]; !known {
				obs.Datasets[dataset] = nil
			}
			continue
		}
		s := Snapshot{Name: name, GUID: d.GUID, CreateTXG: d.CreateTXG, Created: d.Created}
		s.Holds, _ = strconv.Atoi(d.Properties["userrefs"].Value)
		for _, h := range holds[d.Name] {
			s.Tags = append(s.Tags, h.Tag)
		}
		if clones := d.Properties["clones"].Value; clones != "" && clones != "-" {
			s.Clones = strings.Split(clones, ",")
		}
		obs.Datasets[dataset] = append(obs.Datasets[dataset], s)
	}
	return nil
}
