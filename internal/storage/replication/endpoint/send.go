package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Protect implements replication.Sender. A bookmark that a step goes from cannot be held; one that is not the job's gets a cursor beside it, which
// nobody else takes away. Holds and cursor are made at the same time: each waits for a transaction, which may be the same, and what is made of them before
// a cut is used or taken away by the next run, whichever it is.
func (l *Local) Protect(ctx context.Context, r replication.ProtectRequest) error {
	f, err := l.find(ctx, r.Fence, true, r.FileSystem, r.To, r.From)
	if err != nil {
		return err
	}
	to, err := snapshotOf(f, r.FileSystem, r.To)
	if err != nil {
		return err
	}
	held := map[string]zfs.GUID{f.Whole(*to): r.To}
	if r.From != 0 {
		from := f.Version(r.From)
		switch {
		case from == nil:
			return fmt.Errorf("%s %w: snapshot or bookmark %s is gone", r.FileSystem, replication.ErrChanged, r.From)
		case !from.Bookmark:
			held[f.Whole(*from)] = r.From
		case r.Cursor:
			if err := l.cursor(ctx, r.Job, f, *from); err != nil {
				return err
			}
		}
	}
	var holding, marking error
	var wait sync.WaitGroup
	if r.Hold {
		names := slices.Sorted(maps.Keys(held))
		wait.Go(func() { holding = l.system.Hold(ctx, replication.StepTag(r.Job), names...) })
	} else {
		clear(held)
	}
	if r.Cursor {
		marking = l.cursor(ctx, r.Job, f, *to)
	}
	wait.Wait()
	if err := errors.Join(holding, marking); err != nil {
		return err
	}
	if r.From != 0 && r.Cursor {
		l.memory.begin(stepKey{job: r.Job, fileSystem: r.FileSystem}, begun{from: r.From, to: r.To, names: held})
	}
	return nil
}

// cursor makes the cursor of a version.
func (l *Local) cursor(ctx context.Context, job string, f *replication.FileSystem, v replication.Version) error {
	name := replication.CursorName(job, v.GUID)
	if slices.ContainsFunc(f.Versions, func(o replication.Version) bool { return o.Bookmark && o.Name == name }) {
		return nil
	}
	return there(l.system.Bookmark(ctx, f.Whole(v), f.Name+"#"+name))
}

// spec looks up what a request for a stream is of, and checks it against the generation.
func (l *Local) spec(ctx context.Context, r replication.SendRequest) (zfs.SendSpec, error) {
	from := r.From
	if r.Token != "" {
		from = 0
	}
	f, err := l.find(ctx, r.Fence, true, r.FileSystem, r.To, from)
	if err != nil {
		return zfs.SendSpec{}, err
	}
	to, err := snapshotOf(f, r.FileSystem, r.To)
	if err != nil {
		return zfs.SendSpec{}, err
	}
	if r.Token != "" {
		return zfs.SendSpec{ResumeToken: r.Token}, l.fits(ctx, r)
	}
	if r.From == 0 {
		return sendSpec(r, f.Whole(*to), ""), nil
	}
	base := f.Version(r.From)
	if base == nil {
		return zfs.SendSpec{}, fmt.Errorf("%s %w: snapshot or bookmark %s is gone", r.FileSystem, replication.ErrChanged, r.From)
	}
	return sendSpec(r, f.Whole(*to), f.Whole(*base)), nil
}

func sendSpec(r replication.SendRequest, to, from string) zfs.SendSpec {
	return zfs.SendSpec{Snapshot: to, From: from, Large: r.Stream.Large, Raw: r.Stream.Raw, Properties: r.Properties}
}

// fits checks that a token is of what was asked for: it is the other side's word, and must not make this one send anything else.
func (l *Local) fits(ctx context.Context, r replication.SendRequest) error {
	t, err := l.system.Token(ctx, r.Token)
	switch {
	case err != nil:
		return err
	case t.To != r.To || t.From != r.From:
		return fmt.Errorf("%w: it is of %s from %s, asked for are %s from %s", zfs.ErrBadToken, t.To, t.From, r.To, r.From)
	case t.Raw != r.Stream.Raw || !t.Raw && t.Large != r.Stream.Large:
		return fmt.Errorf("%w: its stream is made in another way than the job says", zfs.ErrBadToken)
	}
	return nil
}

// Estimate implements replication.Sender. Where names are remembered, they will do for it: it has no effect, and is not exact.
func (l *Local) Estimate(ctx context.Context, r replication.SendRequest) (uint64, error) {
	guids := []zfs.GUID{r.To}
	if r.From != 0 {
		guids = append(guids, r.From)
	}
	if known := l.memory.recall(r.FileSystem, guids); known != nil && r.Token == "" {
		if bytes, err := l.system.Estimate(ctx, sendSpec(r, known[r.To], known[r.From])); err == nil {
			return bytes, nil
		}
	}
	spec, err := l.spec(ctx, r)
	if err != nil {
		return 0, err
	}
	return l.system.Estimate(ctx, spec)
}

// Send implements replication.Sender.
func (l *Local) Send(ctx context.Context, r replication.SendRequest) (io.ReadCloser, error) {
	spec, err := l.spec(ctx, r)
	if err != nil {
		return nil, err
	}
	return l.system.Send(ctx, spec)
}

// Advance implements replication.Sender. The new cursor is there before the old one goes. What a step that goes on from something has begun here since the
// last look is all that there is of it: what was there before, a run takes away at its beginning.
func (l *Local) Advance(ctx context.Context, r replication.AdvanceRequest) error {
	step, ok := l.memory.end(stepKey{job: r.Job, fileSystem: r.FileSystem}, r.To)
	if ok && r.Cursor {
		names := maps.Clone(step.names)
		names[r.FileSystem+"#"+replication.CursorName(r.Job, r.To)] = r.To
		seen, err := l.glance(ctx, r.Fence, true, r.FileSystem, names)
		if err != nil {
			return err
		}
		if seen != nil {
			return l.Clean(ctx, replication.CleanRequest{
				Job: r.Job, StepHolds: slices.Sorted(maps.Keys(step.names)), Cursors: []string{r.FileSystem + "#" + replication.CursorName(r.Job, step.from)},
			})
		}
	}
	if err := l.allow(ctx, r.Fence, true); err != nil {
		return err
	}
	f, err := l.one(ctx, r.Job, r.FileSystem)
	if err != nil {
		return err
	}
	if f == nil {
		return fmt.Errorf("%s %w: it is gone", r.FileSystem, replication.ErrChanged)
	}
	if to := f.Version(r.To); r.Cursor && to != nil {
		if err := l.cursor(ctx, r.Job, f, *to); err != nil {
			return err
		}
	}
	clean := replication.CleanRequest{Job: r.Job}
	for _, v := range f.Versions {
		if v.Step {
			clean.StepHolds = append(clean.StepHolds, f.Whole(v))
		}
		if job, _, ok := replication.ParseCursor(v.Name); v.Bookmark && ok && job == r.Job && (v.GUID != r.To || !r.Cursor) {
			clean.Cursors = append(clean.Cursors, f.Whole(v))
		}
	}
	return l.Clean(ctx, clean)
}
