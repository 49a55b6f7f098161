package replication_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// late stands for the byte of pair.late in a fault that is written down before there is a pair.
const late = -1

// late is a byte near the end of a stream of three files.
func (p *pair) late() int64 { return int64(p.bytes) * 28 / 10 }

var errBroken = errors.New("connection broke")

// everyCall crashes a side at each of its calls in turn, on a fresh tree each time, and checks that the next run ends well.
func everyCall(crashed func(*pair) *zfstest.Faulty, after bool) func(*pair) {
	return func(p *pair) {
		for skip := 0; ; skip++ {
			p.create("x")
			p.write("", "x")
			p.snapshot("1")
			p.ok()
			p.write("", "x")
			p.snapshot("2")
			f := crashed(p)
			f.Restart()
			f.Order(zfstest.Fault{Skip: skip, After: after, Crash: true})
			_, err := p.run()
			f.Restart()
			if err == nil {
				break // it made fewer calls than that
			}
			if !errors.Is(err, zfstest.ErrCrashed) && !errors.Is(err, zfs.ErrBadStream) {
				p.t.Fatalf("crash at call %d: %v", skip, err)
			}
			p.ok()
			p.fresh()
		}
		if p.many < 6 {
			p.t.Errorf("only %d calls were tried", p.many)
		}
	}
}

func killScenarios() []scenario {
	sender := func(p *pair) *zfstest.Faulty { return p.a.faulty }
	receiver := func(p *pair) *zfstest.Faulty { return p.b.faulty }
	cut := func(method string, side func(*pair) *zfstest.Faulty, f zfstest.Fault) func(*pair) {
		return func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.ok()
			p.write("")
			p.snapshot("2")
			f.Method = method
			if f.CutAt == late {
				f.CutAt = p.late()
			}
			side(p).Order(f)
			if p.ok(); p.waits == 0 && !f.After {
				p.t.Error("nothing was tried again")
			}
		}
	}
	return []scenario{
		{"killSenderBeforeEachCall", everyCall(sender, false)},
		{"killSenderAfterEachCall", everyCall(sender, true)},
		{"killReceiverBeforeEachCall", everyCall(receiver, false)},
		{"killReceiverAfterEachCall", everyCall(receiver, true)},
		{"streamCutBySender", cut("Send", sender, zfstest.Fault{CutAt: late})},
		{"streamCutByReceiver", cut("Receive", receiver, zfstest.Fault{CutAt: late})},
		{"streamCutAtOnce", cut("Send", sender, zfstest.Fault{CutAt: 1})},
		{"endOfReceiveNotHeardOf", cut("Receive", receiver, zfstest.Fault{After: true, Err: errBroken})},
		{"sendFailsToBegin", cut("Send", sender, zfstest.Fault{Err: errBroken})},
		{"noRoomOnReceiver", cut("Receive", receiver, zfstest.Fault{Err: zfs.ErrNoSpace})},
		{"resumesAfterKilledReceiver", resumes(receiver, "Receive")},
		{"resumesAfterKilledSender", resumes(sender, "Send")},
		{"resumesFirstReceive", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.cut("")
			report := p.ok()
			if report.Plan.Steps[0].Token == "" {
				p.t.Errorf("step %+v, want one that goes on", report.Plan.Steps[0])
			}
		}},
		{"resumesWithBaseGone", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.ok()
			p.write("")
			p.snapshot("2")
			p.cut("")
			p.must(p.a.Release(p.ctx(), replication.StepTag(jobID), p.from("@1")))
			p.must(p.a.Destroy(p.ctx(), p.from("@1"))) // its cursor will do
			p.ok()
		}},
		{"stepHoldsKeepSnapshots", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.ok()
			p.write("")
			p.snapshot("2")
			p.cut("")
			if err := p.a.DestroySnapshots(p.ctx(), []string{p.from("@1"), p.from("@2")}); !errors.Is(err, zfs.ErrHeld) {
				p.t.Errorf("destroy in the middle of a step: %v", err)
			}
			p.ok()
			p.must(p.a.DestroySnapshots(p.ctx(), []string{p.from("@1"), p.from("@2")}))
		}},
		{"targetOfPartialGone", func(p *pair) {
			p.job.Guarantee = replication.Incremental
			p.write("")
			p.snapshot("1")
			p.ok()
			p.write("")
			p.snapshot("2")
			p.cut("")
			p.must(p.a.Destroy(p.ctx(), p.from("@2")))
			p.write("")
			p.snapshot("3")
			if report := p.ok(); report.Plan.Steps[0].Abort == 0 {
				p.t.Errorf("step %+v, want one that begins anew", report.Plan.Steps[0])
			}
		}},
		{"snapshotRenamedInTheMiddleOfAStep", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.ok()
			p.write("")
			p.snapshot("2")
			p.cut("")
			p.must(p.a.Rename(p.ctx(), p.from("@2"), p.from("@two")))
			if report := p.ok(); report.Plan.Steps[0].Token == "" {
				p.t.Errorf("step %+v, want one that goes on", report.Plan.Steps[0])
			}
		}},
		{"replicaComesWithItsPool", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.write("")
			p.snapshot("2")
			p.ok()
			p.write("")
			p.snapshot("3")
			p.cut("")
			r := p.runner()
			r.Receiver = &unimported{Receiver: p.b.local}
			report, err := r.Run(p.ctx())
			if err != nil || !errors.Is(report.Err(), replication.ErrChanged) {
				p.t.Errorf("run: %v, %v, want an error that is: %v", err, report.Err(), replication.ErrChanged)
			}
			for _, v := range p.listing(p.b, p.dst).Find(p.dst).Snapshots() {
				if v.Last != (v.Name == "2") {
					p.t.Errorf("@%s: held as what was received last: %t", v.Name, v.Last)
				}
			}
			if report := p.ok(); report.Plan.Steps[0].Token == "" {
				p.t.Errorf("step %+v, want one that goes on", report.Plan.Steps[0])
			}
		}},
		{"staleStepHolds", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.snapshot("2")
			p.ok()
			p.must(p.a.Hold(p.ctx(), replication.StepTag(jobID), p.from("@1"), p.from("@2")))
			p.ok()
		}},
		{"staleCursorsAndLastHolds", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.snapshot("2")
			p.ok()
			guid := p.listing(p.a, p.src).Find(p.src).Snapshots()[0].GUID
			p.must(p.a.Bookmark(p.ctx(), p.from("@1"), p.from("#"+replication.CursorName(jobID, guid))))
			p.must(p.b.Hold(p.ctx(), replication.LastTag(jobID), p.to("@1")))
			p.ok()
		}},
		{"cursorAndLastHoldLost", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.ok()
			guid := p.listing(p.a, p.src).Find(p.src).Snapshots()[0].GUID
			p.must(p.a.Destroy(p.ctx(), p.from("#"+replication.CursorName(jobID, guid))))
			p.must(p.b.Release(p.ctx(), replication.LastTag(jobID), p.to("@1")))
			p.ok() // both are there again
		}},
		{"heldBeforeItIsComplete", func(p *pair) {
			for _, level := range []replication.Guarantee{replication.Resumable, replication.Incremental} {
				p.job.Guarantee = level
				p.replicated()
				p.write("")
				p.snapshot("2")
				p.incomplete()
				if got := p.listing(p.b, p.dst).Find(p.dst).Received(); got.Name != "2" || !got.Last {
					p.t.Errorf("%s: received and not complete: %+v", level, got)
				}
				if report := p.ok(); report.Plan.Steps[0].Kind != replication.StepFinish {
					p.t.Errorf("%s: step %+v, want one that finishes", level, report.Plan.Steps[0])
				}
				p.fresh()
			}
		}},
		{"holdsOfFirstStepThatLeftNothing", func(p *pair) {
			p.job.Initial = replication.Latest
			p.write("")
			p.snapshot("1")
			p.b.faulty.Order(zfstest.Fault{Method: "Receive", Crash: true})
			p.fails(zfstest.ErrCrashed)
			p.b.faulty.Restart()
			p.write("")
			p.snapshot("2") // the next run begins with another snapshot
			p.ok()
		}},
		{"snapshotGoneBeforeItsTurn", func(p *pair) {
			p.job.Guarantee = replication.Incremental
			p.write("")
			p.snapshot("1")
			p.ok()
			p.snapshot("2")
			p.snapshot("3")
			p.a.faulty.Order(zfstest.Fault{Method: "Send", Do: func() { p.must(p.a.Destroy(p.ctx(), p.from("@3"))) }})
			p.fails(replication.ErrChanged)
			p.snapshot("4")
			p.ok()
		}},
		{"snapshotRenamedWhileItIsSent", func(p *pair) {
			// On either side what a step has begun with has another name at its end.
			p.replicated()
			p.write("")
			p.snapshot("2")
			p.b.faulty.Order(zfstest.Fault{Method: "Receive", Do: func() { p.must(p.a.Rename(p.ctx(), p.from("@2"), p.from("@two"))) }})
			p.b.faulty.Order(zfstest.Fault{Method: "Hold", Do: func() { p.must(p.b.Rename(p.ctx(), p.to("@2"), p.to("@zwei"))) }})
			p.ok()
		}},
		{"snapshotGoneWhileItIsSent", func(p *pair) {
			p.job.Guarantee = replication.Incremental
			p.write("")
			p.snapshot("1")
			p.ok()
			p.write("")
			p.snapshot("2")
			// The receiver has it, the sender only its cursor.
			p.b.faulty.Order(zfstest.Fault{Method: "Release", Do: func() { p.must(p.a.Destroy(p.ctx(), p.from("@2"))) }})
			_, err := p.run()
			p.must(err)
			p.write("")
			p.snapshot("3")
			p.ok()
		}},
	}
}

// deaf is a receiver that is not told that anything is complete.
type deaf struct{ replication.Receiver }

// Complete implements replication.Receiver.
func (deaf) Complete(context.Context, replication.CompleteRequest) error { return errBroken }

// incomplete runs the job by a sender that is lost when all has arrived.
func (p *pair) incomplete() {
	p.t.Helper()
	r := p.runner()
	r.Receiver = deaf{r.Receiver}
	report, err := r.Run(p.ctx())
	p.must(err)
	if !errors.Is(report.Err(), errBroken) {
		p.t.Fatalf("run: %v", report.Err())
	}
}

// cut has the next receive of a file system end in its middle, and both sides crash then.
func (p *pair) cut(string) {
	p.t.Helper()
	p.b.faulty.Order(zfstest.Fault{Method: "Receive", CutAt: p.late(), Crash: true})
	p.fails(nil)
	p.b.faulty.Restart()
	if p.listing(p.b, p.dst).Find(p.dst).Token == "" {
		p.t.Fatalf("the cut receive left nothing\n%s", p.states())
	}
}

// unimported is a side whose pool is imported after the first look at it.
type unimported struct {
	replication.Receiver
	looks int
}

// List implements replication.Endpoint.
func (u *unimported) List(ctx context.Context, r replication.ListRequest) (replication.Listing, error) {
	if u.looks++; u.looks > 1 {
		return u.Receiver.List(ctx, r)
	}
	return replication.Listing{Roots: []replication.RootState{{Name: r.Roots[0]}}}, nil
}

func resumes(side func(*pair) *zfstest.Faulty, method string) func(*pair) {
	return func(p *pair) {
		p.write("")
		p.snapshot("1")
		p.ok()
		p.write("")
		p.snapshot("2")
		side(p).Order(zfstest.Fault{Method: method, CutAt: p.late(), Crash: true})
		p.fails(nil)
		side(p).Restart()
		report := p.ok()
		if report.Plan.Steps[0].Token == "" {
			p.t.Errorf("step %+v, want one that goes on", report.Plan.Steps[0])
		}
		if sent := report.FileSystems[0].BytesSent; sent > uint64(2*p.bytes) {
			p.t.Errorf("%d bytes were sent once more", sent)
		}
	}
}

// TestEveryCutOfARun: wherever streams are cut, the run that follows ends well.
func TestEveryCutOfARun(t *testing.T) {
	for _, at := range []int64{1, 5, 200, 1000, 26_600, 27_000, 54_000, 79_900, 79_999} {
		p := newPair(t, models)
		p.write("")
		p.snapshot("1")
		p.b.faulty.Order(zfstest.Fault{Method: "Receive", CutAt: at, Crash: true})
		p.fails(nil)
		p.b.faulty.Restart()
		p.ok()
	}
}
