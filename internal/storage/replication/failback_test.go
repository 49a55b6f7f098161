package replication_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// bringBack fails back to the first machine.
func (p *pair) bringBack(decisions ...replication.Decision) (uint64, error) {
	var phases []string
	back := replication.Failback{
		Job: p.job, Here: p.a.local, There: p.b.local, With: *p.runner(), Tell: func(phase string) { phases = append(phases, phase) },
	}
	before := p.listing(p.a, p.src).Generation()
	generation, _, err := back.Run(p.ctx(), decisions...)
	// One that only had its end to come, or has nothing to do any more, tells the other side, and no more.
	want := 1
	if generation > before {
		want = 2
	}
	if err == nil && (len(phases) < want || phases[len(phases)-1] != "telling the other side, and cleaning up") {
		p.t.Errorf("a failback from generation %d to %d told of %q only", before, generation, phases)
	}
	return generation, err
}

// backAgain brings the role back, and checks that the job goes on from there in its own direction.
func (p *pair) backAgain(want uint64) {
	p.t.Helper()
	if g, err := p.bringBack(); err != nil || g != want {
		p.t.Fatalf("failback: generation %d, %v, want %d\n%s", g, err, want, p.states())
	}
	if err := p.tryWrite(p.b, p.to("x")); !errors.Is(err, zfs.ErrReadOnly) {
		p.t.Errorf("a write to what was the primary meanwhile: %v", err)
	}
	mine, err := p.a.Sum(p.ctx(), p.from("x"))
	p.must(err)
	theirs, err := p.b.Sum(p.ctx(), p.to("x"))
	p.must(err)
	if mine != theirs {
		p.t.Errorf("%s holds %s, %s holds %s", p.from("x"), mine, p.to("x"), theirs)
	}
	p.write("x")
	p.snapshot("again" + string(rune('0'+want)))
	p.ok()
	for _, s := range []side{p.a, p.b} {
		root := p.src
		if s.Root == p.b.Root {
			root = p.dst
		}
		l := p.listing(s, root)
		for _, f := range l.FileSystems {
			for _, v := range f.Versions {
				if job, _, ok := replication.ParseCursor(v.Name); ok && v.Bookmark && job != p.job.ID {
					p.t.Errorf("%s is left of the way back", f.Whole(v))
				}
			}
		}
	}
}

func failbackScenarios() []scenario {
	return []scenario{
		{"failbackBroughtBack", func(p *pair) {
			p.replicated("x")
			p.promote()
			p.writeOn(p.b, p.to("x"))
			// Nobody has taken a snapshot of that.
			p.backAgain(2)
		}},
		{"failbackUndoesTheFence", func(p *pair) {
			// On the other side the root is a placeholder, and out is not there at all.
			p.create("locked", "out", "x")
			p.must(p.a.Create(p.ctx(), p.from("v"), zfs.CreateOptions{SizeBytes: 16 << 20, Sparse: true}))
			p.job.Filter = []replication.Rule{{Path: p.from("out")}}
			p.write("locked", "x")
			p.only("locked@1", "v@1", "x@1")
			p.ok()
			p.must(p.a.Set(p.ctx(), p.from("locked"), map[string]string{"readonly": "on"}))
			p.must(p.a.Set(p.ctx(), p.from("out"), map[string]string{"readonly": "off"}))
			p.must(p.a.Set(p.ctx(), p.from("x"), map[string]string{"mountpoint": p.t.TempDir() + "/100% of it", "canmount": "noauto"}))
			settings := func() map[string]string {
				got := map[string]string{}
				for _, name := range []string{"", "locked", "out", "v", "x"} {
					for property, v := range p.of(p.a, p.from(name), "canmount", "mountpoint", "readonly", "mounted") {
						got[name+" "+property] = v.Value
						if property == "readonly" {
							got[name+" "+property] += string(v.Source)
						}
					}
				}
				return got
			}
			want := settings()
			p.promote()
			p.writeOn(p.b, p.to("x"))
			p.fails(replication.ErrFenced)
			for _, name := range []string{"", "locked", "out", "v", "x"} {
				if got := p.of(p.a, p.from(name), "readonly")["readonly"]; got.Value != "on" {
					p.t.Errorf("readonly of %s, which is fenced: %+v", p.from(name), got)
				}
			}
			if g, err := p.bringBack(); err != nil || g != 2 {
				p.t.Fatalf("failback: generation %d, %v\n%s", g, err, p.states())
			}
			if diff := cmp.Diff(want, settings()); diff != "" {
				p.t.Errorf("the settings of the primary that is back (-want +got):\n%s", diff)
			}
			found, err := p.a.List(p.ctx(), zfs.Query{Roots: []string{p.src}, Depth: -1, Properties: []string{replication.PropertyBefore}})
			p.must(err)
			for _, d := range found {
				if v := d.Properties[replication.PropertyBefore]; v.Source == zfs.SourceLocal {
					p.t.Errorf("left on %s: %+v", d.Name, v)
				}
			}
			p.write("x")
			p.only("x@2")
			p.ok()
		}},
		{"failbackTwice", func(p *pair) {
			p.replicated("x")
			p.promote()
			p.writeOn(p.b, p.to("x"))
			p.backAgain(2)
			p.promote()
			p.writeOn(p.b, p.to("x"))
			p.backAgain(4)
			if g, err := p.bringBack(); err != nil || g != 4 {
				p.t.Errorf("one that is done already: %d, %v", g, err)
			}
			p.ok()
		}},
		{"failbackOfNothing", func(p *pair) {
			p.replicated("x")
			if _, err := p.bringBack(); !errors.Is(err, replication.ErrNotFailedOver) {
				p.t.Errorf("got %v", err)
			}
			p.ok()
		}},
		{"failbackWaitsForADecision", func(p *pair) {
			p.replicated("x")
			p.write("x")
			p.snapshot("lost") // was never sent
			p.promote()
			p.writeOn(p.b, p.to("x"))
			_, err := p.bringBack()
			var c *replication.Conflict
			if !errors.As(err, &c) || c.Kind != replication.Diverged {
				p.t.Fatalf("got %v", err)
			}
			if err := p.tryWrite(p.b, p.to("x")); err != nil {
				p.t.Errorf("the primary is frozen before anything was decided: %v", err)
			}
			back := p.reversed()
			back.job.ID = replication.ReverseID(p.job.ID)
			var decisions []replication.Decision
			for _, name := range []string{"", "x"} {
				decisions = append(decisions, p.option(back.conflict(name, replication.Diverged), replication.RollBack))
			}
			if _, err := p.bringBack(decisions...); err != nil {
				p.t.Fatalf("with all decided: %v\n%s", err, p.states())
			}
			p.write("x")
			p.snapshot("2")
			p.ok()
		}},
		{"failbackFreezesBeforeTheLastSnapshot", func(p *pair) {
			p.replicated("x")
			p.promote()
			late := errors.New("not tried")
			p.b.faulty.Order(zfstest.Fault{Method: "Snapshot", Do: func() { late = p.tryWrite(p.b, p.to("x")) }})
			p.backAgain(2)
			if !errors.Is(late, zfs.ErrReadOnly) {
				p.t.Errorf("a write just before the last snapshot: %v", late)
			}
		}},
		{"failbackCutAtEachCall", func(p *pair) {
			for _, s := range []func() *zfstest.Faulty{func() *zfstest.Faulty { return p.a.faulty }, func() *zfstest.Faulty { return p.b.faulty }} {
				for skip := 0; ; skip++ {
					p.replicated("x")
					p.promote()
					p.writeOn(p.b, p.to("x"))
					p.a.faulty.Restart()
					p.b.faulty.Restart()
					s().Order(zfstest.Fault{Skip: skip, After: skip%2 == 0, Crash: true})
					_, err := p.bringBack()
					p.a.faulty.Restart()
					p.b.faulty.Restart()
					if err == nil {
						p.fresh()
						break
					}
					p.backAgain(2)
					p.fresh()
				}
			}
		}},
		{"failbackEndsHereThoughTheOtherSideIsLost", func(p *pair) {
			p.replicated("x")
			p.promote()
			p.writeOn(p.b, p.to("x"))
			want, err := p.b.Sum(p.ctx(), p.to("x"))
			p.must(err)
			p.a.faulty.Order(zfstest.Fault{Method: "Inherit", Crash: true, Do: func() { p.b.faulty.Crash() }})
			if _, err := p.bringBack(); !errors.Is(err, zfstest.ErrCrashed) {
				p.t.Fatalf("failback: %v", err)
			}
			p.a.faulty.Restart()
			if _, err := p.bringBack(); err == nil || !strings.Contains(err.Error(), "the role is here") {
				p.t.Errorf("the other side is lost, and it says %v", err)
			}
			if got, err := p.a.Sum(p.ctx(), p.from("x")); err != nil || got != want {
				p.t.Errorf("it holds %s, %v, want %s", got, err, want)
			}
			p.b.faulty.Restart()
			p.backAgain(2)
		}},
		{"onlyWhatWasPromotedIsFrozen", func(p *pair) {
			// What is made after the role has gone over and back is of that generation from the start.
			for _, generation := range []uint64{0, 2} {
				p.fresh()
				p.create("x")
				if generation > 0 {
					p.must(p.a.Set(p.ctx(), p.src, map[string]string{replication.PropertyGeneration: "2"}))
				}
				p.write("x")
				p.only("x@1")
				p.ok() // the root is a placeholder
				err := p.b.local.Freeze(p.ctx(), replication.FreezeRequest{
					Fence: replication.Fence{Job: replication.ReverseID(p.job.ID), Roots: []string{p.dst}, Generation: generation}, Snapshot: "own",
				})
				l := p.listing(p.b, p.dst)
				if n := len(l.Find(p.to("x")).Snapshots()); !errors.Is(err, replication.ErrUnsupported) || n != 1 {
					p.t.Errorf("freeze of replicas of generation %d: %v, and there are %d snapshots", generation, err, n)
				}
				if root := l.Roots[0]; !root.Placeholder || root.Generation != generation {
					p.t.Errorf("the root %+v, want a placeholder of generation %d", root, generation)
				}
				p.ok()
				p.promote()
				if root := p.listing(p.b, p.dst).Roots[0]; root.Placeholder {
					p.t.Errorf("promoted, the root is %+v", root)
				}
			}
		}},
		{"failbackGivenUp", func(p *pair) {
			// Whether the other side has begun to take the role, and whether it is told before it tries again.
			for _, c := range []struct{ promoting, told bool }{{false, true}, {true, true}, {false, false}, {true, false}} {
				p.replicated("x")
				p.promote()
				p.writeOn(p.b, p.to("x"))
				p.fails(replication.ErrFenced)
				if c.promoting {
					p.a.faulty.Order(zfstest.Fault{Method: "Inherit", Skip: 1, Crash: true})
					if _, err := p.bringBack(); !errors.Is(err, zfstest.ErrCrashed) {
						p.t.Fatalf("failback: %v", err)
					}
					p.a.faulty.Restart()
				} else {
					p.must(p.b.local.Freeze(p.ctx(), replication.FreezeRequest{
						Fence: replication.Fence{Job: replication.ReverseID(p.job.ID), Roots: []string{p.dst}, Generation: 1}, Snapshot: "last",
					}))
				}
				if err := p.tryWrite(p.b, p.to("x")); !errors.Is(err, zfs.ErrReadOnly) {
					p.t.Errorf("a write to what is frozen: %v", err)
				}
				for range 2 {
					if g := p.promote(); g != 3 {
						p.t.Errorf("the primary again, of generation %d, want 3", g)
					}
				}
				p.writeOn(p.b, p.to("x"))
				p.writeOn(p.b, p.dst)
				if c.told {
					p.fails(replication.ErrFenced)
					for _, name := range []string{"", "x"} {
						if err := p.tryWrite(p.a, p.from(name)); !errors.Is(err, zfs.ErrReadOnly) {
							p.t.Errorf("a write to %s, which is fenced: %v", p.from(name), err)
						}
					}
				}
				p.backAgain(4)
				p.fresh()
			}
		}},
		{"failbackGivenUpOfWhichOneRootKnows", func(p *pair) {
			src, dst := p.a.Name("second%d", p.many), p.b.Name("seconddst%d", p.many)
			p.must(p.a.Create(p.ctx(), src, zfs.CreateOptions{}))
			p.must(p.a.Snapshot(p.ctx(), []string{src + "@1"}, nil))
			p.job.Roots = append(p.job.Roots, replication.Root{Source: src, Target: dst})
			p.replicated("x")
			p.promote()
			p.writeOn(p.b, p.to("x"))
			p.a.faulty.Order(zfstest.Fault{Method: "Inherit", Crash: true}) // before anything is opened
			if _, err := p.bringBack(); !errors.Is(err, zfstest.ErrCrashed) {
				p.t.Fatalf("failback: %v", err)
			}
			p.a.faulty.Restart()
			if g := p.promote(); g != 3 {
				p.t.Errorf("the primary again, of generation %d, want 3", g)
			}
			fence := replication.Fence{Job: jobID, Roots: p.job.Sources(), Generation: 3}
			err := endpoint.New(suspended{p.a.System, p.src}, nil).Learn(p.ctx(), replication.LearnRequest{Fence: fence, Primaries: fence.Roots})
			if !errors.Is(err, zfs.ErrSuspended) {
				p.t.Fatalf("a pool does not answer, and it says %v", err)
			}
			p.backAgain(4)
			for _, name := range []string{p.dst, dst} {
				if err := p.tryWrite(p.b, name); !errors.Is(err, zfs.ErrReadOnly) {
					p.t.Errorf("a write to %s, which was the primary meanwhile: %v", name, err)
				}
			}
			p.writeOn(p.a, p.src)
			p.writeOn(p.a, src)
		}},
		{"failbackGoesOnBesideItsUsers", func(p *pair) {
			p.replicated("x")
			p.promote()
			p.writeOn(p.b, p.to("x"))
			p.a.faulty.Order(zfstest.Fault{Method: "Inherit", Skip: 1, Crash: true}) // the root can be written to, and has its marks still
			if _, err := p.bringBack(); !errors.Is(err, zfstest.ErrCrashed) {
				p.t.Fatalf("failback: %v", err)
			}
			p.a.faulty.Restart()
			p.writeOn(p.a, p.src)
			want, err := p.a.Sum(p.ctx(), p.src)
			p.must(err)
			if g, err := p.bringBack(); err != nil || g != 2 {
				p.t.Fatalf("failback: generation %d, %v\n%s", g, err, p.states())
			}
			if got, err := p.a.Sum(p.ctx(), p.src); err != nil || got != want {
				p.t.Errorf("it holds %s, %v, want what was written meanwhile, %s", got, err, want)
			}
			p.backAgain(2)
		}},
		{"failbackTakesDecisionsAboutWhatItPromotes", func(p *pair) {
			p.replicated("x")
			p.promote()
			p.writeOn(p.b, p.to("x"))
			p.a.faulty.Order(zfstest.Fault{Method: "Inherit", Crash: true}) // before anything is opened
			if _, err := p.bringBack(); !errors.Is(err, zfstest.ErrCrashed) {
				p.t.Fatalf("failback: %v", err)
			}
			p.a.faulty.Restart()
			p.must(p.a.Set(p.ctx(), p.from("x"), map[string]string{"readonly": "off"}))
			p.writeOn(p.a, p.from("x"))
			p.must(p.a.Set(p.ctx(), p.from("x"), map[string]string{"readonly": "on"}))
			_, err := p.bringBack()
			var c *replication.Conflict
			if !errors.As(err, &c) || c.Target != p.from("x") {
				p.t.Fatalf("failback: %v", err)
			}
			if g, err := p.bringBack(p.option(c, replication.RollBack)); err != nil || g != 2 {
				p.t.Fatalf("failback: generation %d, %v\n%s", g, err, p.states())
			}
			p.backAgain(2)
		}},
		{"failbackFencesWhatHasNothingInCommon", func(p *pair) {
			p.replicated("x")
			p.promote()
			p.writeOn(p.b, p.to("x"))
			p.must(p.a.DestroySnapshots(p.ctx(), []string{p.from("@1"), p.from("x@1")}))
			p.write("x")
			p.snapshot("other")
			var c *replication.Conflict
			for range 2 {
				if g, err := p.bringBack(); !errors.As(err, &c) || c.Kind != replication.NoCommonBase {
					p.t.Fatalf("failback: generation %d, %v", g, err)
				}
				if err := p.tryWrite(p.a, p.from("x")); !errors.Is(err, zfs.ErrReadOnly) {
					p.t.Errorf("a write to the old primary: %v", err)
				}
			}
			if root := p.listing(p.a, p.src).Roots[0]; !root.Fenced || root.Generation != 1 {
				p.t.Errorf("the root of the old primary: %+v", root)
			}
			back := p.reversed()
			back.job.ID = replication.ReverseID(p.job.ID)
			aside := p.option(back.conflict("", replication.NoCommonBase), replication.SetAside)
			if g, err := p.bringBack(aside); err != nil || g != 2 {
				p.t.Fatalf("with all decided: generation %d, %v\n%s", g, err, p.states())
			}
			p.backAgain(2)
		}},
		{"failbackAnewCutAtEachCall", func(p *pair) {
			for _, s := range []func() *zfstest.Faulty{func() *zfstest.Faulty { return p.a.faulty }, func() *zfstest.Faulty { return p.b.faulty }} {
				for skip := 0; ; skip++ {
					p.replicated("x")
					p.write("x")
					p.snapshot("lost") // was never sent
					p.promote()
					p.writeOn(p.b, p.to("x"))
					p.fails(replication.ErrFenced)
					back := p.reversed()
					back.job.ID = replication.ReverseID(p.job.ID)
					aside := p.option(back.conflict("", replication.Diverged), replication.SetAside)
					p.a.faulty.Restart()
					p.b.faulty.Restart()
					s().Order(zfstest.Fault{Skip: skip, After: skip%2 == 0, Crash: true})
					_, err := p.bringBack(aside)
					p.a.faulty.Restart()
					p.b.faulty.Restart()
					if err == nil {
						p.fresh()
						break
					}
					if g, err := p.bringBack(aside); err != nil || g != 2 {
						p.t.Fatalf("after a crash at call %d: generation %d, %v, want 2\n%s", skip, g, err, p.states())
					}
					p.backAgain(2)
					p.fresh()
				}
			}
		}},
		{"whatComesAnewIsNoSourceOnItsWayBack", func(p *pair) {
			p.replicated("x")
			p.promote()
			p.must(p.a.Rename(p.ctx(), p.src, p.src+"-lost"))
			back := p.reversed()
			back.job.ID = replication.ReverseID(p.job.ID)
			back.write("x")
			back.snapshot("2")
			back.ok() // and nobody promotes it
			p.fails(replication.ErrFenced)
			p.backAgain(2)
		}},
		{"placeholderThatComesAnewIsNoSourceOnItsWayBack", func(p *pair) {
			p.create("x")
			p.write("x")
			p.only("x@1")
			p.ok()
			p.promote()
			p.must(p.a.Rename(p.ctx(), p.src, p.src+"-lost"))
			back := p.reversed()
			back.job.ID = replication.ReverseID(p.job.ID)
			back.write("x")
			back.only("x@2")
			back.ok()
			p.fails(replication.ErrFenced)
			if g, err := p.bringBack(); err != nil || g != 2 {
				p.t.Fatalf("failback: generation %d, %v\n%s", g, err, p.states())
			}
			p.write("x")
		}},
		{"oldPrimaryIsNoSourceOnItsWayBack", func(p *pair) {
			p.replicated("x")
			p.promote()
			back := p.reversed()
			back.job.ID = replication.ReverseID(p.job.ID)
			back.write("x")
			back.snapshot("2")
			back.ok() // and nobody promotes it
			p.fails(replication.ErrFenced)
			p.backAgain(2)
		}},
		{"verify", func(p *pair) {
			p.replicated("x", "w")
			p.byHand("x")
			p.write("w")
			p.only("w@2")
			got := map[string]replication.Comparison{}
			p.must(replication.Verify(p.ctx(), p.job, p.a.local, p.b.local, true, func(c replication.Comparison) error {
				got[c.Source] = c
				return nil
			}))
			if c := got[p.src]; c.Problem != "" || c.Contents != replication.Same || c.Behind != 0 || c.Snapshot.Name != "1" {
				p.t.Errorf("what is the same: %+v", c)
			}
			if c := got[p.from("x")]; !strings.Contains(c.Problem, "was written to") || c.Contents != replication.Same {
				p.t.Errorf("what was written to: %+v", c)
			}
			if c := got[p.from("w")]; c.Problem != "" || c.Behind != 1 {
				p.t.Errorf("what is behind: %+v", c)
			}
			p.must(replication.Verify(p.ctx(), p.job, p.a.local, lying{p.b.local}, true, func(c replication.Comparison) error {
				if c.Contents != replication.Differ || !strings.Contains(c.Problem, "differ") && !strings.Contains(c.Problem, "written") {
					p.t.Errorf("contents that differ: %+v", c)
				}
				return nil
			}))
			p.create("new", "empty")
			p.only("new@1")
			p.must(replication.Verify(p.ctx(), p.job, p.a.local, p.b.local, false, func(c replication.Comparison) error {
				if wrong := strings.Contains(c.Problem, "no replica"); wrong != (c.Source == p.from("new")) {
					p.t.Errorf("one has no replica, and one nothing that is sent: %+v", c)
				}
				return nil
			}))
		}},
		{"placeholdersAboveTheTarget", func(p *pair) {
			p.dst = p.b.Name("top%d/from/here", p.many)
			p.job.Roots[0].Target = p.dst
			p.b.local = p.b.local.Under(p.b.Name("top%d", p.many))
			p.write("")
			p.snapshot("1")
			p.ok()
			found, err := p.b.List(p.ctx(), zfs.Query{
				Roots: []string{p.b.Name("top%d", p.many)}, Kinds: []zfs.Kind{zfs.Filesystem}, Depth: 1, Properties: []string{"canmount", "readonly", "mountpoint"},
			})
			p.must(err)
			for _, d := range found {
				if v := d.Properties; v["canmount"].Value != "off" || v["readonly"].Value != "on" || v["mountpoint"].Value != "none" {
					p.t.Errorf("%s: %+v", d.Name, v)
				}
			}
			if len(found) != 2 {
				p.t.Errorf("%d file systems were made above the replica", len(found))
			}
		}},
	}
}

func TestReverseID(t *testing.T) {
	back := replication.ReverseID(jobID)
	if back == "" || back == jobID || replication.ReverseID(back) == jobID || back != replication.ReverseID(jobID) || replication.ReverseID("x") != "" {
		t.Errorf("got %s", back)
	}
	j := (&pair{job: replication.Job{ID: jobID}}).job.Reverse(back)
	if j.ID != back {
		t.Errorf("got %s", j.ID)
	}
}

// replaying is a side of which the power has failed: logs are what it has synced to file systems that were not mounted since, and become what is in them by a replay.
type replaying struct {
	sums
	logs map[string]func() error
}

// Replay implements endpoint.Replayer.
func (r replaying) Replay(_ context.Context, fileSystem string) error {
	log := r.logs[fileSystem]
	if log == nil {
		return nil
	}
	delete(r.logs, fileSystem)
	return log()
}

// synced has a side be one with an intent log of one file system below a root that is read-only by then.
func (p *pair) synced(s *side, name string) replaying {
	beside := s.Target
	r := replaying{sums{s.Contents}, map[string]func() error{name: func() error {
		// The kernel replays into what is read-only.
		if err := beside.Set(p.ctx(), name, map[string]string{"readonly": "off"}); err != nil {
			return err
		}
		return errors.Join(p.tryWrite(side{Target: beside}, name), beside.Inherit(p.ctx(), name, "readonly"))
	}}}
	s.local = endpoint.New(s.faulty, r)
	return r
}

// TestAdoptedWithItsIntentLog: what was synced on the old primary right before its power failed is a change of what becomes a replica, though that was never mounted
// again: a person decides about it.
func TestAdoptedWithItsIntentLog(t *testing.T) {
	p := newPair(t, models)
	p.replicated("w", "x")
	p.promote()
	p.fails(replication.ErrFenced)
	p.synced(&p.a, p.from("x"))
	back := p.reversed()
	back.job.ID = replication.ReverseID(p.job.ID)
	back.write("w", "x")
	back.snapshot("2")
	c := back.conflict("x", replication.Modified)
	if n := len(p.listing(p.a, p.from("w")).Find(p.from("w")).Snapshots()); n != 2 {
		t.Errorf("what was not changed has %d snapshots, want 2", n)
	}
	back.ok(p.option(c, replication.RollBack))
}

// TestNotAdoptedWithoutItsIntentLog: where it cannot be replayed, nothing becomes a replica.
func TestNotAdoptedWithoutItsIntentLog(t *testing.T) {
	p := newPair(t, models)
	p.replicated("x")
	p.promote()
	p.fails(replication.ErrFenced)
	p.a.local = endpoint.New(p.a.faulty, replaying{sums{p.a.Contents}, map[string]func() error{p.from("x"): func() error { return errBroken }}})
	back := p.reversed()
	back.job.ID = replication.ReverseID(p.job.ID)
	back.write("x")
	back.snapshot("2")
	back.fails(errBroken)
	if f := p.listing(p.a, p.src).Find(p.from("x")); f.Replica != "" || len(f.Snapshots()) != 1 {
		t.Errorf("it is %+v", f)
	}
}

// TestFrozenWithItsIntentLog: what was synced on the new primary right before its power failed comes back with its last snapshot.
func TestFrozenWithItsIntentLog(t *testing.T) {
	p := newPair(t, models)
	p.replicated("x")
	p.promote()
	log := p.synced(&p.b, p.to("x"))
	if g, err := p.bringBack(); err != nil || g != 2 {
		t.Fatalf("failback: generation %d, %v\n%s", g, err, p.states())
	}
	mine, err := p.a.Sum(p.ctx(), p.from("x"))
	p.must(err)
	theirs, err := p.b.Sum(p.ctx(), p.to("x"))
	p.must(err)
	if len(log.logs) > 0 || mine != theirs {
		t.Errorf("%d logs are left; %s holds %s, %s holds %s", len(log.logs), p.from("x"), mine, p.to("x"), theirs)
	}
}

// TestAdoptedWhileOpen: what was fenced becomes a replica though zfs set complains, as it does where somebody has a file of it open for writing.
func TestAdoptedWhileOpen(t *testing.T) {
	p := newPair(t, models)
	p.replicated()
	roots := []string{p.src}
	fence := replication.Fence{Job: reverseID, Roots: roots, Generation: 1}
	p.must(p.a.local.Learn(p.ctx(), replication.LearnRequest{Fence: fence, Primaries: roots}))
	last := p.listing(p.a, p.src).Find(p.src).Snapshots()[0]
	adopt := replication.ResolveRequest{
		Fence: fence, Decision: replication.Decision{Kind: replication.Adopt, Target: p.src, To: last.GUID}, Source: 1, Stream: p.job.Stream,
	}
	p.a.faulty.Order(zfstest.Fault{Method: "Set", Err: errBroken})
	if err := p.a.local.Resolve(p.ctx(), adopt); !errors.Is(err, errBroken) {
		t.Errorf("where nothing was set: %v", err)
	}
	p.a.faulty.Order(zfstest.Fault{Method: "Set", After: true, Err: errBroken})
	if err := p.a.local.Resolve(p.ctx(), adopt); err != nil {
		t.Errorf("where all was set: %v", err)
	}
	if f := p.listing(p.a, p.src).Find(p.src); f.Replica != reverseID || !f.ReadOnly {
		t.Errorf("it is %+v", f)
	}
}
