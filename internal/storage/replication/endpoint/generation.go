package endpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// learnPatience is how long a pool may take to tell of a root that is to be fenced. The roots in others do not wait for it any longer.
const learnPatience = 30 * time.Second

// Learn implements replication.Endpoint. Each root is fenced for itself, and beside the others: one whose pool does not answer keeps none of them a primary.
func (l *Local) Learn(ctx context.Context, r replication.LearnRequest) error {
	states, errs := make([][]replication.RootState, len(r.Roots)), make([]error, len(r.Roots))
	looking, cancel := context.WithTimeout(ctx, learnPatience)
	defer cancel()
	var all sync.WaitGroup
	for i, name := range r.Roots {
		all.Go(func() { states[i], errs[i] = l.roots(looking, []string{name}) })
	}
	all.Wait()
	for _, root := range slices.Concat(states...) {
		if root.Generation > r.Generation {
			return fmt.Errorf("%s: generation %d %w, %d", root.Name, r.Generation, replication.ErrFenced, root.Generation)
		}
	}
	for i, found := range states {
		for _, root := range found {
			all.Go(func() { errs[i] = l.learn(ctx, r, root) })
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

// learn is for one root. A tree is read-only before it says that it is fenced, so that what was cut is done again.
func (l *Local) learn(ctx context.Context, r replication.LearnRequest, root replication.RootState) error {
	if root.Generation == r.Generation {
		return nil
	}
	// Who fences others names all that it has seen. Of what is no replica it may not have seen this one, whose pool was imported since; noted alone, it would never be
	// fenced. The next look finds it.
	if len(r.Primaries) > 0 && !slices.Contains(r.Primaries, root.Name) && root.Replica == "" && !root.Fenced {
		return nil
	}
	noted := map[string]string{replication.PropertyGeneration: strconv.FormatUint(r.Generation, 10)}
	if slices.Contains(r.Primaries, root.Name) {
		if err := l.close(ctx, root.Name); err != nil {
			return err
		}
		noted[replication.PropertyFenced] = noted[replication.PropertyGeneration]
	}
	// Another may have told of a higher one meanwhile, which takes its time for a large tree: that one stays.
	states, err := l.roots(ctx, []string{root.Name})
	if err != nil {
		return err
	}
	for _, now := range states {
		if now.Generation > r.Generation {
			return fmt.Errorf("%s: generation %d %w, %d", now.Name, r.Generation, replication.ErrFenced, now.Generation)
		}
	}
	return l.system.Set(ctx, root.Name, noted)
}

// Promote implements replication.Receiver. The generation comes first: from then on nothing is received any more. The mark of each replica goes last.
func (l *Local) Promote(ctx context.Context, r replication.PromoteRequest) error {
	if err := l.allow(ctx, r.Fence, false); err != nil {
		return err
	}
	generation := strconv.FormatUint(r.Generation, 10)
	for _, root := range r.Roots {
		begin := map[string]string{replication.PropertyGeneration: generation, replication.PropertyPromoting: generation}
		if err := l.system.Set(ctx, root, begin); err != nil {
			return fmt.Errorf("promote %s: %w", root, err)
		}
	}
	for _, root := range r.Roots {
		if err := l.openTree(ctx, r, root); err != nil {
			return fmt.Errorf("promote %w", err)
		}
	}
	for _, root := range r.Roots {
		if len(r.Properties) > 0 {
			if err := l.system.Set(ctx, root, r.Properties); err != nil {
				return fmt.Errorf("promote %s: %w", root, err)
			}
		}
		for _, name := range []string{replication.PropertyFenced, replication.PropertyPromoting} {
			if err := l.system.Inherit(ctx, root, name); err != nil {
				return fmt.Errorf("promote %s: %w", root, err)
			}
		}
	}
	return nil
}

// openTree makes primaries of the replicas below a root, and gives the rest of the tree back what a fence took, those above before those below. What was
// noted is forgotten when all of it has been given back.
func (l *Local) openTree(ctx context.Context, r replication.PromoteRequest, root string) error {
	found, err := l.list(ctx, r.Job, root, -1)
	if err != nil {
		return err
	}
	byName := map[string]*replication.FileSystem{}
	for i := range found {
		byName[found[i].Name] = &found[i]
	}
	tree, err := l.system.List(ctx, zfs.Query{Roots: []string{root}, Kinds: bothKinds, Depth: -1, Properties: closable})
	if err != nil {
		return fmt.Errorf("%s: %w", root, err)
	}
	for _, d := range tree {
		switch f := byName[d.Name]; {
		case f == nil: // it was made just now
		case f.Replica == r.Job:
			err = l.open(ctx, r, f, d)
		case localOf(d, replication.PropertyBefore) != "":
			err = l.reopen(ctx, d, noteOf(d))
		case (d.Name == root || f.Marked) && f.Replica == "" && own(d, "readonly") == "on":
			// A placeholder: what is made below it from now on is not to be read-only.
			err = l.system.Set(ctx, d.Name, map[string]string{"readonly": "off"})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	for _, d := range tree {
		if localOf(d, replication.PropertyBefore) == "" {
			continue
		}
		if err := l.system.Inherit(ctx, d.Name, replication.PropertyBefore); err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	return nil
}

// open makes a primary of one replica, whose settings are in d.
func (l *Local) open(ctx context.Context, r replication.PromoteRequest, f *replication.FileSystem, d zfs.Dataset) error {
	if f.Token != "" {
		if err := gone(l.system.AbortReceive(ctx, f.Name)); err != nil {
			return err
		}
	}
	if len(f.Snapshots()) == 0 {
		return nil // it was the beginning of a first receive
	}
	if c := f.Changed(); c != nil {
		i := slices.IndexFunc(r.Decisions, func(d replication.Decision) bool { return slices.ContainsFunc(c.Options, d.Equal) })
		if i < 0 {
			return c
		}
		if d := r.Decisions[i]; d.Kind == replication.RollBack {
			if err := l.rollBack(ctx, d); err != nil {
				return err
			}
		}
	}
	if err := l.reopen(ctx, d, received(d)); err != nil {
		return err
	}
	return l.unmark(ctx, f)
}
