package command

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// minuteForm is how the names of a schedule's snapshots begin behind its prefix; their seconds follow.
const minuteForm = "20060102T1504"

// settableClock returns what sets the clock of the virtual machine, by which the kernel dates snapshots, to some seconds after the minute of a text. Behind the test it is
// what it was, and the time that has passed.
func settableClock(l *lab) (set func(minute string)) {
	began := time.Now()
	to := func(at time.Time) {
		l.t.Helper()
		ts := unix.NsecToTimespec(at.UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
			l.t.Fatalf("set clock: %v", err)
		}
	}
	l.t.Cleanup(func() { to(began.Add(time.Since(began))) })
	return func(minute string) {
		l.t.Helper()
		at, err := time.Parse(minuteForm, minute)
		if err != nil {
			l.t.Fatal(err)
		}
		to(at.Add(5 * time.Second))
	}
}

// TestVMSchedule: snapshots are made at the times of a schedule, of all that it is for at once, and pruned by each rule of the calendar, by their number and by their names,
// as the kernel has dated them. What is held or cloned keeps no other, and goes when it can.
func TestVMSchedule(t *testing.T) {
	l := newLab(t)
	set := settableClock(l)
	l.all("create -u $/a", "create -u $/out")
	// Of all but four, what keeps them until the first pass; newest counts as the last of its hour, day, week, month and year.
	const (
		none, year   = "20300601T1200", "20301231T1200"
		month        = "20310220T1200"
		cloned, week = "20310311T1200", "20310314T1200"
		day          = "20310318T2300"
		named        = "20310319T0600"
		held, hour   = "20310319T1120", "20310319T1150"
		newest       = "20310319T1210"
		first        = "20310319T1230"
		second       = "20310319T1330"
	)
	before := []string{none, year, month, cloned, week, day, named, held, hour, newest}
	for _, minute := range before {
		set(minute)
		l.all("snapshot -r $@p-" + minute + "00Z")
	}
	l.all("hold kept $@p-"+held+"00Z", "clone $/a@p-"+cloned+"00Z $/out/c")

	began := time.Now()
	clock := func() snapshots.Clock { return snapshots.Clock{Now: time.Now(), Uptime: time.Since(began)} }
	r := snapshots.New(l, clock, func(context.Context) (snapshots.Bases, snapshots.Unknown, error) { return nil, nil, nil })
	spec := snapshots.Spec{Policies: []snapshots.Policy{{
		Name: "p", Prefix: "p-", When: snapshots.Schedule{Calendar: snapshots.Hourly, Minute: 30},
		Targets: []snapshots.Target{{Dataset: l.base, Recursive: true, Exclude: []string{l.base + "/out"}}},
		Keep:    snapshots.Retention{Last: 2, Hourly: 2, Daily: 2, Weekly: 2, Monthly: 2, Yearly: 2, Matching: regexp.MustCompile(`T060000Z$`)},
	}}}
	if err := spec.Policies[0].Check(); err != nil {
		t.Fatal(err)
	}
	// short is the name of a snapshot without the lab's, the prefix and the seconds.
	short := func(name string) string {
		dataset, rest, _ := strings.Cut(strings.TrimPrefix(name, l.base), "@p-")
		return dataset + "@" + rest[:min(len(minuteForm), len(rest))]
	}
	words := func(ops []snapshots.Op) []string {
		var out []string
		for _, op := range ops {
			for _, name := range op.Snapshots {
				out = append(out, string(op.Verb)+" "+short(name))
			}
		}
		return out
	}
	// pass looks once: a minute before, what is made now was not due yet.
	pass := func(what string, want ...string) snapshots.Observed {
		t.Helper()
		obs, err := r.Observe(l.ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		early, pruned := obs, slices.DeleteFunc(slices.Clone(want), func(w string) bool { return strings.HasPrefix(w, string(snapshots.Make)) })
		early.Clock.Now = obs.Clock.Now.Add(-time.Minute)
		if d := cmp.Diff(strings.Join(pruned, "\n"), strings.Join(words(snapshots.Diff(spec, early)), "\n")); d != "" {
			t.Fatalf("a minute before %s (-want +got):\n%s", what, d)
		}
		ops := r.Diff(spec, obs)
		if d := cmp.Diff(strings.Join(want, "\n"), strings.Join(words(ops), "\n")); d != "" {
			t.Fatalf("%s (-want +got):\n%s", what, d)
		}
		for _, op := range ops {
			if err := r.Apply(l.ctx, spec, op); err != nil {
				t.Fatal(err)
			}
		}
		return obs
	}

	set(first)
	obs := pass("the first time", "destroy @"+none, "destroy @"+cloned, "destroy /a@"+none, "destroy /a@"+held, "make @"+first, "make /a@"+first)
	var stuck []string
	for _, v := range snapshots.Preview(spec, obs) {
		if v.Fate == snapshots.Stuck {
			stuck = append(stuck, short(v.Snapshot)+": "+strings.Join(v.Reasons, "; "))
		}
	}
	if d := cmp.Diff([]string{"@" + held + ": is held by kept", "/a@" + cloned + ": has the clones " + l.base + "/out/c"}, stuck); d != "" {
		t.Errorf("what should go and cannot (-want +got):\n%s", d)
	}
	set(second)
	pass("the second time", "make @"+second, "make /a@"+second)
	l.all("release kept $@p-" + held + "00Z")
	// The hours that have snapshots are others now, and so are the last two.
	pass("behind it", "destroy @"+held, "destroy @"+hour, "destroy @"+newest, "destroy /a@"+hour, "destroy /a@"+newest)

	all, err := l.List(l.ctx, zfs.Query{Roots: []string{l.base}, Kinds: []zfs.Kind{zfs.Snapshot}, Depth: -1, Properties: []string{snapshots.PolicyProperty}})
	if err != nil {
		t.Fatal(err)
	}
	left, made := map[string][]string{}, map[string][]uint64{}
	for _, s := range all {
		dataset, minute, _ := strings.Cut(short(s.Name), "@")
		left[dataset] = append(left[dataset], minute)
		if s.Properties[snapshots.PolicyProperty].Value == "p" {
			made[minute] = append(made[minute], s.CreateTXG)
		}
	}
	kept := []string{year, month, week, day, named, first, second}
	want := map[string][]string{"": kept, "/a": slices.Concat(kept[:2], []string{cloned}, kept[2:]), "/out": before}
	if d := cmp.Diff(want, left); d != "" {
		t.Errorf("what is left (-want +got):\n%s", d)
	}
	for _, minute := range []string{first, second} {
		if txgs := made[minute]; len(txgs) != 2 || txgs[0] != txgs[1] || len(made) != 2 {
			t.Errorf("made by the schedule, by their transactions: %v, want that of %s both at once", made, minute)
		}
	}
}
