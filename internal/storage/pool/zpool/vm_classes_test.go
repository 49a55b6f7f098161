package zpool_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// classesPool is a pool with devices of every class, with some disks in its RAIDZ and some as its cache.
func classesPool(raidz, cache []string) pool.Spec {
	on := func(names ...string) []disk.Selector {
		var out []disk.Selector
		for _, n := range names {
			out = append(out, disk.Selector{Serial: n})
		}
		return out
	}
	return pool.Spec{Pools: []pool.PoolSpec{{
		Name: "tank", Cache: on(cache...), Spares: on("s1"), Vdevs: []pool.VdevSpec{
			{Layout: pool.RAIDZ1, Disks: on(raidz...)}, {Class: pool.Special, Layout: pool.Mirror, Disks: on("m1", "m2")},
			{Class: pool.Dedup, Layout: pool.Mirror, Disks: on("m3", "m4")}, {Class: pool.Log, Disks: on("l1")},
		},
	}}}
}

// TestVMDomainClasses: the domain, on the real program, makes a pool with devices of every class, finds it as it is declared, also when it has been imported again,
// adds a spare and a cache anew that were late at the import, makes its RAIDZ wider, and asks before it takes a device out.
func TestVMDomainClasses(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	f := &folder{t: t, dir: t.TempDir(), memory: map[string]zfs.GUID{}}
	files(t, f.dir, "d1", "d2", "d3", "d4", "m1", "m2", "m3", "m4", "l1", "c1", "s1")
	r := pool.New(z, f, f, time.Now)
	reach := func(what string, s pool.Spec, want ...pool.Verb) pool.PoolStatus {
		t.Helper()
		var done []pool.Verb
		for range 10 {
			obs, err := r.Observe(ctx, s)
			must(t, err)
			ops := r.Diff(s, obs)
			if len(ops) == 0 {
				status := r.Status(s, obs)
				if d := cmp.Diff(want, done); d != "" || !status.Ready || len(status.Pools) != 1 || len(status.Pools[0].Conditions) > 0 {
					t.Fatalf("%s: %+v\ndone (-want +got):\n%s", what, status, d)
				}
				return status.Pools[0]
			}
			for _, o := range ops {
				must(t, r.Apply(ctx, s, o))
				done = append(done, o.Verb)
			}
			wait(t, "tank", "raidz_expand")
		}
		t.Fatalf("%s: it does not settle: %q", what, done)
		return pool.PoolStatus{}
	}
	has := func(want map[pool.Class]int) {
		t.Helper()
		got := map[pool.Class]int{}
		for _, leaf := range one(t, z, "tank").Leaves() {
			got[leaf.Class]++
		}
		if !maps.Equal(want, got) {
			t.Errorf("the pool has devices %v, want %v", got, want)
		}
	}
	three := []string{"d1", "d2", "d3"}
	reach("make", classesPool(three, []string{"c1"}), pool.CreatePool, pool.Remember)
	has(map[pool.Class]int{pool.Normal: 3, pool.Special: 2, pool.Dedup: 2, pool.Log: 1, pool.Cache: 1, pool.Spare: 1})
	must(t, z.Export(ctx, "tank"))
	reach("import", classesPool(three, []string{"c1"}), pool.ImportPool)
	// A spare and a cache that were late at the import.
	guid, away := one(t, z, "tank").GUID, t.TempDir()
	must(t, z.Export(ctx, "tank"))
	for _, late := range []string{"s1", "c1"} {
		must(t, os.Rename(filepath.Join(f.dir, late), filepath.Join(away, late)))
	}
	must(t, z.Import(ctx, pool.Import{GUID: guid, Name: "tank", Devices: []string{f.dir}}))
	for _, late := range []string{"s1", "c1"} {
		must(t, os.Rename(filepath.Join(away, late), filepath.Join(f.dir, late)))
	}
	reach("they are here", classesPool(three, []string{"c1"}), pool.RenewDevice, pool.RenewDevice)
	for _, leaf := range one(t, z, "tank").Leaves() {
		if leaf.State != pool.Online && leaf.State != pool.Available {
			t.Errorf("once all are here, %s is %s", leaf.Name, leaf.State)
		}
	}
	four := append(three, "d4")
	reach("make wider", classesPool(four, []string{"c1"}), pool.ExpandRAIDZ)
	less := classesPool(four, nil)
	waiting := reach("a cache less, not confirmed", less).Waiting
	if len(waiting) != 1 {
		t.Fatalf("waiting: %v", waiting)
	}
	less.Confirmed = []pool.Confirmation{{Pool: "tank", Operation: waiting[0].String()}}
	reach("a cache less", less, pool.RemoveVdev)
	has(map[pool.Class]int{pool.Normal: 4, pool.Special: 2, pool.Dedup: 2, pool.Log: 1, pool.Spare: 1})
}
