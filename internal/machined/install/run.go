package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"

	"github.com/cyvive/cyvive/internal/storage/notes"
)

// run is one installation.
type run struct {
	*Installer
	ctx      context.Context
	dev      Device
	req      Request
	source   Source
	tree     tree
	plan     Plan
	note     Note
	progress func(Progress) error
	// done are the bytes of the steps before, limit those with this one: what a step writes is known about only.
	done, limit int64
	step        Progress
}

// all does the steps. Each is on the disk before the note says that it is done.
func (r *run) all() error {
	if err := r.begin(); err != nil {
		return err
	}
	r.step.TotalBytes = r.plan.bytes()
	for _, t := range r.plan.Tasks {
		if t.Step == Begun {
			continue
		}
		r.step.Step, r.step.Bytes, r.limit = t.Step, r.done, r.done+t.Bytes
		if err := r.progress(r.step); err != nil {
			return err
		}
		r.cfg.Log.Info("installing", "disk", r.plan.Disk.Name, "step", string(t.Step), "what", t.What)
		if err := r.do(t.Step); err != nil {
			return fmt.Errorf("%s: %w", t.What, err)
		}
		if err := r.dev.Sync(); err != nil {
			return fmt.Errorf("%s: sync: %w", t.What, err)
		}
		if err := r.mark(t.Step); err != nil {
			return fmt.Errorf("%s: %w", t.What, err)
		}
		r.done += t.Bytes
	}
	r.step.Bytes = r.step.TotalBytes
	return r.progress(r.step)
}

// mark notes the last step that is done.
func (r *run) mark(s Step) error {
	note := r.note
	note.Step = s
	if err := note.write(r.dev); err != nil {
		return err
	}
	r.note = note
	return nil
}

// begin notes the installation, or takes over the note of one that is gone on with.
func (r *run) begin() error {
	if r.plan.After != "" {
		r.note = *r.plan.Disk.Note
		if r.note.Step != r.plan.After {
			return r.back()
		}
		return nil
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("make GUID of the disk: %w", err)
	}
	layout, err := newLayout(r.plan.Disk.SizeBytes, r.cfg.Sizes, r.plan.Release, id)
	if err != nil {
		return err
	}
	r.plan.Layout = layout
	note := Note{ID: id, Plan: r.plan.digest, Step: Begun, Version: r.plan.Release.Version}
	if err := note.write(r.dev); err != nil {
		return err
	}
	r.note = note
	return nil
}

// back takes back the steps behind the one that the installation goes on behind. The partition table goes first, so that no disk starts whose state volume is
// made in part: in the order in which it came, backwards, and while the note says that it is being written, so that Look knows what is left of it.
func (r *run) back() error {
	if err := r.mark(State); err != nil {
		return fmt.Errorf("take back the partition table: %w", err)
	}
	writes := r.plan.Layout.tableWrites()
	slices.Reverse(writes)
	for _, w := range writes {
		clear(w.data)
	}
	if err := r.write(writes); err != nil {
		return fmt.Errorf("take back the partition table: %w", err)
	}
	return r.mark(r.plan.After)
}

// do does one step, but for the last sync.
func (r *run) do(s Step) error {
	switch s {
	case Clear:
		return r.clear()
	case Root:
		return r.copy(rootAName, func(context.Context) (io.ReadCloser, error) {
			in, err := r.source.Root(r.ctx)
			if err != nil {
				return nil, err
			}
			return readCloser{&checked{from: in, tree: &r.tree}, in}, nil
		}, r.plan.Release.RootBytes)
	case Verity:
		_, err := r.window(verityAName).Write(r.tree.all)
		return err
	case ESP:
		w := r.window(espName)
		err := r.source.Boot(r.ctx, func(b Boot) error { return makeESP(w, b, r.plan.Release) })
		if w.err != nil {
			return w.err
		}
		return err
	case State:
		return r.makeState(r.ctx, r.window(stateName), r.req)
	case Table:
		return r.write(r.plan.Layout.tableWrites())
	}
	return nil
}

// readCloser is a reader with the Close of what it reads from.
type readCloser struct {
	io.Reader
	io.Closer
}

// window is a partition, whose writes are told of.
func (r *run) window(name string) *window {
	p := r.plan.Layout.partition(name)
	return &window{ctx: r.ctx, dev: r.dev, start: p.Start, size: p.Bytes, tell: r.tell}
}

// tellEvery is how much is written between two words on progress.
const tellEvery = 8 * mib

func (r *run) tell(n int64) error {
	before := r.step.Bytes
	r.step.Bytes = min(r.step.Bytes+n, r.limit)
	if before/tellEvery == r.step.Bytes/tellEvery {
		return nil
	}
	return r.progress(r.step)
}

func (r *run) copy(name string, open func(context.Context) (io.ReadCloser, error), want int64) error {
	in, err := open(r.ctx)
	if err != nil {
		return err
	}
	n, err := r.window(name).fill(in)
	if err == nil && n != want {
		err = fmt.Errorf("%w: %d bytes, want %d", ErrDamaged, n, want)
	}
	return errors.Join(err, in.Close())
}

const (
	// edgeBytes are overwritten at both ends of the disk and of partitions that nothing is written to: what the node, or others, would look at.
	edgeBytes = mib
	// espClearBytes are the tables of a FAT file system and its root folder.
	espClearBytes = 4 * mib
	// clearBytes is how much that is, about.
	clearBytes = 10 * edgeBytes
)

// clear overwrites all by which something on the disk could be taken for what it is not, but for the installation's own note: a reset that was once ordered for
// the disk is not to wipe what is installed on it.
func (r *run) clear() error {
	whole := &window{ctx: r.ctx, dev: r.dev, size: r.plan.Disk.SizeBytes, tell: r.tell}
	if r.req.Wipe != "" {
		if err := r.discard(); err != nil {
			return err
		}
	}
	type part struct{ at, n int64 }
	parts := []part{
		{0, int64(notes.Installation)},
		{int64(notes.Installation) + notes.NoteBytes, alignBytes - int64(notes.Installation) - notes.NoteBytes},
		{whole.size - edgeBytes, edgeBytes},
	}
	for _, p := range r.plan.Layout.Partitions {
		switch p.Name {
		case espName:
			parts = append(parts, part{p.Start, min(espClearBytes, p.Bytes)})
		case rootBName, verityBName, dataName:
			parts = append(parts, part{p.Start, min(edgeBytes, p.Bytes)}, part{p.Start + p.Bytes - min(edgeBytes, p.Bytes), min(edgeBytes, p.Bytes)})
		}
	}
	for _, p := range parts {
		if err := whole.zero(p.at, p.n); err != nil {
			return err
		}
	}
	return nil
}

// discardPiece is how much is discarded before the caller hears of it again: a large disk takes its time.
const discardPiece = 64 << 30

// discard gives up what is on the disk, but for both ends. A disk that cannot does nothing. The error is of the caller.
func (r *run) discard() error {
	end := r.plan.Disk.SizeBytes - alignBytes
	for at := int64(alignBytes); at < end; at += discardPiece {
		if err := r.dev.Discard(at, min(discardPiece, end-at)); err != nil {
			r.cfg.Log.Warn("the disk does not discard what it holds; it is overwritten as far as needed", "disk", r.plan.Disk.Name, "error", err)
			return nil
		}
		if err := errors.Join(r.ctx.Err(), r.progress(r.step)); err != nil {
			return err
		}
	}
	return nil
}

// write writes the parts of a partition table, each on the disk before the next.
func (r *run) write(parts []write) error {
	for _, w := range parts {
		if _, err := r.dev.WriteAt(w.data, w.at); err != nil {
			return fmt.Errorf("write at byte %d: %w", w.at, err)
		}
		if err := r.dev.Sync(); err != nil {
			return fmt.Errorf("sync at byte %d: %w", w.at, err)
		}
	}
	return nil
}
