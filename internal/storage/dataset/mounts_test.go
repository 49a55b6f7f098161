package dataset

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// mounts are those of no kernel. A dataset in busy cannot be unmounted, and somebody has written in the directory of a target in written.
type mounts struct {
	on            map[string]string
	busy, written map[string]bool
	calls         []string
}

func (m *mounts) Mounted(context.Context) (map[string]string, error) { return maps.Clone(m.on), nil }

func (m *mounts) Mount(_ context.Context, dataset, target string, options []string) error {
	m.calls = append(m.calls, fmt.Sprintf("mount %s %s %s", dataset, target, strings.Join(options, ",")))
	if m.written[target] {
		return fmt.Errorf("seal %s: it holds something", target)
	}
	if m.on[target] != "" {
		return fmt.Errorf("mount %s: %w", target, zfs.ErrBusy)
	}
	m.on[target] = dataset
	return nil
}

func (m *mounts) Seal(_ context.Context, target string) error {
	m.calls = append(m.calls, "seal "+target)
	if m.written[target] {
		return fmt.Errorf("seal %s: it holds something", target)
	}
	return nil
}

func (m *mounts) Unmount(_ context.Context, target string) error {
	m.calls = append(m.calls, "unmount "+target)
	if m.busy[m.on[target]] {
		return fmt.Errorf("unmount %s: %w", target, zfs.ErrBusy)
	}
	delete(m.on, target)
	return nil
}

// mountWorld is a domain that mounts, on models.
type mountWorld struct {
	*mounts
	model  *model
	t      *testing.T
	r      *Reconciler
	spec   Spec
	uptime time.Duration
}

func newMountWorld(t *testing.T) *mountWorld {
	w := &mountWorld{mounts: &mounts{on: map[string]string{}, busy: map[string]bool{}, written: map[string]bool{}}, t: t, spec: Spec{Roots: []string{"tank"}}}
	m := newModel("tank")
	m.add("tank/replica", zfs.Filesystem).local[replicaProperty] = "job"
	w.model = m
	w.r = NewMounting(m, w.mounts, func() time.Duration { return w.uptime })
	return w
}

// pass runs the loop to its end, and returns what was done to mounts.
func (w *mountWorld) pass() []string {
	w.t.Helper()
	w.calls = nil
	for range 6 {
		obs, err := w.r.Observe(context.Background(), w.spec)
		if err != nil {
			w.t.Fatal(err)
		}
		ops := w.r.Diff(w.spec, obs)
		if len(ops) == 0 {
			return w.calls
		}
		for _, op := range ops {
			if err := w.r.Apply(context.Background(), w.spec, op); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.t.Fatalf("it does not end: %q", w.calls)
	return nil
}

func (w *mountWorld) reasons() []Reason {
	w.t.Helper()
	obs, err := w.r.Observe(context.Background(), w.spec)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []Reason
	for _, c := range Conditions(w.spec, obs) {
		if c.Reason != NotDeclared {
			out = append(out, c.Reason)
		}
	}
	return out
}

func (w *mountWorld) expect(what string, reasons []Reason, calls ...string) {
	w.t.Helper()
	if diff := cmp.Diff(calls, w.pass()); diff != "" {
		w.t.Errorf("%s: calls (-want +got):\n%s", what, diff)
	}
	if got := w.reasons(); !slices.Equal(got, reasons) {
		w.t.Errorf("%s: conditions %q, want %q", what, got, reasons)
	}
}

func fileSystem(name, target string, options ...string) Dataset {
	return Dataset{Name: name, Kind: zfs.Filesystem, Target: target, Options: options}
}

// TestMounts: what is declared to be mounted is, those above first; what is declared elsewhere moves; nothing is mounted over anything.
func TestMounts(t *testing.T) {
	w := newMountWorld(t)
	w.spec.Datasets = []Dataset{fileSystem("tank/b", "/m/a/b", "nodev", "noexec"), fileSystem("tank/a", "/m/a"), fileSystem("tank/none", "")}
	w.expect("made and mounted", nil, "mount tank/a /m/a ", "mount tank/b /m/a/b nodev,noexec")
	w.expect("once", nil)
	w.spec.Datasets[0].Target = "/m/b"
	w.expect("it moves", nil, "unmount /m/a/b", "mount tank/b /m/b nodev,noexec")
	w.spec.Datasets[1].Target = ""
	w.expect("it is declared to be nowhere", nil, "unmount /m/a")
	w.spec.Datasets = w.spec.Datasets[:1]
	w.spec.Datasets[0].Name = "tank/c"
	w.expect("another in its place, and it is declared no more", []Reason{TargetTaken})
	w.spec.Datasets = append(w.spec.Datasets, fileSystem("tank/b", "/m/c"))
	w.expect("they change places", nil, "unmount /m/b", "mount tank/b /m/c ", "mount tank/c /m/b nodev,noexec")
	w.on["/m/d"] = ""
	w.spec.Datasets = []Dataset{fileSystem("tank/c", "/m/b", "nodev"), fileSystem("tank/b", "/m/c"), fileSystem("tank/d", "/m/d"), fileSystem("tank/replica", "/m/r")}
	w.expect("something else is there, and what is received is not mounted", []Reason{TargetTaken})
}

// TestMountsWaitForThoseAbove: nothing is mounted where another would be mounted over it later.
func TestMountsWaitForThoseAbove(t *testing.T) {
	w := newMountWorld(t)
	w.on["/m/a"] = ""
	w.spec.Datasets = []Dataset{fileSystem("tank/b", "/m/a/b"), fileSystem("tank/a", "/m/a"), fileSystem("tank/ab", "/m/ab")}
	w.expect("something else is there", []Reason{TargetTaken, AboveUnmounted}, "mount tank/ab /m/ab ")
	delete(w.on, "/m/a")
	w.expect("it is gone", nil, "mount tank/a /m/a ", "mount tank/b /m/a/b ")
	w = newMountWorld(t)
	w.spec.Roots = append(w.spec.Roots, "other")
	w.spec.Datasets = []Dataset{fileSystem("other/a", "/m/a"), fileSystem("tank/b", "/m/a/b/c")}
	w.expect("the pool of the one above is not there", []Reason{RootMissing, AboveUnmounted})
}

// TestMountsThatFail are tried again after a while, and keep nothing else from being done.
func TestMountsThatFail(t *testing.T) {
	w := newMountWorld(t)
	w.spec.Datasets = []Dataset{fileSystem("tank/a", "/m/a"), fileSystem("tank/b", "/m/b")}
	w.pass()
	w.busy["tank/a"] = true
	w.spec.Datasets[0].Target, w.spec.Datasets[1].Target = "/m/x", "/m/y"
	w.expect("one is in use", []Reason{Refused}, "unmount /m/b", "unmount /m/a", "mount tank/b /m/y ")
	w.busy["tank/a"] = false
	w.expect("not at once", []Reason{Refused})
	w.uptime += retryAfter
	w.expect("after a while", nil, "unmount /m/a", "mount tank/a /m/x ")
}

// TestNothingBeneathWhatFails: what lies in a file system that cannot be mounted is not mounted in its mount point, which would hold something from then on.
func TestNothingBeneathWhatFails(t *testing.T) {
	w := newMountWorld(t)
	w.spec.Datasets = []Dataset{fileSystem("tank/a", "/m/a"), fileSystem("tank/b", "/m/a/b")}
	w.written["/m/a"] = true
	w.expect("somebody has written there", []Reason{Refused, AboveUnmounted}, "mount tank/a /m/a ")
	w.uptime += retryAfter
	w.expect("still", []Reason{Refused, AboveUnmounted}, "mount tank/a /m/a ")
	w.uptime, w.written["/m/a"] = w.uptime+retryAfter, false
	w.expect("no more", nil, "mount tank/a /m/a ", "mount tank/b /m/a/b ")
	w.busy["tank/a"] = true
	w.spec.Datasets[0].Target, w.spec.Datasets[1].Target = "/m/x", "/m/x/b"
	w.expect("they move, and one is in use", []Reason{Refused, AboveUnmounted}, "unmount /m/a/b", "unmount /m/a")
}

// TestBeneathWhatStayed: what could not be moved, and is declared again where it is, takes what lies in it at once.
func TestBeneathWhatStayed(t *testing.T) {
	w := newMountWorld(t)
	w.spec.Datasets = []Dataset{fileSystem("tank/a", "/m/a")}
	w.pass()
	w.busy["tank/a"] = true
	w.spec.Datasets[0].Target = "/m/x"
	w.expect("it is in use", []Reason{Refused}, "unmount /m/a")
	w.spec.Datasets[0].Target = "/m/a"
	w.spec.Datasets = append(w.spec.Datasets, fileSystem("tank/d", "/m/a/d"))
	w.expect("it stays, and another comes", []Reason{Refused}, "mount tank/d /m/a/d ")
	w.uptime += retryAfter
	w.expect("after a while", nil)
}

// TestMountedWithoutItsProperty: a property that ZFS refuses keeps what is in a dataset from nobody.
func TestMountedWithoutItsProperty(t *testing.T) {
	w := newMountWorld(t)
	w.spec.Datasets = []Dataset{fileSystem("tank/a", "/m/a")}
	w.pass()
	delete(w.on, "/m/a") // as after a boot
	w.model.fail["tank/a"] = zfs.ErrNoSpace
	w.spec.Datasets[0].Properties = map[string]string{"quota": "1048576"}
	w.expect("its quota is below what it uses", []Reason{Refused}, "mount tank/a /m/a ")
	w.expect("it stays", []Reason{Refused})
	delete(w.model.fail, "tank/a")
	w.uptime += retryAfter
	w.expect("after a while", nil)
}

// TestSeal: nobody can write where datasets are to be mounted, from before their pool is looked for, and while it is not here.
func TestSeal(t *testing.T) {
	w := newMountWorld(t)
	w.spec.Datasets = []Dataset{fileSystem("other/a", "/m/a"), fileSystem("other/b", "/m/a/b"), fileSystem("tank/c", "/m/c"), {Name: "other/v", Kind: zfs.Volume}, fileSystem("other/n", "")}
	w.spec.Roots = append(w.spec.Roots, "other")
	w.spec.Waits = "waiting for the pools"
	all := []Reason{RootMissing, RootMissing, RootMissing, RootMissing, RootMissing}
	w.expect("what they lie on is not there", all)
	w.spec.Seal, w.written["/m/c"] = true, true
	w.expect("the pools were not looked for", all, "seal /m/a", "seal /m/c")
	w.spec.Waits, w.written["/m/c"] = "", false
	w.uptime += retryAfter
	w.expect("one pool is here", all[:4], "seal /m/c", "mount tank/c /m/c ", "seal /m/a") // a mount may have changed where /m/a is
	w.expect("and no more", all[:4])
	w.on["/m/a"] = "other/a"
	w.expect("what lies in one that is mounted", all[:4], "seal /m/a/b")
	w.spec.Datasets = append(w.spec.Datasets, fileSystem("other/x", "/m/x"))
	w.written["/m/x"] = true
	w.expect("somebody has written there", append(slices.Clone(all[:4]), RootMissing), "seal /m/x")
}

// TestReadOnly: in a pool that is declared read-only nothing is made or changed; what is there is mounted, and what differs is told, and nothing is wrong with it.
func TestReadOnly(t *testing.T) {
	w := newMountWorld(t)
	w.model.add("tank/a", zfs.Filesystem).local["org.example:x"] = "1"
	w.model.add("tank/v", zfs.Volume).local["volsize"] = "16384"
	for _, name := range []string{"tank/a", "tank/v", "tank/new"} {
		w.model.fail[name] = zfs.ErrReadOnly
	}
	a := fileSystem("tank/a", "/m/a", "ro")
	a.Properties = map[string]string{"org.example:x": "2", "atime": "on"}
	w.spec.Datasets = []Dataset{a, {Name: "tank/v", Kind: zfs.Volume, SizeBytes: 32768}, fileSystem("tank/new", "/m/new")}
	w.spec.ReadOnly = []string{"tank"}
	left := []Reason{LeftReadOnly, LeftReadOnly, LeftReadOnly}
	w.expect("declared read-only", left, "mount tank/a /m/a ro")
	obs, err := w.r.Observe(context.Background(), w.spec)
	if err != nil {
		t.Fatal(err)
	}
	s := w.r.Status(w.spec, obs)
	var told []string
	for _, c := range s.Conditions {
		told = append(told, c.Dataset+": "+c.Message)
	}
	if diff := cmp.Diff([]string{
		"tank/a: org.example:x is 1, and declared as 2; left so, as its pool is declared read-only",
		"tank/new: it is not there, and nothing is made in a pool that is declared read-only",
		"tank/v: it has 16KiB, and is declared with 32KiB; left so, as its pool is declared read-only",
	}, told); diff != "" || !s.Ready {
		t.Errorf("ready %t, %s; conditions (-want +got):\n%s", s.Ready, s.Reason, diff)
	}
	w.spec.ReadOnly = nil
	w.expect("declared to be written", []Reason{Refused, Refused, Refused})
	w.spec.ReadOnly = []string{"tank"}
	w.expect("declared read-only again", left)
}

func TestMountsText(t *testing.T) {
	for op, want := range map[string]string{
		Op{Verb: Mount, Dataset: "tank/a", Target: "/m/a", Options: []string{"nodev", "noexec"}}.String(): "mount tank/a on /m/a nodev,noexec",
		Op{Verb: Mount, Dataset: "tank/a", Target: "/m/a"}.String():                                       "mount tank/a on /m/a",
		Op{Verb: Unmount, Dataset: "tank/a", Target: "/m/a"}.String():                                     "unmount tank/a from /m/a",
		Op{Verb: Seal, Dataset: "tank/a", Target: "/m/a"}.String():                                        "make mount point /m/a of tank/a",
	} {
		if op != want {
			t.Errorf("got %q, want %q", op, want)
		}
	}
}
