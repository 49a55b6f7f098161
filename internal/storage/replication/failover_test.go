package replication_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// promote makes a primary of the replica.
func (p *pair) promote(decisions ...replication.Decision) uint64 {
	p.t.Helper()
	generation, err := (replication.Promotion{Job: p.job, Receiver: p.b.local}).Run(p.ctx(), decisions...)
	p.must(err)
	return generation
}

// of are properties of one dataset.
func (p *pair) of(s side, name string, properties ...string) map[string]zfs.Property {
	p.t.Helper()
	found, err := s.List(p.ctx(), zfs.Query{Roots: []string{name}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Properties: properties})
	p.must(err)
	if len(found) != 1 {
		p.t.Fatalf("%d datasets of the name %s", len(found), name)
	}
	return found[0].Properties
}

// reversed is the pair in the other direction.
func (p *pair) reversed() *pair {
	r := &pair{t: p.t, a: p.b, b: p.a, job: p.job.Reverse(reverseID), src: p.dst, dst: p.src, now: p.now, rand: p.rand, many: p.many, bytes: p.bytes}
	if p.job.ID == reverseID {
		r.job.ID = jobID
	}
	return r
}

// forget ends the job on both sides.
func (p *pair) forget() {
	p.t.Helper()
	p.must(replication.Forget(p.ctx(), p.job.ID, p.a.local, []string{p.src}))
	p.must(replication.Forget(p.ctx(), p.job.ID, p.b.local, []string{p.dst}))
}

// differing is a side whose document of the job is another: what it has of this one's is in the listing, with an error.
type differing struct{ replication.Receiver }

// List implements replication.Endpoint.
func (d differing) List(ctx context.Context, r replication.ListRequest) (replication.Listing, error) {
	l, err := d.Receiver.List(ctx, r)
	return l, errors.Join(err, errBroken)
}

// suspended is a system of which the pool of one root does not answer.
type suspended struct {
	zfs.System
	root string
}

// List implements zfs.System.
func (s suspended) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	if slices.Contains(q.Roots, s.root) {
		return nil, zfs.ErrSuspended
	}
	return s.System.List(ctx, q)
}

// TestFencedRootByRoot: a pool that does not answer keeps no root in another a primary. Nothing is fenced by a generation that is older than one of them.
func TestFencedRootByRoot(t *testing.T) {
	p := newPair(t, models)
	second := p.a.Name("second")
	p.must(p.a.Create(p.ctx(), second, zfs.CreateOptions{}))
	roots := []string{p.src, second}
	learn := func(system zfs.System, generation uint64) error {
		fence := replication.Fence{Job: jobID, Roots: roots, Generation: generation}
		return endpoint.New(system, nil).Learn(p.ctx(), replication.LearnRequest{Fence: fence, Primaries: roots})
	}
	if err := learn(suspended{p.a.System, p.src}, 2); !errors.Is(err, zfs.ErrSuspended) {
		t.Errorf("a pool does not answer, and it says %v", err)
	}
	if root := p.listing(p.a, second).Roots[0]; !root.Fenced || root.Generation != 2 {
		t.Errorf("the root in the other pool: %+v", root)
	}
	if err := p.tryWrite(p.a, second); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to what is fenced: %v", err)
	}
	if err := learn(p.a.System, 1); !errors.Is(err, replication.ErrFenced) {
		t.Errorf("an older generation: %v", err)
	}
	p.must(p.tryWrite(p.a, p.src))
	p.must(learn(p.a.System, 2))
	if err := p.tryWrite(p.a, p.src); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to what is fenced with the next: %v", err)
	}
}

// TestListedRootByRoot: what cannot be read keeps no other root from being told of, whichever comes first.
func TestListedRootByRoot(t *testing.T) {
	p := newPair(t, models)
	second := p.a.Name("second")
	p.must(p.a.Create(p.ctx(), second, zfs.CreateOptions{}))
	local, roots := endpoint.New(suspended{p.a.System, p.src}, nil), []string{p.src, second}
	l, err := local.List(p.ctx(), replication.ListRequest{Job: jobID, Roots: roots})
	if !errors.Is(err, zfs.ErrSuspended) || len(l.Roots) != 1 || l.Roots[0].Name != second || l.Find(second) == nil {
		t.Errorf("listed: %+v, %v", l, err)
	}
	states, err := local.Roots(p.ctx(), roots)
	if !errors.Is(err, zfs.ErrSuspended) || len(states) != 2 || states[0] != (replication.RootState{}) || !states[1].Exists {
		t.Errorf("roots: %+v, %v", states, err)
	}
}

// silent is a system with a pool that does not answer.
type silent struct {
	zfs.System
	pool string
}

// List implements zfs.System.
func (s silent) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	if strings.HasPrefix(q.Roots[0], s.pool+"/") {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.System.List(ctx, q)
}

// TestListedThoughAPoolHangs: the roots in another pool are told of in the caller's time, and what did not answer is named.
func TestListedThoughAPoolHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		local := endpoint.New(silent{zfstest.New("node", "tank"), "hung"}, nil)
		for _, limit := range []time.Duration{10 * time.Minute, 24 * time.Hour} {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			l, err := local.List(ctx, replication.ListRequest{Job: jobID, Roots: []string{"hung/a", "tank"}})
			if !errors.Is(err, zfs.ErrSuspended) || !strings.Contains(err.Error(), "hung/a: no answer within") || ctx.Err() != nil {
				t.Errorf("of %v: %v", limit, err)
			}
			if len(l.Roots) != 1 || l.Roots[0].Name != "tank" {
				t.Errorf("of %v: %+v", limit, l.Roots)
			}
			cancel()
		}
	})
}

// TestFencedByTheHigherOfTwo: who tells of an older generation, and is slower, does not take the place of a higher one.
func TestFencedByTheHigherOfTwo(t *testing.T) {
	p := newPair(t, models)
	learn := func(generation uint64) error {
		fence := replication.Fence{Job: jobID, Roots: []string{p.src}, Generation: generation}
		return p.a.local.Learn(p.ctx(), replication.LearnRequest{Fence: fence, Primaries: fence.Roots})
	}
	p.a.faulty.Order(zfstest.Fault{Method: "Set", Do: func() { p.must(learn(5)) }})
	if err := learn(3); !errors.Is(err, replication.ErrFenced) {
		t.Errorf("the older generation: %v", err)
	}
	if root := p.listing(p.a, p.src).Roots[0]; !root.Fenced || root.Generation != 5 {
		t.Errorf("the root: %+v", root)
	}
}

// TestNotNotedWithoutItsFence: a root whose pool is imported after the look is not among those that are to be fenced. By the generation alone it would count as told, and
// take writes for good.
func TestNotNotedWithoutItsFence(t *testing.T) {
	p := newPair(t, models)
	late, replica := p.a.Name("late"), p.a.Name("replica")
	for _, name := range []string{late, replica} {
		p.must(p.a.Create(p.ctx(), name, zfs.CreateOptions{}))
	}
	p.must(p.a.Set(p.ctx(), replica, map[string]string{"readonly": "on", replication.PropertyReplica: reverseID}))
	learn := func(generation uint64, primaries ...string) {
		t.Helper()
		fence := replication.Fence{Job: jobID, Roots: []string{p.src, late, replica}, Generation: generation}
		p.must(p.a.local.Learn(p.ctx(), replication.LearnRequest{Fence: fence, Primaries: primaries}))
	}
	check := func(name string, generation uint64, fenced bool) {
		t.Helper()
		if root := p.listing(p.a, name).Roots[0]; root.Generation != generation || root.Fenced != fenced {
			t.Errorf("the root: %+v, want generation %d, fenced %t", root, generation, fenced)
		}
	}
	learn(1)
	check(late, 1, false) // where none is fenced, all note it
	learn(2, p.src)
	check(p.src, 2, true)
	check(replica, 2, false)
	check(late, 1, false)
	learn(2, p.src, late)
	check(late, 2, true)
	if err := p.tryWrite(p.a, late); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to what was fenced with the next: %v", err)
	}
}

func failoverScenarios() []scenario {
	return []scenario{
		{"failover", func(p *pair) {
			// What has canmount=on while it inherits this would be mounted there.
			p.must(p.b.Set(p.ctx(), p.b.Root, map[string]string{"mountpoint": p.t.TempDir()}))
			p.replicated("x")
			p.b.faulty.Order(zfstest.Fault{Method: "Inherit", Do: func() {
				if got := p.of(p.b, p.dst, "canmount")["canmount"]; got.Value != "off" {
					p.t.Errorf("canmount while the mount point is inherited: %+v", got)
				}
			}})
			if g := p.promote(); g != 1 {
				p.t.Errorf("generation %d, want 1", g)
			}
			for _, name := range []string{"", "x"} {
				got := p.of(p.b, p.to(name), "canmount", "mountpoint", "mounted", "readonly")
				inherits := got["mountpoint"].Source == zfs.SourceInherited
				if got["canmount"].Value != "on" || !inherits || got["readonly"].Value != "off" || got["mounted"].Value == "yes" {
					p.t.Errorf("%s was promoted: %+v", p.to(name), got)
				}
			}
			p.must(p.b.Set(p.ctx(), p.b.Root, map[string]string{"mountpoint": "none"}))
			p.writeOn(p.b, p.to("x")) // it is a primary
			p.writeOn(p.b, p.dst)
		}},
		{"oldPrimaryIsFenced", func(p *pair) {
			p.replicated("x")
			p.promote()
			p.write("x")
			p.snapshot("2")
			p.fails(replication.ErrFenced)
			for _, name := range []string{"", "x"} {
				if err := p.tryWrite(p.a, p.from(name)); !errors.Is(err, zfs.ErrReadOnly) {
					p.t.Errorf("write to %s, which is fenced: %v", p.from(name), err)
				}
			}
			if n := len(p.listing(p.b, p.dst).Find(p.to("x")).Snapshots()); n != 1 {
				p.t.Errorf("the new primary received something: %d snapshots", n)
			}
			f := p.listing(p.a, p.src).Find(p.src)
			_, err := p.a.local.Send(p.ctx(), replication.SendRequest{
				Fence: replication.Fence{Job: jobID, Roots: []string{p.src}, Generation: 1}, FileSystem: p.src, To: f.Snapshots()[0].GUID,
			})
			if !errors.Is(err, replication.ErrFenced) {
				p.t.Errorf("send of what is fenced: %v", err)
			}
		}},
		{"fencedThoughARootIsMissing", func(p *pair) {
			src, dst := p.a.Name("second%d", p.many), p.b.Name("seconddst%d", p.many)
			p.must(p.a.Create(p.ctx(), src, zfs.CreateOptions{}))
			p.must(p.a.Snapshot(p.ctx(), []string{src + "@1"}, nil))
			p.job.Roots = append(p.job.Roots, replication.Root{Source: src, Target: dst})
			p.replicated("x")
			p.promote()
			p.must(p.a.Rename(p.ctx(), src, src+"-away"))
			p.fails(replication.ErrFenced)
			if err := p.tryWrite(p.a, p.from("x")); !errors.Is(err, zfs.ErrReadOnly) {
				p.t.Errorf("write to what is fenced: %v", err)
			}
			p.must(p.a.Rename(p.ctx(), src+"-away", src))
			p.fails(replication.ErrFenced)
			if err := p.tryWrite(p.a, src); !errors.Is(err, zfs.ErrReadOnly) {
				p.t.Errorf("write to what is there again: %v", err)
			}
		}},
		{"notFencedByWhatIsNotPromoted", func(p *pair) {
			// After a failback a root is added, of which the old one is not there for a while.
			p.replicated("x")
			p.promote()
			p.backAgain(2)
			src, dst := p.a.Name("second%d", p.many), p.b.Name("seconddst%d", p.many)
			p.must(p.a.Create(p.ctx(), src, zfs.CreateOptions{}))
			p.must(p.a.Snapshot(p.ctx(), []string{src + "@1"}, nil))
			p.job.Roots = append(p.job.Roots, replication.Root{Source: src, Target: dst})
			for range 2 {
				p.must(p.a.Rename(p.ctx(), p.src, p.src+"-away"))
				if _, err := p.run(); err == nil || errors.Is(err, replication.ErrFenced) {
					p.t.Errorf("run without a root: %v", err)
				}
				p.must(p.tryWrite(p.a, src))
				p.must(p.a.Rename(p.ctx(), p.src+"-away", p.src))
				p.ok()
			}
		}},
		{"rootThatCameLaterIsNotFencedAlone", func(p *pair) {
			p.replicated("x")
			p.promote()
			p.backAgain(2)
			src, dst := p.a.Name("second%d", p.many), p.b.Name("seconddst%d", p.many)
			p.must(p.a.Create(p.ctx(), src, zfs.CreateOptions{}))
			p.must(p.a.Snapshot(p.ctx(), []string{src + "@1"}, nil))
			p.job.Roots = append(p.job.Roots, replication.Root{Source: src, Target: dst})
			p.ok()
			p.job.Roots = p.job.Roots[1:] // the first one is taken out
			p.must(p.tryWrite(p.a, src))
			p.must(p.a.Snapshot(p.ctx(), []string{src + "@2"}, nil))
			_, err := p.run()
			p.must(err)
			p.must(p.tryWrite(p.a, src))
			if n := len(p.listing(p.b, dst).Find(dst).Snapshots()); n != 2 {
				p.t.Errorf("%d snapshots came, want 2", n)
			}
		}},
		{"fencedThoughTheDocumentsDiffer", func(p *pair) {
			p.replicated("x")
			p.promote()
			r := p.runner()
			r.Receiver = differing{r.Receiver}
			report, err := r.Run(p.ctx())
			if err != nil || !errors.Is(report.Err(), replication.ErrFenced) {
				p.t.Errorf("run: %v, %v", err, report.Err())
			}
			if err := p.tryWrite(p.a, p.from("x")); !errors.Is(err, zfs.ErrReadOnly) {
				p.t.Errorf("write to what is fenced: %v", err)
			}
		}},
		{"volumesAreFenced", func(p *pair) {
			p.must(p.a.Create(p.ctx(), p.from("v"), zfs.CreateOptions{SizeBytes: 16 << 20, Sparse: true}))
			m, model := p.a.System.(*zfstest.Model)
			if model { // TestVMFencedVolume has the device of a real one open
				p.must(m.Write(p.ctx(), p.from("v"), "block", []byte("1")))
			}
			p.replicated()
			p.promote()
			p.fails(replication.ErrFenced)
			if got := p.of(p.a, p.from("v"), "readonly")["readonly"]; got.Value != "on" || got.Source != zfs.SourceLocal {
				p.t.Errorf("a volume follows what is set on itself, and is fenced by %+v", got)
			}
			if model {
				if err := m.Write(p.ctx(), p.from("v"), "block", []byte("2")); !errors.Is(err, zfs.ErrReadOnly) {
					p.t.Errorf("a write to a fenced volume that is in use: %v", err)
				}
			}
		}},
		{"fencedWhileAFileIsOpen", func(p *pair) {
			// zfs set says that the mount is busy, and has set what it was to.
			p.replicated("x")
			p.must(p.a.Set(p.ctx(), p.from("x"), map[string]string{"readonly": "off"}))
			p.promote()
			for range 2 {
				p.a.faulty.Order(zfstest.Fault{Method: "Set", After: true, Err: errors.New("cannot set mount attributes: Device or resource busy")})
			}
			p.fails(replication.ErrFenced)
			if root := p.listing(p.a, p.src).Roots[0]; !root.Fenced || root.Generation != 1 {
				p.t.Errorf("the root after one run: %+v", root)
			}
			for _, name := range []string{"", "x"} {
				if err := p.tryWrite(p.a, p.from(name)); !errors.Is(err, zfs.ErrReadOnly) {
					p.t.Errorf("write to %s, which is fenced: %v", p.from(name), err)
				}
			}
		}},
		{"fenceThatFailedIsNone", func(p *pair) {
			p.replicated("x")
			p.promote()
			differs := func() error {
				r := p.runner()
				r.Receiver = differing{r.Receiver}
				report, err := r.Run(p.ctx())
				return errors.Join(err, report.Err())
			}
			whole := func() error {
				_, err := p.run()
				return err
			}
			for what, run := range map[string]func() error{"whole": whole, "in part": differs} {
				p.a.faulty.Order(zfstest.Fault{Method: "Set", Err: zfs.ErrNoSpace})
				if err := run(); !errors.Is(err, zfs.ErrNoSpace) || errors.Is(err, replication.ErrFenced) {
					p.t.Errorf("after a look that was %s: %v", what, err)
				}
			}
			p.fails(replication.ErrFenced)
			if err := p.tryWrite(p.a, p.from("x")); !errors.Is(err, zfs.ErrReadOnly) {
				p.t.Errorf("write to what is fenced: %v", err)
			}
		}},
		{"promotedReceiverRefuses", func(p *pair) {
			// The old primary has heard of nothing, and its plan is older than the promotion.
			p.replicated()
			p.write("")
			p.snapshot("2")
			p.a.faulty.Order(zfstest.Fault{Method: "Send", Do: func() { p.promote() }})
			p.fails(replication.ErrFenced)
			p.writeOn(p.b, p.dst)
		}},
		{"failback", func(p *pair) {
			p.replicated("x")
			p.promote()
			p.writeOn(p.b, p.to("x"))
			back := p.reversed()
			back.snapshot("2")
			back.ok() // the old primary has nothing of its own: no decision is needed
			p.forget()
			if g := back.promote(); g != 2 {
				p.t.Errorf("generation %d, want 2", g)
			}
			back.fails(replication.ErrFenced)
			p.write("x")
			p.snapshot("3")
			p.ok()
			back.forget()
			p.noneLeft()
		}},
		{"failbackWithLocalChanges", func(p *pair) {
			p.replicated("x")
			p.write("x")
			p.snapshot("lost") // was never sent
			p.write("x")
			p.promote()
			p.writeOn(p.b, p.to("x"))
			back := p.reversed()
			back.snapshot("2")
			c := back.conflict("x", replication.Diverged)
			if err := p.tryWrite(p.a, p.from("x")); !errors.Is(err, zfs.ErrReadOnly) {
				p.t.Errorf("write to the old primary: %v", err)
			}
			d := p.option(c, replication.RollBack)
			if !d.Changes || strings.Join(d.Destroys, " ") != "@lost" {
				p.t.Errorf("decision %+v does not name all that is lost", d)
			}
			root := p.option(back.conflict("", replication.Diverged), replication.RollBack)
			back.ok(d, root)
			p.forget()
		}},
		{"failbackAfterKillInTheMiddleOfAStep", func(p *pair) {
			p.replicated()
			p.write("")
			p.snapshot("2")
			p.cut("") // step holds on the one side, a partial receive on the other
			p.promote()
			p.writeOn(p.b, p.dst)
			back := p.reversed()
			back.snapshot("3")
			c := back.conflict("", replication.Diverged)
			back.ok(p.option(c, replication.RollBack))
			p.forget()
		}},
		{"promoteCutAtEachCall", func(p *pair) {
			for skip := 0; ; skip++ {
				p.replicated("x")
				p.b.faulty.Restart()
				p.b.faulty.Order(zfstest.Fault{Skip: skip, After: skip%2 == 0, Crash: true})
				_, err := (replication.Promotion{Job: p.job, Receiver: p.b.local}).Run(p.ctx())
				p.b.faulty.Restart()
				if err == nil {
					break
				}
				if g := p.promote(); g != 1 {
					p.t.Errorf("after a crash at call %d: generation %d, want 1", skip, g)
				}
				p.writeOn(p.b, p.to("x"))
				p.fails(replication.ErrFenced)
				p.fresh()
			}
		}},
		{"promotionGoesOnBesideItsUsers", func(p *pair) {
			p.replicated("x")
			p.b.faulty.Order(zfstest.Fault{Method: "Inherit", Skip: 1, Crash: true}) // the root can be written to, and has its marks still
			if _, err := (replication.Promotion{Job: p.job, Receiver: p.b.local}).Run(p.ctx()); !errors.Is(err, zfstest.ErrCrashed) {
				p.t.Fatalf("promote: %v", err)
			}
			p.b.faulty.Restart()
			p.writeOn(p.b, p.dst)
			want, err := p.b.Sum(p.ctx(), p.dst)
			p.must(err)
			if g := p.promote(); g != 1 {
				p.t.Errorf("generation %d, want 1", g)
			}
			if got, err := p.b.Sum(p.ctx(), p.dst); err != nil || got != want {
				p.t.Errorf("it holds %s, %v, want what was written meanwhile, %s", got, err, want)
			}
			p.writeOn(p.b, p.to("x"))
		}},
		{"promoteChangedReplica", func(p *pair) {
			p.replicated("x")
			p.byHand("x")
			promotion := replication.Promotion{Job: p.job, Receiver: p.b.local}
			_, err := promotion.Run(p.ctx())
			var c *replication.Conflict
			if !errors.As(err, &c) || c.Target != p.to("x") || c.Kind != replication.Modified {
				p.t.Fatalf("promote: %v", err)
			}
			want, err := p.b.Sum(p.ctx(), p.to("x@1"))
			p.must(err)
			p.promote(p.option(c, replication.RollBack))
			if got, err := p.b.Sum(p.ctx(), p.to("x")); err != nil || got != want {
				p.t.Errorf("it holds %s, %v, want what was received last, %s", got, err, want)
			}
		}},
		{"promoteAndKeepChanges", func(p *pair) {
			p.replicated("x")
			p.byHand("x")
			want, err := p.b.Sum(p.ctx(), p.to("x"))
			p.must(err)
			_, err = (replication.Promotion{Job: p.job, Receiver: p.b.local}).Run(p.ctx())
			var c *replication.Conflict
			if !errors.As(err, &c) {
				p.t.Fatalf("promote: %v", err)
			}
			p.promote(p.option(c, replication.Keep))
			if got, err := p.b.Sum(p.ctx(), p.to("x")); err != nil || got != want {
				p.t.Errorf("it holds %s, %v, want what was written, %s", got, err, want)
			}
		}},
		{"promoteWithPartialReceive", func(p *pair) {
			p.replicated()
			p.write("")
			p.snapshot("2")
			p.cut("")
			p.promote()
			f := p.listing(p.b, p.dst).Find(p.dst)
			if f.Token != "" || len(f.Snapshots()) != 1 {
				p.t.Errorf("promoted: %+v", f)
			}
			p.writeOn(p.b, p.dst)
		}},
		{"promoteWhatWasReceivedAndNotCompleted", func(p *pair) {
			p.replicated("x")
			p.write("x")
			p.snapshot("2")
			p.incomplete() // the primary has lost its power
			want, err := p.a.Sum(p.ctx(), p.from("x@2"))
			p.must(err)
			p.promote() // nothing is in doubt
			if got, err := p.b.Sum(p.ctx(), p.to("x")); err != nil || got != want {
				p.t.Errorf("it holds %s, %v, want what was received last, %s", got, err, want)
			}
		}},
		{"promoteBeforeAnything", func(p *pair) {
			_, err := (replication.Promotion{Job: p.job, Receiver: p.b.local}).Run(p.ctx())
			if !errors.Is(err, zfs.ErrNotExist) {
				p.t.Errorf("promote: %v", err)
			}
		}},
		{"promoteWithPlaceholders", func(p *pair) {
			p.create("x", "x/y")
			p.write("x/y")
			p.job.Filter = []replication.Rule{{Path: p.from("x/y"), Include: true}, {Path: p.from("x"), Include: false}}
			p.snapshot("1")
			p.ok()
			p.promote()
			p.must(p.b.Create(p.ctx(), p.to("x/new"), zfs.CreateOptions{}))
			p.writeOn(p.b, p.to("x/new"))
		}},
		{"promoteReplicasOfAnotherJob", func(p *pair) {
			p.replicated("x")
			was := p.job.ID
			p.job.ID = reverseID // the documents are declared anew
			before := p.b.faulty.Calls()
			_, err := (replication.Promotion{Job: p.job, Receiver: p.b.local}).Run(p.ctx())
			if !errors.Is(err, zfs.ErrNotExist) || !strings.Contains(err.Error(), was) {
				p.t.Errorf("promote: %v", err)
			}
			if calls := p.b.faulty.Calls(); len(calls) != len(before) {
				p.t.Errorf("it did %v", calls[len(before):])
			}
			p.job.ID = was
			if root := p.listing(p.b, p.dst).Roots[0]; root.Generation != 0 {
				p.t.Errorf("the root: %+v", root)
			}
			p.ok()
		}},
		{"promoteWhatIsNoReplica", func(p *pair) {
			p.must(p.b.Create(p.ctx(), p.dst, zfs.CreateOptions{}))
			_, err := (replication.Promotion{Job: p.job, Receiver: p.b.local}).Run(p.ctx())
			if !errors.Is(err, zfs.ErrNotExist) {
				p.t.Errorf("promote: %v", err)
			}
			if root := p.listing(p.b, p.dst).Roots[0]; root.Generation != 0 || root.Promoting {
				p.t.Errorf("the root: %+v", root)
			}
		}},
		{"promoteBeforeTheFirstSnapshotIsWhole", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.cut("")
			_, err := (replication.Promotion{Job: p.job, Receiver: p.b.local}).Run(p.ctx())
			if !errors.Is(err, zfs.ErrNotExist) {
				p.t.Errorf("promote: %v", err)
			}
			if f := p.listing(p.b, p.dst).Find(p.dst); f == nil || f.Token == "" {
				p.t.Errorf("what was received: %+v", f)
			}
			if report := p.ok(); report.Plan.Steps[0].Token == "" {
				p.t.Errorf("step %+v, want one that goes on", report.Plan.Steps[0])
			}
		}},
		{"fenceCutAtEachCall", func(p *pair) {
			for skip := 0; ; skip++ {
				p.replicated("x")
				p.must(p.a.Set(p.ctx(), p.from("x"), map[string]string{"readonly": "off"}))
				p.promote()
				p.a.faulty.Restart()
				p.a.faulty.Order(zfstest.Fault{Skip: skip, After: skip%2 == 0, Crash: true})
				_, err := p.run()
				p.a.faulty.Restart()
				p.fails(replication.ErrFenced)
				if err := p.tryWrite(p.a, p.from("x")); !errors.Is(err, zfs.ErrReadOnly) {
					p.t.Errorf("write after a crash at call %d: %v", skip, err)
				}
				if !errors.Is(err, zfstest.ErrCrashed) {
					break
				}
				p.fresh()
			}
		}},
		{"cutFenceIsUndoneByAFailover", func(p *pair) {
			p.replicated("x")
			p.promote()
			p.a.faulty.Order(zfstest.Fault{Method: "Set", Skip: 1, Crash: true}) // the tree is read-only, and knows of no generation
			p.fails(zfstest.ErrCrashed)
			p.a.faulty.Restart()
			if root := p.listing(p.a, p.src).Roots[0]; !root.Frozen || root.Generation != 0 {
				p.t.Errorf("the root: %+v", root)
			}
			back := p.job.Reverse(replication.ReverseID(p.job.ID))
			if g, err := (replication.Promotion{Job: back, Receiver: p.a.local}).Run(p.ctx()); err != nil || g != 2 {
				p.t.Fatalf("failover: generation %d, %v, want 2", g, err)
			}
			p.write("", "x")
		}},
		{"thereAndBackThrice", func(p *pair) {
			p.replicated("x")
			for i, name := range []string{"2", "3", "4"} {
				if g := p.promote(); g != uint64(i+1) {
					p.t.Errorf("generation %d, want %d", g, i+1)
				}
				back := p.reversed()
				back.write("x")
				back.snapshot(name)
				back.ok()
				p.forget()
				p = back
			}
		}},
	}
}
