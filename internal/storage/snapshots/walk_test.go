package snapshots

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

var seed = flag.Uint64("seed", 0, "the random walk to take again")

// randomPolicy has any rules, of which some may be absent.
func randomPolicy(r *rand.Rand, name string) Policy {
	n := func(most int) int { return max(0, r.IntN(2*most)-most) }
	p := Policy{
		Name: name, Prefix: name + "-", Targets: []Target{{Dataset: "tank", Recursive: true, Exclude: []string{"tank/out"}}},
		Keep: Retention{Last: n(6), Hourly: n(10), Daily: n(8), Weekly: n(5), Monthly: n(4), Yearly: n(3)},
	}
	if r.IntN(3) == 0 {
		p.Keep.MinAge = time.Duration(r.IntN(72)) * time.Hour
	}
	if r.IntN(3) == 0 {
		p.Keep.Matching = regexp.MustCompile("00Z$")
	}
	p.When = []Schedule{{}, {Every: time.Hour}, {Every: 7 * time.Hour}, {Calendar: Daily, Hour: 3}, {Calendar: Hourly, Minute: 30}}[r.IntN(5)]
	return p
}

// mustStay says by each rule for itself, written down in another way than Judge, whether it keeps a snapshot.
func mustStay(p Policy, obs Observed, dataset string, s Snapshot) string {
	var own []Snapshot
	for _, o := range obs.Datasets[dataset] {
		if isOf(p.Prefix, o.Name) {
			own = append(own, o)
		}
	}
	newer := func(counts func(Snapshot) bool) int {
		n := 0
		for _, o := range own {
			if o.CreateTXG > s.CreateTXG && counts(o) {
				n++
			}
		}
		return n
	}
	switch {
	case !isOf(p.Prefix, s.Name):
		return "another's"
	case newer(func(Snapshot) bool { return true }) < max(1, p.Keep.Last):
		return "last"
	case obs.Bases[s.GUID] != "":
		return "base"
	case p.Keep.Matching != nil && p.Keep.Matching.MatchString(s.Name):
		return "name"
	case p.Keep.MinAge > 0 && obs.Clock.Now.Sub(s.Created) < p.Keep.MinAge:
		return "age"
	}
	for layout, n := range map[string]int{"2006010215": p.Keep.Hourly, "20060102": p.Keep.Daily, "200601": p.Keep.Monthly, "2006": p.Keep.Yearly, "week": p.Keep.Weekly} {
		unit := func(o Snapshot) string {
			if layout != "week" {
				return o.Created.UTC().Format(layout)
			}
			year, week := o.Created.UTC().ISOWeek()
			return fmt.Sprint(year, week)
		}
		others := map[string]bool{}
		last := newer(func(o Snapshot) bool {
			if unit(o) != unit(s) {
				others[unit(o)] = true
			}
			return unit(o) == unit(s)
		}) == 0
		if last && len(others) < n {
			return layout
		}
	}
	return ""
}

// TestRandomWalk lets time pass, the clock jump, people hold, clone and make snapshots, and bases move. After each step: nothing is destroyed that a rule
// keeps, all else is that can be, the second pass does nothing, and of one time no policy makes two.
func TestRandomWalk(t *testing.T) {
	start := *seed
	if start == 0 {
		start = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", start)
	for i := range uint64(6) {
		walk(t, rand.New(rand.NewPCG(start, i)))
		if t.Failed() {
			t.Fatalf("in walk %d of -seed %d", i, start)
		}
	}
}

func walk(t *testing.T, r *rand.Rand) {
	m := newModel("tank", "tank/a", "tank/out", "tank/b")
	bases := Bases{}
	domain := New(m, m.clock, func(context.Context) (Bases, Unknown, error) { return bases, nil, nil })
	spec := Spec{Policies: []Policy{randomPolicy(r, "p"), randomPolicy(r, "q")}}
	for range 60 {
		disturb(r, m, bases)
		obs, err := domain.Observe(context.Background(), spec)
		if err != nil {
			t.Fatal(err)
		}
		before := len(m.snapshots)
		ops := domain.Diff(spec, obs)
		gone := checkOps(t, spec, obs, ops)
		for _, op := range ops {
			if err := domain.Apply(context.Background(), spec, op); err != nil {
				t.Fatal(err)
			}
			if op.Verb == Make {
				before += len(op.Snapshots)
			}
		}
		if got, want := len(m.snapshots), before-len(gone); got != want {
			t.Fatalf("%d snapshots are left, want %d", got, want)
		}
		// What was made may push others out; after that there is nothing left to do.
		for round := range 3 {
			obs, err := domain.Observe(context.Background(), spec)
			if err != nil {
				t.Fatal(err)
			}
			again := domain.Diff(spec, obs)
			checkOps(t, spec, obs, again)
			if round == 0 {
				again = slices.DeleteFunc(again, func(o Op) bool { return o.Verb == Prune && len(ops) > 0 && apply(t, domain, o) })
			}
			if len(again) > 0 {
				t.Fatalf("in round %d there is still something to do: %v", round, again)
			}
		}
	}
}

func apply(t *testing.T, domain *Reconciler, op Op) bool {
	if err := domain.Apply(context.Background(), Spec{}, op); err != nil {
		t.Fatal(err)
	}
	return true
}

// disturb is what happens between two passes.
func disturb(r *rand.Rand, m *model, bases Bases) {
	m.pass(time.Duration(r.Int64N(int64(9 * time.Hour))))
	switch r.IntN(12) {
	case 0:
		m.now = m.now.Add(time.Duration(r.Int64N(int64(2000 * time.Hour))))
	case 1:
		m.now = m.now.Add(-time.Duration(r.Int64N(int64(2000 * time.Hour))))
	case 2:
		name := fmt.Sprintf("tank/a@%s-by-hand-%d", []string{"p", "mine"}[r.IntN(2)], m.txg)
		_ = m.Snapshot(context.Background(), []string{name}, nil)
	}
	for name, s := range m.snapshots {
		switch r.IntN(60) {
		case 0:
			s.tags = append(s.tags, "t")
		case 1:
			s.clones = append(s.clones, "tank/c")
		case 2, 3, 4:
			s.tags, s.clones = nil, nil
		case 5:
			if dataset, _, _ := strings.Cut(name, "@"); dataset != "tank/out" {
				clear(bases)
				bases[zfs.GUID(s.txg*1000+uint64(len(name)))] = "job"
			}
		}
	}
}

// checkOps holds operations against the rules, and returns what is destroyed.
func checkOps(t *testing.T, spec Spec, obs Observed, ops []Op) map[string]bool {
	t.Helper()
	gone := map[string]bool{}
	made := map[string]bool{}
	for _, op := range ops {
		for _, name := range op.Snapshots {
			if gone[name] || made[name] {
				t.Fatalf("%s is there twice in %v", name, ops)
			}
			dataset, short, _ := strings.Cut(name, "@")
			if op.Verb == Make {
				if obs.taken(dataset, short) {
					t.Fatalf("%s is made, and is there", name)
				}
				made[name] = true
				continue
			}
			gone[name] = true
		}
	}
	for dataset, list := range obs.Datasets {
		for _, s := range list {
			whole := dataset + "@" + s.Name
			may := false
			for _, p := range spec.Policies {
				may = may || p.covers(dataset) && !p.Keep.keepsAll() && mustStay(p, obs, dataset, s) == ""
			}
			may = may && s.Holds == 0 && len(s.Clones) == 0 && obs.Refused[whole] == ""
			if gone[whole] != may {
				t.Fatalf("%s: it is destroyed: %t, and may be: %t", whole, gone[whole], may)
			}
		}
	}
	return gone
}

// many are n snapshots of each dataset, one each 15 minutes.
func many(datasets, n int) (Spec, Observed) {
	now := time.Date(2026, 3, 1, 12, 7, 0, 0, time.UTC)
	obs := Observed{Clock: Clock{Now: now}, Datasets: map[string][]Snapshot{}, Bases: Bases{}}
	for d := range datasets {
		name := fmt.Sprintf("tank/d%03d", d)
		for i := range n {
			at := now.Add(-time.Duration(n-i) * 15 * time.Minute)
			obs.Datasets[name] = append(obs.Datasets[name], Snapshot{
				Name: Name("p-", at, func(string) bool { return false }), GUID: zfs.GUID(d*n + i), CreateTXG: uint64(i), Created: at,
			})
		}
	}
	spec := Spec{Policies: []Policy{{
		Name: "p", Prefix: "p-", Targets: []Target{{Dataset: "tank", Recursive: true}}, When: Schedule{Every: 15 * time.Minute},
		Keep: Retention{Last: 8, Hourly: 48, Daily: 14, Weekly: 8, Monthly: 12, Yearly: 2, MinAge: time.Hour},
	}}}
	return spec, obs
}

// BenchmarkDiff plans 10,000 snapshots: of one dataset, and of 200.
func BenchmarkDiff(b *testing.B) {
	for _, datasets := range []int{1, 200} {
		spec, obs := many(datasets, 10000/datasets)
		b.Run(fmt.Sprintf("datasets=%d", datasets), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ops := Diff(spec, obs); len(ops) == 0 {
					b.Fatal("there is nothing to do")
				}
			}
		})
	}
}

// TestManySnapshots: the plan of 10,000 is far from the second that a pass may take on a slow node, and in batches.
func TestManySnapshots(t *testing.T) {
	spec, obs := many(200, 50)
	started := time.Now()
	ops := Diff(spec, obs)
	if took := time.Since(started); took > time.Second {
		t.Errorf("the plan took %s", took)
	}
	n := 0
	for _, op := range ops {
		if len(op.Snapshots) > maxBatch {
			t.Errorf("%d snapshots at once", len(op.Snapshots))
		}
		n += len(op.Snapshots)
	}
	if want := 200 * (50 - len(kept(spec, obs))); n != want || len(ops) != (want+maxBatch-1)/maxBatch {
		t.Errorf("%d snapshots go in %d operations, want %d", n, len(ops), want)
	}
}

func kept(spec Spec, obs Observed) []Verdict {
	return slices.DeleteFunc(spec.Policies[0].Judge("tank/d000", obs), func(v Verdict) bool { return v.Fate != Stays })
}
