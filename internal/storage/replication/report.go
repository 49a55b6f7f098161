package replication

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Progress is one file system in a run.
type Progress struct {
	Source, Target string
	// Steps and StepsDone count those that send.
	Steps, StepsDone int
	// Now is the state of the step in progress, empty between steps; Reason says in words what it does, or waits for.
	Now    State
	Reason string
	// BytesExpected is the sum of the estimates of all steps, BytesSent what went over so far.
	BytesExpected, BytesSent uint64
	// Err is why it stopped.
	Err error
}

// Report is a run.
type Report struct {
	// FileSystems are those with something to do, by name on the sending side.
	FileSystems []Progress
	// Plan is the plan that was carried out.
	Plan Plan
	// Resolved are the decisions that were carried out, Unresolved why others were not.
	Resolved   []Decision
	Unresolved []error
}

// Err joins all that a person has to know: nil says that the replicas are all that they should be.
func (r Report) Err() error {
	var errs []error
	if r.Plan.FencedBy != 0 {
		errs = append(errs, fmt.Errorf("replicate: the sending side %w: %d", ErrFenced, r.Plan.FencedBy))
	}
	for _, c := range r.Plan.Conflicts {
		errs = append(errs, c)
	}
	for _, b := range r.Plan.Blocked {
		errs = append(errs, fmt.Errorf("replicate %s to %s: blocked: %s", b.Source, b.Target, b.Reason))
	}
	for _, f := range r.FileSystems {
		if f.Err != nil {
			errs = append(errs, fmt.Errorf("replicate %s to %s: %w", f.Source, f.Target, f.Err))
		}
	}
	return errors.Join(append(errs, r.Unresolved...)...)
}

// Conflict returns the conflict of a file system on either side, found by the plan or by a step, or nil.
func (r Report) Conflict(name string) *Conflict {
	for _, c := range r.Plan.Conflicts {
		if c.Source == name || c.Target == name {
			return c
		}
	}
	for _, f := range r.FileSystems {
		var c *Conflict
		if (f.Source == name || f.Target == name) && errors.As(f.Err, &c) {
			return c
		}
	}
	return nil
}

// board is where workers write what they do.
type board struct {
	mu     sync.Mutex
	rows   map[string]*Progress
	notify func(Progress)
}

func newBoard(steps []Step, notify func(Progress)) *board {
	b := &board{rows: map[string]*Progress{}, notify: notify}
	for _, s := range steps {
		row := b.rows[s.Source]
		if row == nil {
			row = &Progress{Source: s.Source, Target: s.Target}
			b.rows[s.Source] = row
		}
		if s.Kind == StepInitial || s.Kind == StepIncremental {
			row.Steps++
		}
		row.BytesExpected += s.Bytes
	}
	return b
}

// update changes a row, and shows it.
func (b *board) update(source string, change func(*Progress)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	row := b.rows[source]
	change(row)
	if b.notify != nil {
		b.notify(*row)
	}
}

// add counts bytes. It is called for each read, and shows nothing.
func (b *board) add(source string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows[source].BytesSent += uint64(n)
}

func (b *board) all() []Progress {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Progress
	for _, row := range b.rows {
		out = append(out, *row)
	}
	slices.SortFunc(out, func(x, y Progress) int { return strings.Compare(x.Source, y.Source) })
	return out
}
