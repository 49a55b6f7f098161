package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNotFailedOver: there is no role to bring back.
var ErrNotFailedOver = errors.New("was not failed over")

// Failback brings the role of the primary back to the side that had it before the replica was promoted. What was written on the other side meanwhile comes
// here first; then that side takes no more writes, a last snapshot is brought, and the trees here are promoted. It may be repeated until it succeeds, and
// goes on where it was cut.
type Failback struct {
	// Job is the job as it is declared, from Here to There.
	Job         Job
	Here, There Side
	// With is the runner for the way back; its job and sides are set here.
	With Runner
	// Tell is told in words what it is at; nil is not.
	Tell func(phase string)
}

// back is the job in the other direction. It takes all snapshots: those that were made meanwhile may have other names.
func (f Failback) back() Job {
	back := f.Job.Reverse(ReverseID(f.Job.ID))
	back.Snapshots, back.Initial, back.Returning = nil, All, true
	return back
}

// Run brings the role back, and returns the new generation. The report is that of the last run: where the error is of conflicts, it has them.
func (f Failback) Run(ctx context.Context, decisions ...Decision) (generation uint64, report Report, err error) {
	if err := f.Job.Check(); err != nil {
		return 0, report, err
	}
	here, err := f.Here.List(ctx, ListRequest{f.Job.ID, f.Job.Sources()})
	if err != nil {
		return 0, report, fmt.Errorf("fail back: this side: %w", err)
	}
	promoting := here.promoting()
	there, err := f.There.List(ctx, ListRequest{f.Job.ID, f.Job.Targets()})
	promoting = promoting && there.Generation() <= here.Generation() // else the other side has taken the role again, and has more to bring
	if err != nil && !promoting {                                    // else all has come, and nothing of it is asked for before the end
		return 0, report, fmt.Errorf("fail back: other side: %w", err)
	}
	fenced := slices.ContainsFunc(here.Roots, func(r RootState) bool { return r.Fenced })
	away := there.Generation() > here.Generation() || fenced || comesBack(f.Job, here, there)
	switch {
	case away && !promoting:
		if report, err = f.bring(ctx, here, there.Generation(), decisions); err != nil {
			return 0, report, err
		}
	case !promoting && here.Generation() == 0:
		return 0, report, fmt.Errorf("fail back: %s %w", f.Job.Sources()[0], ErrNotFailedOver)
	}
	generation = here.Generation()
	if away || promoting {
		if generation, err = f.promote(ctx, decisions); err != nil {
			return 0, report, fmt.Errorf("fail back: %w", err)
		}
	}
	return generation, report, f.end(ctx, generation)
}

// promote makes primaries of what came back. What the job kept on the two sides before is of no use any more: its next run begins with the snapshot that
// came last, and takes away what is left on the other side, which may be lost by now.
func (f Failback) promote(ctx context.Context, decisions []Decision) (generation uint64, err error) {
	f.tell("promoting what came back")
	if err := Forget(ctx, f.Job.ID, f.Here, f.Job.Sources()); err != nil {
		return 0, err
	}
	_ = Forget(ctx, f.Job.ID, f.There, f.Job.Targets())
	return Promotion{Job: f.back(), Receiver: f.Here}.Run(ctx, decisions...)
}

// forget takes away what a direction of the job keeps on both sides.
func (f Failback) forget(ctx context.Context, id string) error {
	return errors.Join(Forget(ctx, id, f.Here, f.Job.Sources()), Forget(ctx, id, f.There, f.Job.Targets()))
}

// bring has all come here that the other side has, the last of it when nothing is written there any more. What is here is fenced first, also where the two sides
// have nothing in common: a run would only note the generation then.
func (f Failback) bring(ctx context.Context, here Listing, generation uint64, decisions []Decision) (Report, error) {
	back := f.back()
	if here.behind(generation) {
		sources := f.Job.Sources()
		request := LearnRequest{Fence: Fence{Job: back.ID, Roots: sources, Generation: generation}, Primaries: sources}
		if err := f.Here.Learn(ctx, request); err != nil {
			return Report{}, fmt.Errorf("fail back: this side: %w", err)
		}
	}
	runner := f.With
	runner.Job, runner.Sender, runner.Receiver = back, f.There, f.Here
	run := func(phase string, decisions ...Decision) (Report, error) {
		f.tell(phase)
		report, err := runner.Run(ctx, decisions...)
		if err := errors.Join(err, report.Err()); err != nil {
			return report, fmt.Errorf("fail back: %s: %w", phase, err)
		}
		return report, nil
	}
	if report, err := run("bringing what was written on the other side", decisions...); err != nil {
		return report, err
	}
	f.tell("making the other side read-only, and its last snapshot")
	// One name for each time that the role went away, whatever the clock says.
	name := fmt.Sprintf("cyvive_failback_%d_%s", generation, f.now().UTC().Format("20060102T150405Z"))
	err := f.There.Freeze(ctx, FreezeRequest{Fence: Fence{Job: back.ID, Roots: back.Sources(), Generation: generation}, Snapshot: name})
	if err != nil {
		return Report{}, fmt.Errorf("fail back: other side: %w", err)
	}
	return run("bringing the last snapshot of the other side")
}

// end tells the other side of the generation, which fences it, and takes away what the way back kept.
func (f Failback) end(ctx context.Context, generation uint64) error {
	f.tell("telling the other side, and cleaning up")
	targets := f.Job.Targets()
	err := f.There.Learn(ctx, LearnRequest{Fence: Fence{Job: f.Job.ID, Roots: targets, Generation: generation}, Primaries: targets})
	if err != nil {
		return fmt.Errorf("fail back: the role is here, with generation %d, and the other side is not told: %w", generation, err)
	}
	if err := f.forget(ctx, f.back().ID); err != nil {
		return fmt.Errorf("fail back: the role is here, with generation %d; clean up: %w", generation, err)
	}
	return nil
}

func (f Failback) now() time.Time {
	if f.With.Now != nil {
		return f.With.Now()
	}
	return time.Now()
}

func (f Failback) tell(phase string) {
	if f.Tell != nil {
		f.Tell(phase)
	}
}
