package replication_test

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// lying is a receiver whose contents are never the same.
type lying struct{ replication.Receiver }

// Checksum implements replication.Endpoint.
func (lying) Checksum(context.Context, replication.ChecksumRequest) ([]byte, error) {
	return []byte("something else"), nil
}

func treeScenarios() []scenario {
	return []scenario{
		{"parentsBeforeChildren", func(p *pair) {
			p.create("b", "a", "a/c")
			p.snapshot("1")
			p.snapshot("2")
			report := p.ok()
			var order []string
			for _, s := range report.Plan.Steps {
				order = append(order, s.Source[len(p.src):]+"@"+s.To.Name)
			}
			want := []string{"@1", "/a@1", "/a/c@1", "/b@1", "@2", "/a@2", "/a/c@2", "/b@2"}
			if diff := cmp.Diff(want, order); diff != "" {
				p.t.Errorf("order (-want +got):\n%s", diff)
			}
		}},
		{"parentFailureBlocksChild", func(p *pair) {
			p.create("x", "x/y", "z")
			p.snapshot("1")
			p.b.faulty.Order(zfstest.Fault{Method: "Receive", Skip: 1, Err: zfs.ErrInvalid}) // of x
			report, err := p.run()
			if !errors.Is(err, zfs.ErrInvalid) {
				p.t.Fatalf("run: %v", err)
			}
			failed := map[string]bool{}
			for _, f := range report.FileSystems {
				failed[f.Source] = f.Err != nil
			}
			want := map[string]bool{p.src: false, p.from("x"): true, p.from("x/y"): true, p.from("z"): false}
			if diff := cmp.Diff(want, failed); diff != "" {
				p.t.Errorf("failed (-want +got):\n%s", diff)
			}
			p.ok()
		}},
		{"nothingIsBegunOnASuspendedPool", func(p *pair) {
			p.replicated("x", "z")
			p.write("", "x", "z")
			p.snapshot("2")
			p.b.faulty.Restart()
			for range 2 * p.job.Attempts {
				p.b.faulty.Order(zfstest.Fault{Method: "Receive", Err: zfs.ErrSuspended})
			}
			report, err := p.run()
			if !errors.Is(err, zfs.ErrSuspended) {
				p.t.Fatalf("run: %v", err)
			}
			received := slices.DeleteFunc(p.b.faulty.Calls(), func(call string) bool { return call != "Receive" })
			if len(received) != 2*p.job.Attempts {
				p.t.Errorf("%d receives, want those of two datasets: %d", len(received), 2*p.job.Attempts)
			}
			told := 0
			for _, f := range report.FileSystems {
				if f.Err != nil && strings.Contains(f.Err.Error(), "not begun") {
					told++
				}
			}
			if told != 1 {
				p.t.Errorf("%d datasets are told of that were not begun, want 1: %v", told, err)
			}
			p.b.faulty.Restart()
			p.ok()
		}},
		{"oneThatHangsKeepsNoOther", func(p *pair) {
			p.replicated("x", "z")
			p.write("", "x", "z")
			p.snapshot("2")
			for range p.job.Attempts {
				p.b.faulty.Order(zfstest.Fault{Method: "Receive", Err: zfs.ErrSuspended})
			}
			report, err := p.run()
			if !errors.Is(err, zfs.ErrSuspended) {
				p.t.Fatalf("run: %v", err)
			}
			failed := map[string]bool{}
			for _, f := range report.FileSystems {
				failed[f.Source] = f.Err != nil
			}
			want := map[string]bool{p.src: true, p.from("x"): false, p.from("z"): false}
			if diff := cmp.Diff(want, failed); diff != "" {
				p.t.Errorf("failed (-want +got), %v:\n%s", err, diff)
			}
			p.b.faulty.Restart()
			p.ok()
		}},
		{"parentConflictBlocksNewChild", func(p *pair) {
			p.replicated("x", "x/old")
			p.byHand("x")
			p.create("x/new")
			p.write("x/old")
			p.snapshot("2")
			report, _ := p.run()
			if c := report.Conflict(p.from("x")); c == nil || c.Kind != replication.Modified {
				p.t.Errorf("conflict: %v", c)
			}
			// What has a place can go on.
			if r := p.listing(p.b, p.dst); len(r.Find(p.to("x/old")).Snapshots()) != 2 || r.Find(p.to("x/new")) == nil {
				p.t.Errorf("children of what is in conflict\n%s", p.states())
			}
			p.ok(p.option(report.Conflict(p.from("x")), replication.RollBack))
		}},
		{"blockedChildSaysWhy", func(p *pair) {
			p.replicated("x")
			p.must(p.a.Rename(p.ctx(), p.from("x"), p.from("z")))
			p.create("z/new")
			p.snapshot("2")
			report, err := p.run()
			want := []replication.Blocked{{
				Source: p.from("z/new"), Target: p.to("z/new"), By: p.to("z"), Reason: "it is received below " + p.to("z") + ", which is not there",
			}}
			if diff := cmp.Diff(want, report.Plan.Blocked); diff != "" || err == nil {
				p.t.Errorf("blocked (-want +got), %v:\n%s", err, diff)
			}
			p.ok(p.option(report.Conflict(p.from("z")), replication.FollowRename))
		}},
		{"rawOfUnencrypted", func(p *pair) {
			p.create("w")
			p.snapshot("1")
			p.job.Stream.Raw, p.job.Encryption = true, replication.EncryptionRaw
			p.conflict("w", replication.EncryptionDiffers)
			if p.listing(p.b, p.dst).Find(p.dst) != nil {
				p.t.Error("something was received all the same")
			}
		}},
		{"filter", func(p *pair) {
			p.create("x", "x/y", "x/y/z", "w")
			p.write("x", "x/y", "w")
			p.job.Filter = []replication.Rule{{Path: p.from("x/y"), Include: true}, {Path: p.from("x"), Include: false}}
			p.snapshot("1")
			p.ok()
			r := p.listing(p.b, p.dst)
			if x := r.Find(p.to("x")); x == nil || !x.Placeholder || len(x.Snapshots()) != 0 || r.Find(p.to("x/y/z")) == nil {
				p.t.Errorf("what the filter made\n%s", p.states())
			}
		}},
		{"filterTakesIn", func(p *pair) {
			p.create("x", "x/y")
			p.write("x", "x/y")
			p.job.Filter = []replication.Rule{{Path: p.from("x/y"), Include: true}, {Path: p.from("x"), Include: false}}
			p.snapshot("1")
			p.ok()
			p.job.Filter = nil
			p.snapshot("2")
			p.ok() // the placeholder becomes a replica, with what is below it
		}},
		{"placeholderCutInItsMiddle", func(p *pair) {
			p.create("x")
			p.only("x@1")
			p.ok()
			p.write("")
			p.only("@2")
			p.cut("")
			p.ok()
		}},
		{"chainedPlaceholders", func(p *pair) {
			p.create("x", "x/y")
			p.write("x/y")
			p.only("x/y@1")
			p.ok()
			// The replica is replicated on, placeholders and all, to a third place on the first machine.
			chain := &pair{t: p.t, a: p.b, b: p.a, job: p.job, src: p.dst, dst: p.a.Name("third%d", p.many), now: p.now, rand: p.rand, many: p.many, bytes: p.bytes}
			chain.job.ID, chain.job.Roots = reverseID, []replication.Root{{Source: chain.src, Target: chain.dst}}
			chain.ok()
			third := chain.listing(p.a, chain.dst)
			if x := third.Find(chain.to("x")); x == nil || !x.Placeholder || third.Find(chain.to("x/y")).Placeholder {
				p.t.Errorf("third\n%s", p.states())
			}
			p.write("x/y")
			p.only("x/y@2")
			p.ok()
			chain.ok()
		}},
		{"datasetRenamed", func(p *pair) {
			p.replicated("x", "x/y")
			p.must(p.a.Rename(p.ctx(), p.from("x"), p.from("z")))
			p.write("z/y")
			p.snapshot("2")
			c := p.conflict("z", replication.Renamed)
			if p.listing(p.b, p.dst).Find(p.to("z")) != nil {
				p.t.Error("it was sent anew")
			}
			p.ok(p.option(c, replication.FollowRename))
			if r := p.listing(p.b, p.dst); r.Find(p.to("x")) != nil || len(r.Find(p.to("z/y")).Snapshots()) != 2 {
				p.t.Errorf("renamed\n%s", p.states())
			}
		}},
		{"datasetRenamedInTheMiddleOfAStep", func(p *pair) {
			p.replicated("x")
			p.write("x")
			p.only("x@2")
			p.b.faulty.Order(zfstest.Fault{Method: "Receive", CutAt: p.late(), Crash: true})
			p.fails(nil)
			p.b.faulty.Restart()
			p.must(p.a.Rename(p.ctx(), p.from("x"), p.from("z")))
			c := p.conflict("z", replication.Renamed)
			p.ok(p.option(c, replication.FollowRename))
		}},
		{"datasetDestroyed", func(p *pair) {
			p.replicated("x")
			for _, name := range []string{"x@1", "x"} {
				p.must(p.a.Destroy(p.ctx(), p.from(name)))
			}
			p.write("")
			p.snapshot("2")
			report := p.ok()
			if diff := cmp.Diff([]string{p.to("x")}, report.Plan.Orphans); diff != "" {
				p.t.Errorf("orphans (-want +got):\n%s", diff)
			}
		}},
		{"replicaDestroyed", func(p *pair) {
			p.replicated("x")
			p.must(p.b.Release(p.ctx(), replication.LastTag(jobID), p.to("x@1")))
			for _, name := range []string{"x@1", "x"} {
				p.must(p.b.Destroy(p.ctx(), p.to(name)))
			}
			p.write("x")
			p.snapshot("2")
			p.ok() // made anew
		}},
		{"clone", func(p *pair) {
			p.replicated("x")
			p.must(p.a.Clone(p.ctx(), p.from("x@1"), p.from("c"), nil))
			p.write("c")
			p.snapshot("2")
			p.ok()
		}},
		{"clonePromoted", func(p *pair) {
			p.replicated("x")
			p.must(p.a.Clone(p.ctx(), p.from("x@1"), p.from("c"), nil))
			p.snapshot("2")
			p.ok()
			p.must(p.a.Promote(p.ctx(), p.from("c")))
			p.write("c", "x")
			p.snapshot("3")
			// The snapshot that x and its replica had in common from the beginning is c's now; its cursor is still x's.
			if _, err := p.run(); err != nil {
				p.t.Logf("what a person has to decide: %v", err)
			}
			if r := p.listing(p.b, p.dst); len(r.Find(p.to("x")).Snapshots()) < 2 {
				p.t.Errorf("something is gone\n%s", p.states())
			}
		}},
		{"rootIsMissing", func(p *pair) {
			p.replicated()
			p.must(p.a.Rename(p.ctx(), p.src, p.src+"-away"))
			if _, err := p.run(); err == nil {
				p.t.Error("a root that is gone is no error")
			}
			p.must(p.a.Rename(p.ctx(), p.src+"-away", p.src))
			p.ok()
		}},
		{"twoRoots", func(p *pair) {
			src, dst := p.a.Name("second%d", p.many), p.b.Name("seconddst%d", p.many)
			p.must(p.a.Create(p.ctx(), src, zfs.CreateOptions{}))
			p.must(p.a.Snapshot(p.ctx(), []string{src + "@1"}, nil))
			p.job.Roots = append(p.job.Roots, replication.Root{Source: src, Target: dst})
			p.write("")
			p.snapshot("1")
			p.ok()
			if r := p.listing(p.b, dst).Find(dst); r == nil || len(r.Snapshots()) != 1 {
				p.t.Errorf("the second root\n%s", p.states())
			}
		}},
		{"nothingAboveTheTarget", func(p *pair) {
			p.dst = p.b.Name("no%d/such", p.many)
			p.job.Roots[0].Target = p.dst
			p.write("")
			p.snapshot("1")
			p.fails(zfs.ErrNotExist)
			p.must(p.b.Create(p.ctx(), p.b.Name("no%d", p.many), zfs.CreateOptions{}))
			p.ok()
		}},
	}
}
