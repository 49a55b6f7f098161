package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Runner carries a job out. It keeps nothing between runs. One job must not run twice at the same time.
type Runner struct {
	Job      Job
	Sender   Sender
	Receiver Receiver
	// Policy is for each step; zero means 5 attempts, a wait of 1 s to 1 min, and what the job says about checksums.
	Policy Policy
	// Now and Sleep stand for the clock; nil for the real one. They are called concurrently, and Sleep ends with its context.
	Now   func() time.Time
	Sleep func(ctx context.Context, until time.Time) error
	// Planned is called with the plan and its estimates before the first step; nil is not.
	Planned func(Plan)
	// Count is called with the bytes of each read of a dataset's stream, from several goroutines at once. It must not block.
	Count func(source string, bytes int)
	// Notify is called for each change of a file system's progress, one call at a time; it must not block.
	Notify func(Progress)
}

// Run does all that there is to do. The error is of a run that could not begin; what could not be done of it is in the report.
func (r *Runner) Run(ctx context.Context, decisions ...Decision) (Report, error) {
	if err := r.Job.Check(); err != nil {
		return Report{}, err
	}
	var report Report
	sender, receiver, err := r.look(ctx)
	if err != nil {
		by, roots := promotedBeside(r.Job, sender, receiver)
		if by == 0 {
			return report, err
		}
		request := LearnRequest{Fence: Fence{Job: r.Job.ID, Roots: roots, Generation: by}, Primaries: roots}
		if fault := r.fenceSender(ctx, &report, request); fault != nil {
			return report, errors.Join(fault, err)
		}
		return report, nil
	}
	generation := sender.Generation()
	if by := fencedBy(r.Job, sender, receiver); by != 0 {
		err := r.fenceSender(ctx, &report, LearnRequest{Fence: r.fence(true, by), Primaries: r.Job.Sources()})
		return report, err
	}
	if sender.behind(generation) {
		// A root that came later is of the generation of the others: else it would be fenced by that of its own replica, which gets it, once it is alone.
		if err := r.Sender.Learn(ctx, LearnRequest{Fence: r.fence(true, generation)}); err != nil {
			return report, fmt.Errorf("begin run: sending side: %w", err)
		}
	}
	if receiver.behind(generation) {
		request := LearnRequest{Fence: r.fence(false, generation), Primaries: r.primaries(sender, receiver)}
		if err := r.Receiver.Learn(ctx, request); err != nil {
			return report, fmt.Errorf("begin run: receiving side: %w", err)
		}
		if sender, receiver, err = r.look(ctx); err != nil {
			return report, err
		}
	}
	report.Plan = MakePlan(r.Job, sender, receiver, decisions)
	if done := report.Plan.Resolutions; len(done) > 0 {
		r.resolve(ctx, &report, done, sender)
		left := slices.DeleteFunc(slices.Clone(decisions), func(d Decision) bool { return slices.ContainsFunc(done, d.Equal) })
		if sender, receiver, err = r.look(ctx); err != nil {
			return report, err
		}
		for _, d := range report.Resolved {
			if f := receiver.Find(d.Target); f != nil && d.Kind == RollBack {
				f.WrittenBytes = 0 // what there is was written by OpenZFS, see ownBytes; zfs receive refuses it if it was not
			}
		}
		report.Plan = MakePlan(r.Job, sender, receiver, left)
	}
	err = errors.Join(r.Sender.Clean(ctx, report.Plan.SenderClean), r.Receiver.Clean(ctx, report.Plan.ReceiverClean))
	if err != nil {
		return report, fmt.Errorf("clean up after earlier runs: %w", err)
	}
	r.estimate(ctx, generation, report.Plan.Steps)
	if r.Planned != nil {
		r.Planned(report.Plan)
	}
	report.FileSystems = r.work(ctx, generation, report.Plan.Steps)
	return report, nil
}

// fenceSender fences the sending side. Only then the report says so: a run that could not do it is one that failed, and is tried again soon.
func (r *Runner) fenceSender(ctx context.Context, report *Report, request LearnRequest) error {
	if err := r.Sender.Learn(ctx, request); err != nil {
		return fmt.Errorf("fence the sending side: %w", err)
	}
	report.Plan.FencedBy = request.Generation
	return nil
}

// previewEstimates is how long a preview may ask how large steps are: a replica that is far behind has thousands of them, and who asks waits.
const previewEstimates = 30 * time.Second

// Preview is the plan with its estimates, as far as they can be had in a short time, and nothing done.
func (r *Runner) Preview(ctx context.Context, decisions ...Decision) (Plan, error) {
	if err := r.Job.Check(); err != nil {
		return Plan{}, err
	}
	sender, receiver, err := r.look(ctx)
	if err != nil {
		return Plan{}, err
	}
	plan := MakePlan(r.Job, sender, receiver, decisions)
	bounded, cancel := context.WithTimeout(ctx, previewEstimates)
	defer cancel()
	r.estimate(bounded, sender.Generation(), plan.Steps)
	return plan, nil
}

// promotedBeside is the generation of a replica that is the primary of a higher one than its root on the sending side, 0 where there is none, and the roots that are
// fenced by it. It is for a look that fails, as where another root is not there or the documents of the two sides differ, and takes each root for itself: what has
// been promoted is fenced all the same. A promotion is of the whole job, and fences all roots of it that are there, as after a look that is whole: also one whose
// replica nobody could look at, or was never promoted as it came to the job later. One that only notes the generation would never be fenced by it. One of a higher
// generation is the primary of that.
func promotedBeside(j Job, sender, receiver Listing) (by uint64, roots []string) {
	known := func(l Listing, name string) (RootState, bool) {
		state := l.rootOf(name)
		return state, state.Exists && state.Name == name
	}
	for _, root := range j.Roots {
		mine, here := known(sender, root.Source)
		theirs, there := known(receiver, root.Target)
		primary := theirs.Promoting || theirs.Replica == "" && !theirs.Fenced
		if here && there && primary && theirs.Generation > mine.Generation {
			by = max(by, theirs.Generation)
		}
	}
	for _, root := range j.Roots {
		if mine, here := known(sender, root.Source); by != 0 && here && mine.Generation <= by {
			roots = append(roots, root.Source)
		}
	}
	return by, roots
}

// look asks both sides at once for what they have. With an error there may be a part of it.
func (r *Runner) look(ctx context.Context) (sender, receiver Listing, err error) {
	var other error
	var wait sync.WaitGroup
	wait.Go(func() { receiver, other = r.Receiver.List(ctx, ListRequest{r.Job.ID, r.Job.Targets()}) })
	sender, err = r.Sender.List(ctx, ListRequest{r.Job.ID, r.Job.Sources()})
	wait.Wait()
	if err != nil {
		return sender, receiver, fmt.Errorf("list sending side: %w", err)
	}
	if other != nil {
		return sender, receiver, fmt.Errorf("list receiving side: %w", other)
	}
	for _, root := range sender.Roots {
		if !root.Exists {
			return sender, receiver, fmt.Errorf("list sending side: root %s is not there: has it been renamed, or its pool not been imported?", root.Name)
		}
	}
	return sender, receiver, nil
}

func (r *Runner) fence(sending bool, generation uint64) Fence {
	f := Fence{Job: r.Job.ID, Roots: r.Job.Targets(), Generation: generation}
	if sending {
		f.Roots = r.Job.Sources()
	}
	return f
}

// primaries are the roots on the receiving side that were the primary before: what is below them has history in common with the sender, and is no
// replica.
func (r *Runner) primaries(sender, receiver Listing) []string {
	var found []string
	for i := range sender.FileSystems {
		s := &sender.FileSystems[i]
		t := receiver.Find(r.Job.Target(s.Name))
		if t == nil || t.Replica != "" {
			continue
		}
		if common, _, _ := compare(s, t); common != nil {
			found = append(found, receiver.rootOf(t.Name).Name)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// resolve carries decisions out.
func (r *Runner) resolve(ctx context.Context, report *Report, decisions []Decision, sender Listing) {
	fence := r.fence(false, sender.Generation())
	for _, d := range decisions {
		request := ResolveRequest{Fence: fence, Decision: d, Stream: r.Job.Stream}
		for _, f := range sender.FileSystems {
			if r.Job.Target(f.Name) == d.Target {
				request.Source = f.GUID
			}
		}
		if err := r.Receiver.Resolve(ctx, request); err != nil {
			report.Unresolved = append(report.Unresolved, fmt.Errorf("%s: %w", d, err))
			continue
		}
		report.Resolved = append(report.Resolved, d)
	}
}

// estimate asks how large the steps are, some at once. One that cannot be told stays 0.
func (r *Runner) estimate(ctx context.Context, generation uint64, steps []Step) {
	limit := make(chan struct{}, orDefault(r.Job.Estimates, 4))
	var wait sync.WaitGroup
	for i := range steps {
		if s := &steps[i]; s.Kind == StepInitial || s.Kind == StepIncremental {
			limit <- struct{}{}
			wait.Go(func() {
				defer func() { <-limit }()
				if bytes, err := r.Sender.Estimate(ctx, r.sendRequest(*s, generation)); err == nil {
					s.Bytes = bytes
				}
			})
		}
	}
	wait.Wait()
}

func orDefault(n, standard int) int {
	if n > 0 {
		return n
	}
	return standard
}

// limiter is of all streams together, nil for none. Its burst is what a read may ask for at most.
func (r *Runner) limiter() *rate.Limiter {
	if r.Job.BytesPerSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(r.Job.BytesPerSecond), burstBytes)
}
