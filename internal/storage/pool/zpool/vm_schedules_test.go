package zpool_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestVMSchedules: a declared pool is scrubbed and trimmed by its schedules, and the node's own pool, which is not declared, is scrubbed each month: once at each of the times, by
// when ZFS says that it was done last.
func TestVMSchedules(t *testing.T) {
	z := vm(t)
	ctx := t.Context()
	f := &folder{t: t, dir: t.TempDir(), memory: map[string]zfs.GUID{}}
	files(t, f.dir, "d1", "d2")
	unmounted := map[string]string{"mountpoint": "none", "canmount": "off"}
	must(t, z.Create(ctx, pool.Creation{Pool: "node", Groups: []pool.Group{{Devices: files(t, t.TempDir(), "own")}}, FileSystem: unmounted}))
	now := time.Now()
	r := pool.New(z, f, f, func() time.Time { return now })
	monthly := snapshots.Schedule{Calendar: snapshots.Monthly, Day: 1, Hour: 3}
	mirror := pool.VdevSpec{Layout: pool.Mirror, Disks: []disk.Selector{{Serial: "d1"}, {Serial: "d2"}}}
	spec := pool.Spec{Own: "node", Pools: []pool.PoolSpec{{Name: "tank", Vdevs: []pool.VdevSpec{mirror}, Scrub: monthly, Trim: monthly}}}
	look := func() pool.Observed {
		t.Helper()
		obs, err := r.Observe(ctx, spec)
		must(t, err)
		return obs
	}
	words := func(ops []pool.Op) []string {
		var out []string
		for _, o := range ops {
			out = append(out, string(o.Verb)+" "+o.Pool)
		}
		return out
	}
	const scrubOfTank, scrubOfNode = string(pool.StartScrub) + " tank", string(pool.StartScrub) + " node"
	pass := func(what string, want ...string) {
		t.Helper()
		ops := r.Diff(spec, look())
		if d := cmp.Diff(want, words(ops)); d != "" {
			t.Fatalf("%s (-want +got):\n%s", what, d)
		}
		for _, o := range ops {
			must(t, r.Apply(ctx, spec, o))
		}
	}

	// What was never done is due.
	pass("a pool that is made, beside the node's own", string(pool.CreatePool)+" tank", scrubOfNode)
	pass("a pool that was made", string(pool.Remember)+" tank", scrubOfTank)
	wait(t, "tank", "scrub")
	wait(t, "node", "scrub")
	pass("a pool that was scrubbed", string(pool.StartTrim)+" tank")
	wait(t, "tank", "trim")

	last := map[string]time.Time{}
	obs := look()
	for _, name := range []string{"tank", "node"} {
		p := obs.Pools[slices.IndexFunc(obs.Pools, func(p pool.Pool) bool { return p.Name == name })]
		if last[name] = p.LastScrub(); p.Scan.Function != pool.Scrub || p.Scan.Progress != pool.Finished || p.Scan.Errors != 0 || now.Sub(last[name]).Abs() > time.Hour {
			t.Fatalf("the first scrub of %s, at %s: %+v", name, now, p.Scan)
		}
	}
	const day = 24 * time.Hour
	next := monthly.Next(last["tank"])
	own, declared := pool.Spec{Own: spec.Own}, pool.Spec{Pools: spec.Pools}
	for _, c := range []struct {
		what string
		spec pool.Spec
		at   time.Time
		want []string
	}{
		{"when all is done", spec, now, nil},
		{"before the first of the month", declared, next.Add(-time.Second), nil},
		{"on the first of the month", declared, next, []string{scrubOfTank}},
		{"before four weeks are over", own, last["node"].Add(28*day - time.Second), nil},
		{"when a month is over", own, last["node"].Add(31 * day), []string{scrubOfNode}},
	} {
		obs.Now = c.at
		ops, conditions := pool.Plan(c.spec, obs)
		if d := cmp.Diff(c.want, words(ops)); d != "" || len(conditions) > 0 {
			t.Errorf("%s, at %s: %v (-want +got):\n%s", c.what, c.at, conditions, d)
		}
	}

	// ZFS keeps whole seconds, by which the second scrub is told from the first.
	eventually(t, "the second in which the last scrub ended is over", func() bool { return min(time.Since(last["tank"]), time.Since(last["node"])) > 1200*time.Millisecond })
	now = now.Add(32 * day)
	pass("a month later", scrubOfTank, scrubOfNode)
	wait(t, "tank", "scrub")
	wait(t, "node", "scrub")
	for _, p := range look().Pools {
		if s := p.Scan; s.Function != pool.Scrub || s.Progress != pool.Finished || s.Errors != 0 || !s.Start.After(last[p.Name]) {
			t.Errorf("the second scrub of %s, after %s: %+v", p.Name, last[p.Name], s)
		}
	}
}
