package replicate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/peer"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

const oneID, twoID = "11111111-2222-4333-8444-555555555555", "22222222-2222-4333-8444-555555555555"

// machine is one of two nodes.
type machine struct {
	*zfstest.Model
	faulty *zfstest.Faulty
}

func newMachine(name string) *machine {
	m := zfstest.New(name, name)
	return &machine{m, &zfstest.Faulty{System: m}}
}

// fixture is a manager on one of two machines, of which the other is reached without a connection. Its clock stands until it is moved.
type fixture struct {
	*Manager
	t    *testing.T
	a, b *machine

	mu     sync.Mutex
	clock  time.Time
	broken error
	told   []string
	phases []Status
	end    func()
}

// start starts the manager of a, or with receives of b.
func start(t *testing.T, receives bool, jobs ...plan.Replication) *fixture {
	t.Helper()
	f := &fixture{t: t, a: newMachine("alpha"), b: newMachine("beta"), clock: time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)}
	mine, other := f.a, f.b
	if receives {
		mine, other = f.b, f.a
	}
	for _, name := range []string{"alpha/x", "alpha/x/y", "alpha/z"} {
		f.must(f.a.Create(t.Context(), name, zfs.CreateOptions{}))
	}
	f.snapshot("1")
	f.Manager = New(Config{
		System: mine.faulty, Now: f.now,
		Connect: func(s plan.Replication) (replication.Side, io.Closer, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return endpoint.New(other.faulty, nil).Under(s.Top), io.NopCloser(nil), f.broken
		},
		Tell: func(job, state, reason string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.told = append(f.told, fmt.Sprintf("%s %s: %.40s", job, state, reason))
		},
		Publish: func(all []Status) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.phases = append(f.phases, all...)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	f.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
	t.Cleanup(f.end)
	f.Set(jobs)
	return f
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clock
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	f.clock = f.clock.Add(d)
	f.mu.Unlock()
	f.wake.Wake()
}

func (f *fixture) breakOff(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) snapshot(name string) {
	f.t.Helper()
	f.must(f.a.Snapshot(f.t.Context(), []string{"alpha/x@" + name, "alpha/x/y@" + name, "alpha/z@" + name}, nil))
}

// declared is a job from a to b.
func declared(name, id, source string, sends, runs bool) plan.Replication {
	r := plan.Replication{
		Name: name, Sends: sends, Runs: runs, Top: "beta/in", Peer: config.Peer{Address: "10.5.0.9:50000", Identity: "other"},
		Job: replication.Job{
			ID: id, Direction: replication.Push, Roots: []replication.Root{{Source: source, Target: "beta/in/" + source}}, Initial: replication.All,
			InitialGuarantee: replication.Resumable, Guarantee: replication.Resumable, Stream: replication.Stream{Large: true}, Attempts: 1,
		},
	}
	if runs {
		r.When = snapshots.Schedule{Every: 10 * time.Minute}
	}
	if sends != runs {
		r.Job.Direction = replication.Pull
	}
	return r
}

// await waits until a job is as it should be.
func (f *fixture) await(name, what string, is func(*replicationv1.Job) bool) *replicationv1.Job {
	f.t.Helper()
	var last *replicationv1.Job
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		jobs, err := f.API().List(f.t.Context(), name)
		f.must(err)
		if last = jobs[0]; is(last) {
			return last
		}
	}
	f.t.Fatalf("%s: %s: not reached: %v", name, what, last)
	return nil
}

// done waits for the end of a run, which has to have gone well.
func (f *fixture) done(name string, run uint64) *replicationv1.Job {
	f.t.Helper()
	j := f.await(name, fmt.Sprintf("end of run %d", run), func(j *replicationv1.Job) bool { return j.GetLast().GetRun() >= run && j.GetProgress() == nil })
	if !j.GetLast().GetSucceeded() {
		f.t.Fatalf("%s: run %d: %s", name, run, j.GetLast().GetProblem())
	}
	return j
}

func (f *fixture) replica(name, snapshot string) bool {
	f.t.Helper()
	found, err := f.b.List(f.t.Context(), zfs.Query{Roots: []string{"beta"}, Kinds: []zfs.Kind{zfs.Snapshot}, Depth: -1})
	f.must(err)
	for _, d := range found {
		if d.Name == "beta/in/"+name+"@"+snapshot {
			return true
		}
	}
	return false
}

// TestRuns: at once, at its times, for snapshots, and when a person asks.
func TestRuns(t *testing.T) {
	f := start(t, false, declared("out", oneID, "alpha/x", true, true))
	first := f.done("out", 1)
	if !f.replica("alpha/x/y", "1") || first.GetPhase() != replicationv1.Phase_PHASE_IDLE || first.GetLast().GetStepsDone() != 2 ||
		!first.GetNextAt().AsTime().Equal(f.now().Add(10*time.Minute)) || first.GetRoots()[0].GetRole() != replicationv1.Role_ROLE_PRIMARY {
		t.Errorf("after the first run: %v", first)
	}
	if first.GetSentBytes() == 0 || first.GetSentBytes() != first.GetLast().GetSentBytes() || !first.GetSucceededAt().AsTime().Equal(f.now()) {
		t.Errorf("what went over, and when: %v", first)
	}
	f.snapshot("2")
	f.Snapshots()
	f.advance(5 * time.Second) // too soon after the first
	f.advance(6 * time.Second)
	if second := f.done("out", 2); second.GetSentBytes() != first.GetSentBytes()+second.GetLast().GetSentBytes() || !second.GetSucceededAt().AsTime().After(first.GetSucceededAt().AsTime()) {
		t.Errorf("what went over in both runs, and when: %v, after %v", second, first)
	}
	f.snapshot("3")
	f.advance(10 * time.Minute)
	f.done("out", 3)
	f.snapshot("4")
	run, err := f.API().Run(t.Context(), "out", nil)
	f.must(err)
	f.done("out", run)
	if !f.replica("alpha/x", "4") || f.replica("alpha/z", "1") {
		t.Error("what was sent is not what should be")
	}
	calendar := declared("nightly", oneID, "alpha/x", true, true)
	calendar.When = snapshots.Schedule{Calendar: snapshots.Daily, Hour: 3}
	f.Set([]plan.Replication{calendar})
	j := f.done("nightly", 5)
	f.advance(time.Minute)
	f.Snapshots() // traffic at night is what was asked for
	if next := j.GetNextAt().AsTime(); next.Hour() != 3 || j.GetSchedule() == "" {
		t.Errorf("next at %v", next)
	}
	if again, err := f.API().List(t.Context(), "nightly"); err != nil || again[0].GetLast().GetRun() != 5 {
		t.Errorf("a job with times of its own ran for a snapshot: %v, %v", again, err)
	}
	for _, name := range []string{"none", ""} {
		if _, err := f.API().Run(t.Context(), name, nil); !errors.Is(err, server.ErrNotFound) {
			t.Errorf("run of %q: %v", name, err)
		}
	}
}

// TestRunsAreCountedOn: who waits for a run of before is not told of another one of its number.
func TestRunsAreCountedOn(t *testing.T) {
	m := New(Config{System: zfstest.New("alpha", "alpha"), Runs: 1000})
	m.Set([]plan.Replication{declared("out", oneID, "alpha/x", true, true)})
	if run, err := m.API().Run(t.Context(), "out", nil); err != nil || run != 1001 {
		t.Errorf("run %d, %v, want 1001", run, err)
	}
}

// TestClockSetBack: times are those of the clock as it is now, not of what it was before.
func TestClockSetBack(t *testing.T) {
	f := start(t, false, declared("out", oneID, "alpha/x", true, true))
	f.done("out", 1)
	f.snapshot("2")
	f.advance(-48 * time.Hour)
	f.await("out", "a time by the new clock", func(j *replicationv1.Job) bool { return !j.GetNextAt().AsTime().After(f.now().Add(10 * time.Minute)) })
	f.advance(10 * time.Minute)
	f.done("out", 2)
}

// TestFails: tried again after longer and longer times, told once, and told when it works again.
func TestFails(t *testing.T) {
	f := start(t, false)
	f.breakOff(errors.New("no route to the node"))
	first := f.now()
	f.Set([]plan.Replication{declared("out", oneID, "alpha/x", true, true)})
	for i, wait := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute} {
		j := f.await("out", "failure", func(j *replicationv1.Job) bool { return j.GetLast().GetRun() == uint64(i+1) && j.GetProgress() == nil })
		if j.GetPhase() != replicationv1.Phase_PHASE_FAILED || !strings.Contains(j.GetReason(), "no route") || !j.GetNextAt().AsTime().Equal(f.now().Add(wait)) {
			t.Errorf("failure %d: %v, want the next after %v", i+1, j, wait)
		}
		if !strings.Contains(j.GetProblem(), "no route") || !j.GetFailingSince().AsTime().Equal(first) {
			t.Errorf("failure %d: %q since %v, want no route, since %v", i+1, j.GetProblem(), j.GetFailingSince().AsTime(), first)
		}
		if j.GetSucceededAt() != nil || j.GetSentBytes() > 0 {
			t.Errorf("failure %d: something went over: %v", i+1, j)
		}
		f.Snapshots() // does not hurry it
		f.advance(wait)
	}
	f.breakOff(nil)
	f.advance(15 * time.Minute)
	if j := f.await("out", "success", func(j *replicationv1.Job) bool { return j.GetPhase() == replicationv1.Phase_PHASE_IDLE }); j.GetProblem() != "" || j.GetFailingSince() != nil || j.GetSucceededAt() == nil {
		t.Errorf("after a success: %v", j)
	}
	f.end()
	f.toldOnce(first)
	if got := strings.Join(f.told, "; "); got != "out failed: no route to the node; out works again: " {
		t.Errorf("told %q", got)
	}
}

// toldOnce checks that a job which fails counts as one, since the same time, until it works again, while it is tried again too.
func (f *fixture) toldOnce(since time.Time) {
	f.t.Helper()
	failing, again := false, false
	for _, s := range f.phases {
		switch {
		case s.Problem != "":
			failing = true
			again = again || s.Next.Equal(since.Add(30*time.Second))
			if !s.Since.Equal(since) {
				f.t.Errorf("published %+v, want it since %v", s, since)
			}
		case failing && s.Phase != replicationv1.Phase_PHASE_IDLE:
			f.t.Errorf("published %+v: nothing is wrong, and it has not worked again", s)
		}
	}
	if !failing || !again {
		f.t.Errorf("published %+v, want it to fail, and to be tried again 30 s later", f.phases)
	}
}

// TestQueue: two jobs on the same datasets do not run at once, others do.
func TestQueue(t *testing.T) {
	f := start(t, false)
	hold, begun := make(chan struct{}), make(chan struct{})
	f.a.faulty.Order(zfstest.Fault{Method: "Send", Do: func() { close(begun); <-hold }})
	other := declared("two", twoID, "alpha/x/y", true, true)
	other.Job.Roots[0].Target, other.Top = "beta/other", "beta"
	third := declared("three", "33333333-2222-4333-8444-555555555555", "alpha/z", true, true)
	f.Set([]plan.Replication{declared("one", oneID, "alpha/x", true, true)})
	<-begun
	f.Set([]plan.Replication{declared("one", oneID, "alpha/x", true, true), other, third})
	f.await("three", "end", func(j *replicationv1.Job) bool { return j.GetLast().GetSucceeded() })
	j := f.await("two", "queue", func(j *replicationv1.Job) bool { return j.GetPhase() == replicationv1.Phase_PHASE_QUEUED })
	if !strings.Contains(j.GetReason(), "the job one") {
		t.Errorf("reason %q", j.GetReason())
	}
	asked, err := f.API().Run(t.Context(), "two", nil)
	f.must(err)
	if again, err := f.API().Run(t.Context(), "two", nil); err != nil || again != asked {
		t.Errorf("asked for while it waits: run %d, then %d, %v", asked, again, err)
	}
	if _, err := f.API().Failback(t.Context(), "two", "alpha/x/y", nil); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "waits for the job one, which works") {
		t.Errorf("something else asked for while it waits: %v", err)
	}
	f.snapshot("late") // the run that goes on does not know of it
	after, err := f.API().Run(t.Context(), "one", nil)
	f.must(err)
	one := f.await("one", "progress", func(j *replicationv1.Job) bool { return j.GetProgress() != nil })
	if p := one.GetProgress(); p.GetSteps() != 2 || len(p.GetDatasets()) == 0 || one.GetPhase() != replicationv1.Phase_PHASE_RUNNING {
		t.Errorf("progress %v", p)
	}
	close(hold)
	f.await("two", "end", func(j *replicationv1.Job) bool { return j.GetLast().GetSucceeded() })
	if j := f.done("one", after); !f.replica("alpha/x", "late") {
		t.Errorf("what was asked for during a run is without what came before it was asked for: %v", j)
	}
}

// TestTakenOut: a run ends when its job is taken out of the configuration.
func TestTakenOut(t *testing.T) {
	f := start(t, false)
	begun := make(chan struct{})
	f.a.faulty.Order(zfstest.Fault{Method: "Send", Do: func() { close(begun); f.Set(nil) }})
	f.Set([]plan.Replication{declared("one", oneID, "alpha/x", true, true)})
	<-begun
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		f.Manager.mu.Lock()
		n := len(f.busy)
		f.Manager.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the run goes on")
		}
	}
	if f.replica("alpha/x/y", "1") {
		t.Error("the run went to its end")
	}
	if jobs, err := f.API().List(t.Context(), ""); err != nil || len(jobs) > 0 {
		t.Errorf("jobs %v, %v", jobs, err)
	}
}

// TestWhatThePeerBeganEnds: what the other node has under way was let through by the job, and ends when that is another or gone.
func TestWhatThePeerBeganEnds(t *testing.T) {
	one, two := declared("in", oneID, "alpha/x", false, false), declared("other", twoID, "alpha/z", false, false)
	f := start(t, true, one, two)
	var mu sync.Mutex
	var ended []string
	f.cfg.Interrupt = func(id string) {
		mu.Lock()
		defer mu.Unlock()
		ended = append(ended, id)
	}
	f.Set([]plan.Replication{two, one})
	if len(ended) > 0 {
		t.Errorf("of jobs that stay, %v ended", ended)
	}
	one.Peer.Identity = "another"
	f.Set([]plan.Replication{one})
	want := []string{oneID, twoID, replication.ReverseID(oneID), replication.ReverseID(twoID)}
	slices.Sort(want)
	if slices.Sort(ended); !slices.Equal(ended, want) {
		t.Errorf("ended %v, want %v", ended, want)
	}
}

// TestDecide: a replica that was written to waits for a person, who names what is lost and where.
func TestDecide(t *testing.T) {
	f := start(t, true, declared("in", oneID, "alpha/x", false, true))
	f.done("in", 1)
	replica := "beta/in/alpha/x"
	f.must(f.b.Set(t.Context(), replica, map[string]string{"readonly": "off"}))
	f.must(f.b.Write(t.Context(), replica, "file", []byte("by hand")))
	f.snapshot("2")
	run, err := f.API().Run(t.Context(), "in", nil)
	f.must(err)
	j := f.await("in", "conflict", func(j *replicationv1.Job) bool { return j.GetLast().GetRun() == run })
	if j.GetPhase() != replicationv1.Phase_PHASE_BLOCKED || len(j.GetConflicts()) != 1 || j.GetConflicts()[0].GetKind() != "Modified" || !f.replica("alpha/x/y", "2") {
		t.Fatalf("conflict %v", j)
	}
	text := ""
	for _, o := range j.GetConflicts()[0].GetOptions() {
		if o.GetKind() == "RollBack" {
			text = o.GetText()
		}
	}
	for what, c := range map[string]struct {
		choice *replicationv1.Choice
		want   error
	}{
		"another text": {&replicationv1.Choice{Text: "destroy it all", Confirm: replica}, server.ErrPrecondition},
		"another name": {&replicationv1.Choice{Text: text, Confirm: "beta/in"}, server.ErrInvalid},
		"no name":      {&replicationv1.Choice{Text: text}, server.ErrInvalid},
	} {
		if _, err := f.API().Run(t.Context(), "in", []*replicationv1.Choice{c.choice}); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	run, err = f.API().Run(t.Context(), "in", []*replicationv1.Choice{{Text: text, Confirm: replica}})
	f.must(err)
	f.done("in", run)
	if !f.replica("alpha/x", "2") {
		t.Error("it was not decided")
	}
}

// TestPlan: what a run would do is told, with sizes and with what a person has to decide, and nothing of it is done. The node that lets the other one work cannot tell.
func TestPlan(t *testing.T) {
	f := start(t, false, declared("out", oneID, "alpha/x", true, true), declared("theirs", twoID, "alpha/z", true, false))
	f.done("out", 1)
	f.must(f.a.Write(t.Context(), "alpha/x", "file", make([]byte, 100_000)))
	f.snapshot("2")
	p, err := f.API().Plan(t.Context(), "out")
	f.must(err)
	if len(p.GetSteps()) != 2 || len(p.GetConflicts()) > 0 || p.GetExpectedBytes() < 100_000 {
		t.Fatalf("plan %v, want a step of each dataset", p)
	}
	first, sum := p.GetSteps()[0], uint64(0)
	for _, s := range p.GetSteps() {
		sum += s.GetExpectedBytes()
	}
	if first.GetSource() != "alpha/x" || first.GetTarget() != "beta/in/alpha/x" || first.GetKind() != replicationv1.StepKind_STEP_KIND_INCREMENTAL ||
		first.GetFrom() != "@1" || first.GetTo() != "@2" || first.GetResumes() || sum != p.GetExpectedBytes() {
		t.Errorf("plan %v", p)
	}
	replica := "beta/in/alpha/x"
	f.must(f.b.Set(t.Context(), replica, map[string]string{"readonly": "off"}))
	f.must(f.b.Write(t.Context(), replica, "file", make([]byte, 100_000)))
	p, err = f.API().Plan(t.Context(), "out")
	f.must(err)
	if len(p.GetSteps()) != 1 || len(p.GetConflicts()) != 1 || p.GetConflicts()[0].GetKind() != "Modified" || len(p.GetConflicts()[0].GetOptions()) != 2 {
		t.Errorf("plan %v, want a conflict of what was written to, with its decisions", p)
	}
	if f.replica("alpha/x", "2") || f.replica("alpha/x/y", "2") {
		t.Error("a plan has sent something")
	}
	for name, want := range map[string]error{"theirs": server.ErrPrecondition, "none": server.ErrNotFound} {
		if _, err := f.API().Plan(t.Context(), name); !errors.Is(err, want) {
			t.Errorf("plan of %s: %v, want %v", name, err, want)
		}
	}
}

// TestDecideElsewhere: what destroys something on the other node is not decided here.
func TestDecideElsewhere(t *testing.T) {
	f := start(t, false, declared("out", oneID, "alpha/x", true, true))
	f.done("out", 1)
	f.must(f.b.Set(t.Context(), "beta/in/alpha/x", map[string]string{"readonly": "off"}))
	f.must(f.b.Write(t.Context(), "beta/in/alpha/x", "file", []byte("by hand")))
	f.snapshot("2")
	run, err := f.API().Run(t.Context(), "out", nil)
	f.must(err)
	j := f.await("out", "conflict", func(j *replicationv1.Job) bool { return j.GetLast().GetRun() == run })
	_, err = f.API().Run(t.Context(), "out", []*replicationv1.Choice{{Text: j.GetConflicts()[0].GetOptions()[0].GetText(), Confirm: "beta/in/alpha/x"}})
	if !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "10.5.0.9") {
		t.Errorf("got %v", err)
	}
}

// TestEndlessGeneration: the other node fences this one by a generation that failovers have led to, and by no other: this node could not be promoted any more.
func TestEndlessGeneration(t *testing.T) {
	f := start(t, false, declared("out", oneID, "alpha/x", true, true))
	f.done("out", 1)
	f.must(f.b.Set(t.Context(), "beta/in/alpha/x", map[string]string{replication.PropertyGeneration: "18446744073709551615"}))
	run, err := f.API().Run(t.Context(), "out", nil)
	f.must(err)
	j := f.await("out", "its end", func(j *replicationv1.Job) bool { return j.GetLast().GetRun() == run && j.GetProgress() == nil })
	if last := j.GetLast(); last.GetSucceeded() || !strings.Contains(last.GetProblem(), "each failover is one more") || j.GetRoots()[0].GetGeneration() != 0 {
		t.Errorf("got %v", j)
	}
	f.must(f.a.Write(t.Context(), "alpha/x", "file", []byte("x")))
}

// TestFailoverOfARunningJob: a failover ends the run that is in its way, promotes, and tells the other node, which is fenced.
func TestFailoverOfARunningJob(t *testing.T) {
	f := start(t, true, declared("in", oneID, "alpha/x", false, true))
	f.done("in", 1)
	f.must(f.a.Write(t.Context(), "alpha/x", "file", make([]byte, 100_000)))
	f.snapshot("2")
	begun := make(chan struct{})
	f.a.faulty.Order(zfstest.Fault{Method: "Send", Do: func() { close(begun); time.Sleep(50 * time.Millisecond) }})
	_, err := f.API().Run(t.Context(), "in", nil)
	f.must(err)
	<-begun
	p, err := f.API().PlanFailover(t.Context(), "in")
	if err != nil || p.GetTarget() != "beta/in" || p.GetGeneration() != 1 || len(p.GetReceived()) != 2 {
		t.Errorf("plan %v, %v", p, err)
	}
	if _, err := f.API().Failover(t.Context(), "in", "beta", nil); !errors.Is(err, server.ErrInvalid) {
		t.Errorf("another confirmation: %v", err)
	}
	resp, err := f.API().Failover(t.Context(), "in", "beta/in", nil)
	if err != nil || resp.GetGeneration() != 1 || !resp.GetTold() {
		t.Fatalf("failover: %v, %v", resp, err)
	}
	f.must(f.b.Write(t.Context(), "beta/in/alpha/x", "new", []byte("on b")))
	if err := f.a.Write(t.Context(), "alpha/x", "late", []byte("x")); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to the old primary: %v", err)
	}
	f.await("in", "failed over", func(j *replicationv1.Job) bool {
		return j.GetPhase() == replicationv1.Phase_PHASE_FAILED_OVER && j.GetRoots()[0].GetRole() == replicationv1.Role_ROLE_PRIMARY && j.GetRoots()[0].GetGeneration() == 1
	})
	for what, err := range map[string]error{
		"failback where there is no source":           second(f.API().Failback(t.Context(), "in", "alpha/x", nil)),
		"verify of what is fenced, by the peer's job": f.API().Verify(t.Context(), "none", false, nil),
	} {
		if err == nil {
			t.Errorf("%s: it was done", what)
		}
	}
}

// TestFailoverKeepsThePeerOut: from before its streams are ended until the failover is over.
func TestFailoverKeepsThePeerOut(t *testing.T) {
	f := start(t, true, declared("in", oneID, "alpha/x", false, true))
	f.done("in", 1)
	busy := func() (busy int) {
		for _, id := range []string{oneID, replication.ReverseID(oneID)} {
			a, ok := f.Allowed(id)
			if !ok {
				t.Errorf("%s is not known", id)
			}
			if a.Busy {
				busy++
			}
		}
		return busy
	}
	before, during := busy(), 0
	var promoted []string
	f.cfg.Interrupt = func(string) {
		during = busy()
		var err error
		if promoted, _, err = f.Promoted(t.Context(), declared("in", oneID, "alpha/x", false, true), []string{"beta/in/alpha/x"}); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.API().Failover(t.Context(), "in", "beta/in", nil); err != nil {
		t.Fatal(err)
	}
	if after := busy(); before != 0 || during != 2 || after != 0 {
		t.Errorf("of two directions, %d are kept out before, %d during and %d after a failover", before, during, after)
	}
	if !slices.Equal(promoted, []string{"beta/in/alpha/x"}) {
		t.Errorf("before anything is promoted, %v counts as promoted", promoted)
	}
}

// TestFailoverOfWhatGoes: it is asked whether the job stays before the first change.
func TestFailoverOfWhatGoes(t *testing.T) {
	f := start(t, true, declared("in", oneID, "alpha/x", false, true))
	f.done("in", 1)
	asked := 0
	f.cfg.Stays = func(s plan.Replication) error {
		asked++
		return fmt.Errorf("%w: %s is gone tomorrow", server.ErrPrecondition, s.Name)
	}
	_, planned := f.API().PlanFailover(t.Context(), "in")
	_, done := f.API().Failover(t.Context(), "in", "beta/in", nil)
	if !errors.Is(planned, server.ErrPrecondition) || !errors.Is(done, server.ErrPrecondition) || asked != 2 {
		t.Errorf("asked %d times: %v, %v", asked, planned, done)
	}
	if err := f.b.Write(t.Context(), "beta/in/alpha/x", "new", nil); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to the replica: %v", err)
	}
	f.cfg.Stays = func(plan.Replication) error { return nil }
	if _, err := f.API().Failover(t.Context(), "in", "beta/in", nil); err != nil {
		t.Errorf("of what stays: %v", err)
	}
}

// TestFailoverAlone: the other node is gone, which keeps nobody from promoting.
func TestFailoverAlone(t *testing.T) {
	f := start(t, true, declared("in", oneID, "alpha/x", false, true))
	f.done("in", 1)
	f.breakOff(errors.New("no route to the node"))
	f.must(f.b.Set(t.Context(), "beta/in/alpha/x/y", map[string]string{"readonly": "off"}))
	f.must(f.b.Write(t.Context(), "beta/in/alpha/x/y", "file", []byte("by hand")))
	p, err := f.API().PlanFailover(t.Context(), "in")
	f.must(err)
	if _, err := f.API().Failover(t.Context(), "in", "beta/in", nil); !errors.Is(err, server.ErrPrecondition) || len(p.GetConflicts()) != 1 {
		t.Fatalf("a replica that was changed: %v, %v", err, p)
	}
	keep := &replicationv1.Choice{Confirm: "beta/in/alpha/x/y"}
	for _, o := range p.GetConflicts()[0].GetOptions() {
		if o.GetKind() == "Keep" {
			keep.Text = o.GetText()
		}
	}
	resp, err := f.API().Failover(t.Context(), "in", "beta/in", []*replicationv1.Choice{keep})
	if err != nil || resp.GetTold() || !strings.Contains(resp.GetUntold(), "no route") {
		t.Fatalf("failover: %v, %v", resp, err)
	}
	// That it cannot be told is nothing that is wrong with the job.
	lost, err := f.API().Run(t.Context(), "in", nil)
	f.must(err)
	j := f.await("in", "the end of a run that does not reach it", func(j *replicationv1.Job) bool { return j.GetLast().GetRun() >= lost && j.GetProgress() == nil })
	if j.GetPhase() != replicationv1.Phase_PHASE_FAILED_OVER || j.GetLast().GetSucceeded() || j.GetProblem() != "" || j.GetFailingSince() != nil {
		t.Errorf("failed over, with the other node gone: %v", j)
	}
	// It is told by the next run that reaches it.
	f.breakOff(nil)
	run, err := f.API().Run(t.Context(), "in", nil)
	f.must(err)
	f.await("in", "fence", func(j *replicationv1.Job) bool { return j.GetLast().GetRun() >= run })
	if err := f.a.Write(t.Context(), "alpha/x", "late", []byte("x")); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to the old primary: %v", err)
	}
}

// TestOldPrimaryIsToldAgain: until it is told, whoever runs the job, and the status says what is waited for.
func TestOldPrimaryIsToldAgain(t *testing.T) {
	f := start(t, true, declared("in", oneID, "alpha/x", false, false))
	one := declared("in", oneID, "alpha/x", true, true)
	r := replication.Runner{Job: one.Job, Sender: endpoint.New(f.a.Model, nil), Receiver: endpoint.New(f.b.Model, nil).Under("beta/in")}
	report, err := r.Run(t.Context())
	f.must(errors.Join(err, report.Err()))
	f.breakOff(errors.New("no route to the node"))
	resp, err := f.API().Failover(t.Context(), "in", "beta/in", nil)
	if err != nil || resp.GetTold() {
		t.Fatalf("failover: %v, %v", resp, err)
	}
	waits := func(j *replicationv1.Job) bool {
		return j.GetPhase() == replicationv1.Phase_PHASE_FAILED_OVER && strings.Contains(j.GetReason(), "to be told") && strings.Contains(j.GetReason(), "no route")
	}
	f.await("in", "what is waited for", waits)
	attempts := func() int {
		f.Manager.mu.Lock()
		defer f.Manager.mu.Unlock()
		return f.jobs[oneID].untold.attempts
	}
	f.advance(firstRetry) // in vain
	f.await("in", "another attempt", func(*replicationv1.Job) bool { return attempts() == 2 })
	f.must(f.a.Write(t.Context(), "alpha/x", "late", []byte("x")))
	f.breakOff(nil)
	f.advance(2 * firstRetry)
	f.await("in", "nothing to wait for", func(j *replicationv1.Job) bool {
		return j.GetPhase() == replicationv1.Phase_PHASE_FAILED_OVER && !waits(j)
	})
	if err := f.a.Write(t.Context(), "alpha/x", "later", []byte("x")); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to the old primary: %v", err)
	}
}

// TestNewPrimaryIsLost: the old one takes the role without it, as long as it is fenced, and the lost one is fenced if it comes back.
func TestNewPrimaryIsLost(t *testing.T) {
	f := start(t, false, declared("out", oneID, "alpha/x", true, true))
	f.done("out", 1)
	for what, err := range map[string]error{
		"its plan": second(f.API().PlanFailover(t.Context(), "out")), "it": second(f.API().Failover(t.Context(), "out", "alpha/x", nil)),
	} {
		if !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "10.5.0.9") {
			t.Errorf("a failover of what is the primary: %s: %v", what, err)
		}
	}
	_, err := replication.Promotion{Job: declared("out", oneID, "alpha/x", true, true).Job, Receiver: endpoint.New(f.b.Model, nil)}.Run(t.Context())
	f.must(err)
	run, err := f.API().Run(t.Context(), "out", nil)
	f.must(err)
	f.await("out", "fence", func(j *replicationv1.Job) bool {
		return j.GetLast().GetRun() >= run && j.GetPhase() == replicationv1.Phase_PHASE_FAILED_OVER
	})
	f.breakOff(errors.New("no route to the node"))
	p, err := f.API().PlanFailover(t.Context(), "out")
	if err != nil || p.GetTarget() != "alpha/x" || p.GetGeneration() != 2 {
		t.Errorf("plan %v, %v", p, err)
	}
	if _, err := f.API().Failover(t.Context(), "out", "beta/in", nil); !errors.Is(err, server.ErrInvalid) {
		t.Errorf("another confirmation: %v", err)
	}
	resp, err := f.API().Failover(t.Context(), "out", "alpha/x", nil)
	if err != nil || resp.GetGeneration() != 2 || resp.GetTold() {
		t.Fatalf("failover: %v, %v", resp, err)
	}
	f.mu.Lock()
	last := f.phases[len(f.phases)-1]
	f.mu.Unlock()
	if last.Phase == replicationv1.Phase_PHASE_FAILED_OVER {
		t.Errorf("published after the failover, before anybody has asked: %+v", last)
	}
	f.must(f.a.Write(t.Context(), "alpha/x", "again", []byte("x")))
	f.must(f.a.Write(t.Context(), "alpha/x/y", "again", []byte("x")))
	f.await("out", "the role", func(j *replicationv1.Job) bool {
		return j.GetPhase() != replicationv1.Phase_PHASE_FAILED_OVER && j.GetRoots()[0].GetRole() == replicationv1.Role_ROLE_PRIMARY &&
			strings.Contains(j.GetReason(), "to be told") && strings.Contains(j.GetReason(), "no route")
	})
	f.breakOff(nil)
	f.advance(firstRetry)
	f.await("out", "the lost one to be told", func(*replicationv1.Job) bool {
		return errors.Is(f.b.Write(t.Context(), "beta/in/alpha/x", "late", []byte("x")), zfs.ErrReadOnly)
	})
}

// TestNothingToTellAHigherGeneration: the other node is not fenced by a failover of a lower one, which is said, and is not told again and again.
func TestNothingToTellAHigherGeneration(t *testing.T) {
	f := start(t, true, declared("in", oneID, "alpha/x", false, true))
	f.done("in", 1)
	f.must(f.a.Set(t.Context(), "alpha/x", map[string]string{replication.PropertyGeneration: "5"}))
	resp, err := f.API().Failover(t.Context(), "in", "beta/in", nil)
	if err != nil || resp.GetTold() || !strings.Contains(resp.GetUntold(), "higher generation") {
		t.Fatalf("failover: %v, %v", resp, err)
	}
	f.Manager.mu.Lock()
	defer f.Manager.mu.Unlock()
	if u := f.jobs[oneID].untold; u != nil {
		t.Errorf("to be told again: %+v", *u)
	}
}

// TestWhoseRoleIsAway: a failover on the node with the source is refused while that is the primary, and while nothing else says that it is none.
func TestWhoseRoleIsAway(t *testing.T) {
	one := declared("out", oneID, "alpha/x", true, true)
	listing := func(root replication.RootState, replica string, versions ...replication.Version) replication.Listing {
		root.Name, root.Exists = "alpha/x", true
		f := replication.FileSystem{Name: "alpha/x/y", Kind: zfs.Filesystem, Replica: replica, Versions: versions}
		return replication.Listing{Roots: []replication.RootState{root}, FileSystems: []replication.FileSystem{{Name: "alpha/x", Kind: zfs.Filesystem}, f}}
	}
	back, came := replication.ReverseID(oneID), replication.Version{Name: "1", GUID: 1}
	for what, c := range map[string]struct {
		listing replication.Listing
		away    bool
	}{
		"a primary":                              {listing(replication.RootState{Generation: 2}, "", came), false},
		"a primary with replicas of another job": {listing(replication.RootState{}, twoID, came), false},
		"one of which nothing came whole":        {listing(replication.RootState{}, back), false},
		"a placeholder that came anew":           {listing(replication.RootState{}, back, came), true},
		"what is fenced":                         {listing(replication.RootState{Generation: 1, Fenced: true}, "", came), true},
		"a fence that was cut":                   {listing(replication.RootState{Frozen: true}, "", came), true},
	} {
		if err := mustBeAway(one, c.listing); (err == nil) != c.away || err != nil && !errors.Is(err, server.ErrPrecondition) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// hanging is a system on a pool that does not answer.
type hanging struct{ zfs.System }

// List implements zfs.System.
func (hanging) List(ctx context.Context, _ zfs.Query) ([]zfs.Dataset, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestFailoverThatHangs: it is ended after a time, says that it can be called again, and can.
func TestFailoverThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Config{System: hanging{}})
		m.Set([]plan.Replication{declared("in", oneID, "alpha/x", false, false)})
		for range 2 {
			_, err := m.API().Failover(t.Context(), "in", "beta/in", nil)
			if !errors.Is(err, server.ErrUnavailable) || !strings.Contains(err.Error(), "goes on where it was cut") {
				t.Errorf("got %v", err)
			}
		}
	})
}

// TestRunThatDoesNotStepAside: a failover does not wait for ever for a run that the kernel holds, and says what it waited for.
func TestRunThatDoesNotStepAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Config{System: zfstest.New("beta", "beta")})
		m.Set([]plan.Replication{declared("in", oneID, "alpha/x", false, true)})
		m.jobs[oneID].run = &run{number: 7, cancel: func(error) {}, done: make(chan struct{})}
		_, err := m.API().Failover(t.Context(), "in", "beta/in", nil)
		if !errors.Is(err, server.ErrUnavailable) || !strings.Contains(err.Error(), "run 7 of the job in") {
			t.Errorf("got %v", err)
		}
		if a, ok := m.Allowed(oneID); !ok || a.Busy {
			t.Errorf("afterwards: %+v", a)
		}
	})
}

// TestFailbackOfAJob: the source's node brings the role back, whoever runs the job.
func TestFailbackOfAJob(t *testing.T) {
	for _, runs := range []bool{true, false} {
		f := start(t, false, declared("out", oneID, "alpha/x", true, runs))
		one := declared("out", oneID, "alpha/x", true, true)
		if runs {
			f.done("out", 1)
		} else {
			r := replication.Runner{Job: one.Job, Sender: endpoint.New(f.a.Model, nil), Receiver: endpoint.New(f.b.Model, nil).Under("beta/in")}
			report, err := r.Run(t.Context())
			f.must(errors.Join(err, report.Err()))
		}
		_, err := replication.Promotion{Job: one.Job, Receiver: endpoint.New(f.b.Model, nil)}.Run(t.Context())
		f.must(err)
		f.must(f.b.Write(t.Context(), "beta/in/alpha/x", "new", []byte("on b")))
		for _, confirm := range []string{"", "beta/in", "alpha"} {
			if _, err := f.API().Failback(t.Context(), "out", confirm, nil); !errors.Is(err, server.ErrInvalid) {
				t.Errorf("confirmation %q: %v", confirm, err)
			}
		}
		run, err := f.API().Failback(t.Context(), "out", "alpha/x", nil)
		f.must(err)
		j := f.done("out", run)
		if j.GetLast().GetAct() != replicationv1.Act_ACT_FAIL_BACK || j.GetRoots()[0].GetGeneration() != 2 {
			t.Errorf("after the failback: %v", j)
		}
		mine, err := f.a.Sum(t.Context(), "alpha/x")
		f.must(err)
		theirs, err := f.b.Sum(t.Context(), "beta/in/alpha/x")
		f.must(err)
		if mine != theirs {
			t.Error("what was written meanwhile did not come back")
		}
		f.must(f.a.Write(t.Context(), "alpha/x", "again", []byte("x")))
		f.end()
	}
}

// TestFailbackKeepsThePeerOut: what tells of a newer generation in the middle of the promotion would leave two primaries of that generation, of which neither is
// fenced by the other. It is let in when the failback is over, and fences then.
func TestFailbackKeepsThePeerOut(t *testing.T) {
	one := declared("out", oneID, "alpha/x", true, true)
	f := start(t, false, one)
	f.done("out", 1)
	_, err := replication.Promotion{Job: one.Job, Receiver: endpoint.New(f.b.Model, nil)}.Run(t.Context())
	f.must(err)
	f.must(f.b.Write(t.Context(), "beta/in/alpha/x", "new", []byte("on b")))
	guard := peer.NewGuard(t.Context(), f.a.Model, nil, f.Allowed, f.Heard)
	learn := func() error {
		return guard.Learn(t.Context(), &replicationv1.LearnRequest{Job: oneID, Generation: 3, Primaries: one.Job.Sources()})
	}
	var during error
	asked := 0
	// A mark of a replica that is taken away by the promotion, which has its generation then.
	f.a.faulty.Order(zfstest.Fault{Method: "Inherit", Skip: 1, Do: func() { during, asked = learn(), asked+1 }})
	run, err := f.API().Failback(t.Context(), "out", "alpha/x", nil)
	f.must(err)
	j := f.done("out", run)
	if asked != 1 || !errors.Is(during, server.ErrUnavailable) {
		t.Errorf("told %d times in the middle of the failback: %v", asked, during)
	}
	if generation := j.GetRoots()[0].GetGeneration(); generation != 2 {
		t.Errorf("after the failback the generation is %d", generation)
	}
	f.must(learn())
	if err := f.a.Write(t.Context(), "alpha/x", "late", []byte("x")); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to what was told when it was over: %v", err)
	}
}

// TestPlaceholderIsNoPrimary: a root without snapshots of its own has its generation from the start where the role has gone over and back before. That says of no node
// that its replica was promoted: what fails is told of.
func TestPlaceholderIsNoPrimary(t *testing.T) {
	f, ctx := start(t, true), t.Context()
	f.must(f.a.Create(ctx, "alpha/w", zfs.CreateOptions{Properties: map[string]string{replication.PropertyGeneration: "2"}}))
	f.must(f.a.Create(ctx, "alpha/w/y", zfs.CreateOptions{}))
	f.must(f.a.Snapshot(ctx, []string{"alpha/w/y@1"}, nil))
	one := declared("in", oneID, "alpha/w", false, true)
	f.Set([]plan.Replication{one})
	f.done("in", 1)
	f.advance(rootsAge + time.Second)
	j := f.await("in", "the generation", func(j *replicationv1.Job) bool { return j.GetRoots()[0].GetGeneration() == 2 })
	if j.GetPhase() != replicationv1.Phase_PHASE_IDLE || j.GetRoots()[0].GetRole() != replicationv1.Role_ROLE_NONE {
		t.Errorf("got %v", j)
	}
	promoted, absent, err := f.Promoted(ctx, one, one.Job.Targets())
	if err != nil || len(promoted)+len(absent) > 0 {
		t.Errorf("promoted are %q, not there %q, %v", promoted, absent, err)
	}
	f.breakOff(errors.New("no route to the node"))
	f.advance(10 * time.Minute)
	f.await("in", "what is wrong", func(j *replicationv1.Job) bool { return j.GetProblem() != "" })
}

// TestPassive: a job that the other node runs is shown, and not run.
func TestPassive(t *testing.T) {
	f := start(t, true, declared("in", oneID, "alpha/x", false, false))
	f.Heard(oneID)
	jobs, err := f.API().List(t.Context(), "in")
	if err != nil || jobs[0].GetPhase() != replicationv1.Phase_PHASE_PEER || jobs[0].GetHeardAt() == nil || jobs[0].GetNextAt() != nil {
		t.Errorf("got %v, %v", jobs, err)
	}
	for what, err := range map[string]error{
		"run": second(f.API().Run(t.Context(), "in", nil)), "verify": f.API().Verify(t.Context(), "in", false, nil),
	} {
		if !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "10.5.0.9") {
			t.Errorf("%s: %v", what, err)
		}
	}
	a, ok := f.Allowed(oneID)
	if !ok || a.Sends || !a.Works || a.Back || len(a.Tops) != 1 {
		t.Errorf("allowed: %+v", a)
	}
	back, ok := f.Allowed(replication.ReverseID(oneID))
	if !ok || !back.Sends || !back.Works || !back.Back || back.Job.Sources()[0] != "beta/in/alpha/x" {
		t.Errorf("allowed on the way back: %+v", back)
	}
	if _, ok := f.Allowed(twoID); ok {
		t.Error("another job is allowed")
	}
	f.Set([]plan.Replication{declared("out", oneID, "alpha/x", true, true)})
	if a, ok := f.Allowed(oneID); !ok || a.Works {
		t.Errorf("a job that this node runs: %+v", a)
	}
	if _, ok := f.Allowed(replication.ReverseID(oneID)); ok {
		t.Error("the way back is allowed where the source is")
	}
}

// heeding is a system that looks at the context.
type heeding struct{ zfs.System }

// List implements zfs.System.
func (h heeding) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return h.System.List(ctx, q)
}

// TestWhoAsksHangsUp: others are not told that the trees cannot be looked at.
func TestWhoAsksHangsUp(t *testing.T) {
	m := New(Config{System: heeding{zfstest.New("beta", "beta")}})
	m.Set([]plan.Replication{declared("in", oneID, "alpha/x", false, false)})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.API().List(gone, ""); err != nil {
		t.Errorf("for who has gone: %v", err)
	}
	jobs, err := m.API().List(t.Context(), "")
	if err != nil || len(jobs) != 1 || jobs[0].GetRootsProblem() != "" {
		t.Errorf("for another: %v, %v", jobs, err)
	}
}

// TestJobsOfASuspendedPool: they are shown, with what is not known of them.
func TestJobsOfASuspendedPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, begun := New(Config{System: hanging{}}), time.Now()
		m.Set([]plan.Replication{declared("in", oneID, "alpha/x", false, false), declared("other", twoID, "alpha/z", false, false)})
		jobs, err := m.API().List(t.Context(), "")
		if err != nil || len(jobs) != 2 || time.Since(begun) != rootsPatience {
			t.Errorf("got %v, %v after %v", jobs, err, time.Since(begun))
		}
		for _, j := range jobs {
			if !strings.Contains(j.GetRootsProblem(), "may be suspended") {
				t.Errorf("got %v", j)
			}
		}
	})
}

// half is a system with a pool that does not answer.
type half struct {
	zfs.System
	pool string
}

// List implements zfs.System.
func (h half) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	if strings.HasPrefix(q.Roots[0], h.pool+"/") {
		return hanging{}.List(ctx, q)
	}
	return h.System.List(ctx, q)
}

// TestRootsBesideASuspendedPool: of a job in several pools those are told of that answer, and the others are named.
func TestRootsBesideASuspendedPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model := zfstest.New("node", "gamma")
		if err := model.Create(t.Context(), "gamma/y", zfs.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		m, job := New(Config{System: half{model, "alpha"}}), declared("out", oneID, "alpha/x", true, false)
		job.Job.Roots = append(job.Job.Roots, replication.Root{Source: "gamma/y", Target: "beta/in/gamma/y"})
		m.Set([]plan.Replication{job})
		jobs, err := m.API().List(t.Context(), "")
		if err != nil || len(jobs) != 1 || len(jobs[0].GetRoots()) != 2 {
			t.Fatalf("got %v, %v", jobs, err)
		}
		roots, problem := jobs[0].GetRoots(), jobs[0].GetRootsProblem()
		if roots[0].GetRole() != replicationv1.Role_ROLE_UNSPECIFIED || roots[1].GetRole() != replicationv1.Role_ROLE_PRIMARY {
			t.Errorf("the roots: %v", roots)
		}
		if !strings.Contains(problem, "alpha/x: no answer") || strings.Contains(problem, "gamma") {
			t.Errorf("the problem: %s", problem)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestMeter(t *testing.T) {
	began := time.Unix(1000, 0)
	m := meter{began: began}
	if m.perSecond(began) != 0 {
		t.Error("a rate of no time")
	}
	for i := range 30 {
		m.add(began.Add(time.Duration(i)*time.Second+time.Millisecond), 100*(1+i/15))
	}
	for after, want := range map[time.Duration]uint64{30 * time.Second: 200, 35 * time.Second: 88, time.Minute: 0, -time.Second: 0} {
		if got := m.perSecond(began.Add(after)); got != want {
			t.Errorf("after %v: %d bytes a second, want %d", after, got, want)
		}
	}
	m.add(began.Add(-time.Hour), 7) // the clock went back
	if m.total != 15*100+15*200+7 {
		t.Errorf("total %d", m.total)
	}
	early := meter{began: began}
	early.add(began.Add(time.Second), 1000)
	if got := early.perSecond(began.Add(2 * time.Second)); got != 500 {
		t.Errorf("early: %d", got)
	}
}
