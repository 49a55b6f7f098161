package replication_test

import (
	"slices"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// scenario is one course of events. It is the same on the model and on real OpenZFS.
type scenario struct {
	name string
	run  func(*pair)
}

// scenarios is the list of all of them.
func scenarios() []scenario {
	var all []scenario
	for _, some := range [][]scenario{plainScenarios(), killScenarios(), conflictScenarios(), guaranteeScenarios(), treeScenarios(), failoverScenarios(), failbackScenarios()} {
		all = append(all, some...)
	}
	return all
}

// shortScenarios are those that a short run on real OpenZFS has: a step that is gone on with, and the change of roles. All of
// them take more than an hour there, in a machine without hardware support.
func shortScenarios() []string {
	return []string{"resumesAfterKilledReceiver", "failover"}
}

// runScenarios runs those of the names, or all.
func runScenarios(t *testing.T, make systems, names ...string) {
	for _, s := range scenarios() {
		if len(names) > 0 && !slices.Contains(names, s.name) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			s.run(newPair(t, make))
		})
	}
}

func TestScenarios(t *testing.T) { runScenarios(t, models) }

// TestScenarioCount: the number is promised.
func TestScenarioCount(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range scenarios() {
		if seen[s.name] {
			t.Errorf("two scenarios have the name %s", s.name)
		}
		seen[s.name] = true
	}
	for _, name := range shortScenarios() {
		if !seen[name] {
			t.Errorf("the short run has a scenario %s, and there is none", name)
		}
	}
	if len(seen) < 40 {
		t.Errorf("%d scenarios, want at least 40", len(seen))
	}
}

func plainScenarios() []scenario {
	return []scenario{
		{"initialAll", func(p *pair) {
			p.create("x", "x/y")
			p.write("", "x")
			p.snapshot("1")
			p.write("x", "x/y")
			p.snapshot("2")
			p.ok()
			if got := len(p.listing(p.b, p.dst).Find(p.to("x/y")).Snapshots()); got != 2 {
				p.t.Errorf("%d snapshots, want both", got)
			}
		}},
		{"initialLatest", func(p *pair) {
			p.job.Initial = replication.Latest
			p.write("")
			p.snapshot("1")
			p.write("")
			p.snapshot("2")
			p.ok()
			if got := len(p.listing(p.b, p.dst).Find(p.dst).Snapshots()); got != 1 {
				p.t.Errorf("%d snapshots, want the latest alone", got)
			}
		}},
		{"incremental", func(p *pair) {
			for _, name := range []string{"1", "2", "3"} {
				p.write("")
				p.snapshot(name)
				p.ok()
			}
		}},
		{"nothingNew", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.ok()
			before := p.b.faulty.Calls()
			report := p.ok()
			if calls := p.b.faulty.Calls(); len(calls) != len(before) || len(report.Plan.Current) != 1 {
				p.t.Errorf("a run with nothing to do did %v, plan %+v", calls[len(before):], report.Plan)
			}
		}},
		{"noSnapshotYet", func(p *pair) {
			p.create("x")
			p.write("x")
			p.only("x@1")
			report := p.ok() // the root becomes a placeholder
			if len(report.Plan.Empty) != 1 || !p.listing(p.b, p.dst).Find(p.dst).Placeholder {
				p.t.Errorf("plan %+v", report.Plan)
			}
			p.write("")
			p.snapshot("2")
			p.ok() // and then a replica
			if p.listing(p.b, p.dst).Find(p.dst).Placeholder {
				p.t.Error("the root is a placeholder still")
			}
		}},
		{"commonSnapshotDestroyed", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.ok()
			p.must(p.a.Destroy(p.ctx(), p.from("@1"))) // the cursor stays
			p.write("")
			p.snapshot("2")
			if report := p.ok(); !report.Plan.Steps[0].From.Bookmark {
				p.t.Errorf("step %+v, want one from a bookmark", report.Plan.Steps[0])
			}
		}},
		{"snapshotRenamed", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.ok()
			p.must(p.a.Rename(p.ctx(), p.from("@1"), p.from("@old")))
			p.write("")
			p.snapshot("2")
			p.ok()
		}},
		{"nameTakenAfterThePlan", func(p *pair) {
			p.replicated()
			p.write("")
			p.snapshot("2")
			p.a.faulty.Order(zfstest.Fault{Method: "Estimate", Do: func() {
				p.must(p.a.Rename(p.ctx(), p.from("@2"), p.from("@two")))
				p.only("@2")
			}})
			_, err := p.run()
			p.must(err)
			if r := p.listing(p.b, p.dst).Find(p.dst).Snapshots(); len(r) != 2 || r[1].Name != "two" {
				p.t.Errorf("%+v were received, want the snapshot of the plan", r)
			}
			p.ok() // and now the one that took its name
		}},
		{"snapshotFilter", func(p *pair) {
			p.job.Snapshots = []string{"daily-", "weekly-"}
			for _, name := range []string{"daily-1", "hourly-1", "weekly-1"} {
				p.write("")
				p.snapshot(name)
			}
			p.ok()
			if got := len(p.listing(p.b, p.dst).Find(p.dst).Snapshots()); got != 2 {
				p.t.Errorf("%d snapshots, want 2", got)
			}
		}},
		{"clockGoesBack", func(p *pair) {
			p.create("x")
			for _, name := range []string{"1", "2", "3"} {
				p.write("", "x")
				p.snapshot(name)
				if m, ok := p.a.System.(*zfstest.Model); ok {
					m.Advance(-24 * 3600e9)
				}
			}
			report := p.ok()
			for i, step := range report.Plan.Steps {
				if want := []string{"1", "1", "2", "2", "3", "3"}[i]; step.To.Name != want {
					p.t.Errorf("step %d is of %s, want %s", i, step.To.Name, want)
				}
			}
		}},
		{"retentionOnReceiver", func(p *pair) {
			for _, name := range []string{"1", "2", "3"} {
				p.write("")
				p.snapshot(name)
			}
			p.ok()
			p.must(p.b.DestroySnapshots(p.ctx(), []string{p.to("@1"), p.to("@2")}))
			if err := p.b.Destroy(p.ctx(), p.to("@3")); err == nil {
				p.t.Error("what was received last could be destroyed")
			}
			p.write("")
			p.snapshot("4")
			p.ok()
		}},
		{"snapshotOfSameContents", func(p *pair) {
			p.write("")
			for _, name := range []string{"1", "2", "3"} {
				p.snapshot(name)
				p.ok()
			}
		}},
		{"properties", func(p *pair) {
			p.job.Properties = true
			p.must(p.a.Create(p.ctx(), p.from("x"), zfs.CreateOptions{Properties: map[string]string{"mountpoint": "none", "atime": "off", "canmount": "noauto"}}))
			p.snapshot("1")
			p.ok()
			found, err := p.b.List(p.ctx(), zfs.Query{Roots: []string{p.to("x")}, Kinds: []zfs.Kind{zfs.Filesystem}, Properties: []string{"atime"}})
			p.must(err)
			if got := found[0].Properties["atime"]; got.Value != "off" || got.Source != zfs.SourceReceived {
				p.t.Errorf("atime: %+v", got)
			}
		}},
		{"volume", func(p *pair) {
			p.must(p.a.Create(p.ctx(), p.from("v"), zfs.CreateOptions{SizeBytes: 16 << 20, Sparse: true}))
			p.snapshot("1")
			p.ok()
			p.snapshot("2")
			p.ok()
			if got := p.listing(p.b, p.dst).Find(p.to("v")); got == nil || got.Kind != zfs.Volume || len(got.Snapshots()) != 2 {
				p.t.Errorf("volume: %+v", got)
			}
		}},
		{"twoJobsOfOneSource", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.ok()
			one := p.job
			p.job.ID, p.job.Roots = reverseID, []replication.Root{{Source: p.src, Target: p.dst + "-two"}}
			dst := p.dst
			p.dst += "-two"
			p.ok()
			p.write("")
			p.snapshot("2")
			p.ok()
			p.job, p.dst = one, dst
			p.ok() // from its own cursor
		}},
		{"rateLimit", func(p *pair) {
			p.job.BytesPerSecond = 1 << 30
			p.write("")
			p.snapshot("1")
			p.ok()
		}},
		{"severalAtOnce", func(p *pair) {
			p.job.Steps = 3
			p.create("x", "x/y", "z", "w")
			for _, name := range []string{"1", "2", "3"} {
				p.write("", "x", "x/y", "z")
				p.snapshot(name)
			}
			p.ok()
		}},
	}
}
