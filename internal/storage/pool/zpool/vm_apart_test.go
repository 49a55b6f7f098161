package zpool_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestVMApart: of a mirror whose halves were each imported without the other, neither is written over before a person has said which is given up: not when the pool is
// imported, not beside the half that it was imported from, not by a scrub, and not by the next import.
func TestVMApart(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	f := &folder{t: t, dir: t.TempDir(), memory: map[string]zfs.GUID{}}
	away := t.TempDir()
	files(t, f.dir, "d1", "d2")
	now := time.Now()
	r := pool.New(z, f, f, func() time.Time { return now })
	mirror := pool.VdevSpec{Layout: pool.Mirror, Disks: []disk.Selector{{Serial: "d1"}, {Serial: "d2"}}}
	spec := pool.Spec{Pools: []pool.PoolSpec{{Name: "tank", Vdevs: []pool.VdevSpec{mirror}}}}
	settle := func(spec pool.Spec) pool.PoolStatus {
		t.Helper()
		for range 10 {
			obs, err := r.Observe(ctx, spec)
			must(t, err)
			ops := r.Diff(spec, obs)
			if len(ops) == 0 {
				return r.Status(spec, obs).Pools[0]
			}
			for _, o := range ops {
				must(t, r.Apply(ctx, spec, o))
			}
		}
		t.Fatal("it does not settle")
		return pool.PoolStatus{}
	}
	hide := func(name string) { must(t, os.Rename(filepath.Join(f.dir, name), filepath.Join(away, name))) }
	show := func(name string) { must(t, os.Rename(filepath.Join(away, name), filepath.Join(f.dir, name))) }
	comment := func(want string) {
		t.Helper()
		if got := one(t, z, "tank").Properties["comment"].Value; got != want {
			t.Errorf("comment %q, want %q", got, want)
		}
	}
	apart := func(what string, s pool.PoolStatus, imported bool, waiting int) {
		t.Helper()
		is := slices.ContainsFunc(s.Conditions, func(c pool.Condition) bool { return c.Kind == pool.DiskApart })
		if !is || s.Imported != imported || len(s.Waiting) != waiting {
			t.Fatalf("%s: %+v, waiting %v", what, s.Conditions, s.Waiting)
		}
	}
	guid := settle(spec).GUID
	whole := readLabel(t, filepath.Join(f.dir, "d1"))
	if len(whole.Peers) != 1 || whole.Peers[0].Away || whole.TXG == 0 || time.Since(whole.Written).Abs() > time.Hour {
		t.Fatalf("label of a whole mirror: %+v", whole)
	}
	must(t, z.Export(ctx, "tank"))

	for name, other := range map[string]string{"d1": "d2", "d2": "d1"} {
		hide(other)
		must(t, z.Import(ctx, pool.Import{GUID: guid, Devices: []string{f.dir}}))
		must(t, z.Set(ctx, "tank", "comment", name))
		must(t, z.Export(ctx, "tank"))
		show(other)
	}
	first, second := readLabel(t, filepath.Join(f.dir, "d1")), readLabel(t, filepath.Join(f.dir, "d2"))
	if !first.Peers[0].Away || !second.Peers[0].Away || first.TXG <= whole.TXG || second.TXG <= whole.TXG {
		t.Fatalf("labels of halves that went on alone: %+v, and %+v", first, second)
	}
	apart("both halves", settle(spec), false, 2)

	hide("d1")
	settle(spec)
	now = now.Add(time.Minute) // it is not late any more
	if s := settle(spec); !s.Imported {
		t.Fatalf("one half: %+v", s)
	}
	comment("d2")
	show("d1")
	apart("beside the other", settle(spec), true, 1)
	checkTree(t, z, "tank", "mirror DEGRADED", " file OFFLINE", " file ONLINE")
	must(t, z.Scrub(ctx, "tank"))
	wait(t, "tank", "scrub")
	must(t, z.Clear(ctx, "tank", ""))
	checkTree(t, z, "tank", "mirror DEGRADED", " file OFFLINE", " file ONLINE")
	must(t, z.Export(ctx, "tank"))
	s := settle(spec)
	apart("imported again with both", s, true, 1)
	comment("d2")
	checkTree(t, z, "tank", "mirror DEGRADED", " file OFFLINE", " file ONLINE")
	if d := cmp.Diff(first, readLabel(t, filepath.Join(f.dir, "d1"))); d != "" {
		t.Errorf("the half that is kept out (-before +after):\n%s", d)
	}

	given := spec
	given.Confirmed = []pool.Confirmation{{Pool: "tank", Operation: s.Waiting[0].String()}}
	settle(given)
	wait(t, "tank", "resilver")
	eventually(t, "the mirror is whole", func() bool { return one(t, z, "tank").State == pool.Online })
	comment("d2")
	if s := settle(spec); len(s.Conditions) > 0 || len(s.Waiting) > 0 {
		t.Errorf("after one half was given up: %+v", s)
	}
}

// TestVMStray: without what keeps it out, ZFS writes over a half that has gone on alone, and takes what it does not have for lost. That is what TestVMApart is for: where
// this fails, ZFS has come to see to it itself.
func TestVMStray(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	dir, away := t.TempDir(), t.TempDir()
	d := files(t, dir, "a", "b")
	must(t, z.Create(ctx, pool.Creation{Pool: "halves", Groups: []pool.Group{{Layout: pool.Mirror, Devices: d}}}))
	guid := one(t, z, "halves").GUID
	must(t, z.Export(ctx, "halves"))
	must(t, os.Rename(d[1], filepath.Join(away, "b")))
	must(t, z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}}))
	for range 20 { // its transactions go further than those of the other
		must(t, z.Set(ctx, "halves", "comment", "first"))
		do(t, "sync", "halves")
		must(t, z.Set(ctx, "halves", "comment", "a"))
		do(t, "sync", "halves")
	}
	must(t, z.Export(ctx, "halves"))
	must(t, os.Rename(d[0], filepath.Join(away, "a")))
	must(t, os.Rename(filepath.Join(away, "b"), d[1]))
	must(t, z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}}))
	must(t, z.Set(ctx, "halves", "comment", "b"))
	must(t, os.Rename(filepath.Join(away, "a"), d[0]))
	if here, comes := readLabel(t, d[1]), readLabel(t, d[0]); comes.TXG <= here.TXG+1 || comes.GUID == here.GUID {
		t.Fatalf("the one that comes has transaction %d, and the pool %d", comes.TXG, here.TXG)
	}
	gone := one(t, z, "halves").Vdevs[0].Children[0]
	must(t, z.Online(ctx, "halves", gone.GUID.String(), false))
	wait(t, "halves", "resilver")
	checkTree(t, z, "halves", "mirror ONLINE", " file ONLINE", " file ONLINE")
	if got := one(t, z, "halves").Properties["comment"].Value; got != "b" {
		t.Errorf("comment %q", got)
	}
}
