package dataset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

func found(lines ...string) []zfs.Dataset {
	var out []zfs.Dataset
	for _, line := range lines {
		words := strings.Fields(line)
		d := zfs.Dataset{Name: words[0], Kind: zfs.Filesystem, Properties: map[string]zfs.Property{}}
		if strings.Contains(words[0], "@") {
			d.Kind = zfs.Snapshot
		}
		if strings.Contains(words[0], "#") {
			d.Kind = zfs.Bookmark
		}
		for _, w := range words[1:] {
			name, value, _ := strings.Cut(w, "=")
			d.Properties[name] = zfs.Property{Value: value}
		}
		out = append(out, d)
	}
	return out
}

func TestPlanDestroy(t *testing.T) {
	tree := found("tank", "tank/a", "tank/a@1 userrefs=0 clones=-", "tank/a#1", "tank/a/b", "tank/a/b@1", "tank/a/b@2", "tank/a/c", "tank/ab", "tank/ab@1",
		"tank/held", "tank/held@1 userrefs=2", "tank/o", "tank/o@1 clones=tank/clone", "tank/clone", "tank/p", "tank/p/x", "tank/p/x@1 clones=tank/p",
		"tank/q", "tank/q/a", "tank/q/b", "tank/q/b@1 clones=tank/q/a,tank/q/c", "tank/q/c")
	declared := Spec{Datasets: []Dataset{{Name: "tank/ab"}}}
	for name, test := range map[string]struct {
		q     DestroyRequest
		want  []string
		err   error
		words string
	}{
		"alone":              {DestroyRequest{"tank/a/c", "tank/a/c", false}, []string{"destroy tank/a/c"}, nil, ""},
		"not confirmed":      {DestroyRequest{"tank/a/c", "tank/a", true}, nil, ErrConfirmation, `was given as "tank/a"`},
		"nothing confirmed":  {DestroyRequest{"tank/a/c", "", true}, nil, ErrConfirmation, ""},
		"a pool":             {DestroyRequest{"tank", "tank", true}, nil, zfs.ErrInvalid, "as a pool"},
		"a snapshot":         {DestroyRequest{"tank/a@1", "tank/a@1", true}, nil, zfs.ErrInvalid, ""},
		"nobody":             {DestroyRequest{"tank/x", "tank/x", true}, nil, zfs.ErrNotExist, ""},
		"declared":           {DestroyRequest{"tank/ab", "tank/ab", true}, nil, ErrDeclared, "remove its document"},
		"with others":        {DestroyRequest{"tank/a", "tank/a", false}, nil, zfs.ErrHasDependents, "2 datasets below it and 3 snapshots"},
		"all of it":          {DestroyRequest{"tank/a", "tank/a", true}, []string{"destroy tank/a/c", "destroy snapshots of tank/a/b (2)", "destroy tank/a/b", "destroy snapshots of tank/a (1)", "destroy tank/a"}, nil, ""},
		"held":               {DestroyRequest{"tank/held", "tank/held", true}, nil, zfs.ErrHeld, "tank/held@1"},
		"cloned":             {DestroyRequest{"tank/o", "tank/o", true}, nil, zfs.ErrHasDependents, "the clones tank/clone"},
		"a clone":            {DestroyRequest{"tank/clone", "tank/clone", false}, []string{"destroy tank/clone"}, nil, ""},
		"cloned within":      {DestroyRequest{"tank/q", "tank/q", true}, []string{"destroy tank/q/c", "destroy tank/q/a", "destroy snapshots of tank/q/b (1)", "destroy tank/q/b", "destroy tank/q"}, nil, ""},
		"its parent's clone": {DestroyRequest{"tank/p", "tank/p", true}, nil, zfs.ErrHasDependents, "promote one"},
	} {
		t.Run(name, func(t *testing.T) {
			ops, err := PlanDestroy(declared, tree, test.q)
			if !errors.Is(err, test.err) || test.err != nil && !strings.Contains(err.Error(), test.words) {
				t.Errorf("got the error %v, want %v with %q", err, test.err, test.words)
			}
			var got []string
			for _, op := range ops {
				got = append(got, op.String())
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("operations (-want +got):\n%s", d)
			}
		})
	}
}

// TestPlanDestroyMany: what has more snapshots than one call takes is destroyed in parts, and none is left out.
func TestPlanDestroyMany(t *testing.T) {
	const all = 2*maxSnapshots + 1
	lines := []string{"tank", "tank/a"}
	for n := range all {
		lines = append(lines, fmt.Sprintf("tank/a@%d", n))
	}
	ops, err := PlanDestroy(Spec{}, found(lines...), DestroyRequest{"tank/a", "tank/a", true})
	if err != nil || len(ops) != 4 || ops[3].Verb != Destroy {
		t.Fatalf("%v, %v", ops, err)
	}
	names := map[string]bool{}
	for _, op := range ops[:3] {
		for _, name := range op.Snapshots {
			names[name] = true
		}
		if n := len(op.Snapshots); op.Verb != DestroySnapshots || n == 0 || n > maxSnapshots {
			t.Errorf("%s", op)
		}
	}
	if len(names) != all {
		t.Errorf("%d snapshots of %d", len(names), all)
	}
}

// TestFingerprint: it is of the very datasets and snapshots, in any order.
func TestFingerprint(t *testing.T) {
	of := func(change func([]zfs.Dataset) []zfs.Dataset) string {
		t.Helper()
		tree := found("tank", "tank/a", "tank/a@1", "tank/a/b", "tank/a/b@1", "tank/c", "tank/c@1")
		for i := range tree {
			tree[i].GUID = zfs.GUID(100 + i)
		}
		tree = change(tree)
		ops, err := PlanDestroy(Spec{}, tree, DestroyRequest{"tank/a", "tank/a", true})
		if err != nil {
			t.Fatal(err)
		}
		return string(Fingerprint(tree, ops))
	}
	as := func(line string, guid zfs.GUID) zfs.Dataset {
		d := found(line)[0]
		d.GUID = guid
		return d
	}
	shown := of(func(all []zfs.Dataset) []zfs.Dataset { return all })
	for name, c := range map[string]struct {
		change func([]zfs.Dataset) []zfs.Dataset
		same   bool
	}{
		"another order":           {func(all []zfs.Dataset) []zfs.Dataset { slices.Reverse(all); return all }, true},
		"a snapshot of another":   {func(all []zfs.Dataset) []zfs.Dataset { return append(all, as("tank/c@2", 7)) }, true},
		"a snapshot more":         {func(all []zfs.Dataset) []zfs.Dataset { return append(all, as("tank/a@2", 7)) }, false},
		"a dataset more":          {func(all []zfs.Dataset) []zfs.Dataset { return append(all, as("tank/a/d", 7)) }, false},
		"a snapshot less":         {func(all []zfs.Dataset) []zfs.Dataset { return slices.Delete(all, 2, 3) }, false},
		"another of the name":     {func(all []zfs.Dataset) []zfs.Dataset { all[2].GUID = 7; return all }, false},
		"another dataset of that": {func(all []zfs.Dataset) []zfs.Dataset { all[3].GUID = 7; return all }, false},
	} {
		if got := of(c.change); (got == shown) != c.same {
			t.Errorf("%s: the same: %t", name, got == shown)
		}
	}
}

// recorder prints what is asked of a system.
type recorder struct {
	zfs.System
	calls []string
}

func (r *recorder) Destroy(_ context.Context, name string) error {
	r.calls = append(r.calls, "destroy "+name)
	return nil
}

func (r *recorder) DestroySnapshots(_ context.Context, names []string) error {
	r.calls = append(r.calls, "destroy "+strings.Join(names, " "))
	return nil
}

func TestCarryDestroys(t *testing.T) {
	r := &recorder{}
	for _, op := range []Op{{Verb: DestroySnapshots, Dataset: "tank/a", Snapshots: []string{"tank/a@1", "tank/a@2"}}, {Verb: Destroy, Dataset: "tank/a"}} {
		if err := Carry(context.Background(), r, op); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"destroy tank/a@1 tank/a@2", "destroy tank/a"}, r.calls); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestCheck(t *testing.T) {
	spec := Spec{Datasets: []Dataset{{Name: "tank/a", Properties: map[string]string{"b": "1", "a": "2"}}, {Name: "tank/b"}}}
	err := spec.Check(func(_ zfs.Kind, name, value string) error { return fmt.Errorf("%s=%s %w", name, value, zfs.ErrInvalid) })
	if got, want := fmt.Sprint(err), "dataset tank/a: a=2 is not valid\ndataset tank/a: b=1 is not valid"; got != want || !errors.Is(err, zfs.ErrInvalid) {
		t.Errorf("got %s", got)
	}
	if err := spec.Check(func(zfs.Kind, string, string) error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestRandomWalk declares something else again and again. Each time the loop comes to an end, what is declared is there or has a condition, and what a person
// has set is as it was. The model panics when something is destroyed, and refuses to shrink.
func TestRandomWalk(t *testing.T) {
	start := uint64(time.Now().UnixNano())
	t.Logf("seed %d", start)
	r := rand.New(rand.NewPCG(start, 0))
	m := newModel("tank")
	domain := New(m, func() time.Duration { return 0 })
	for step := range 400 {
		spec := Spec{Roots: []string{"tank"}, Datasets: randomDatasets(r)}
		for name, e := range m.datasets {
			if r.IntN(20) == 0 && name != "tank" {
				e.local["org.example:person"] = name
			}
		}
		for round := 0; ; round++ {
			obs, err := domain.Observe(context.Background(), spec)
			if err != nil {
				t.Fatal(err)
			}
			ops := domain.Diff(spec, obs)
			if len(ops) == 0 {
				check(t, m, spec, obs)
				break
			}
			if round > 4 {
				t.Fatalf("step %d does not end: %v", step, ops)
			}
			for _, op := range ops {
				if err := domain.Apply(context.Background(), spec, op); err != nil {
					t.Fatal(err)
				}
			}
			if r.IntN(8) == 0 {
				break // another process takes over, and another specification
			}
		}
		if len(domain.refused) > 0 {
			t.Fatalf("step %d: the model refuses %v", step, domain.refused)
		}
	}
}

func randomDatasets(r *rand.Rand) []Dataset {
	var out []Dataset
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	for _, name := range []string{"tank/a", "tank/a/b", "tank/a/b/c", "tank/v", "tank/d"} {
		if r.IntN(4) == 0 {
			continue
		}
		d := Dataset{Name: name, Kind: zfs.Filesystem, Properties: map[string]string{}}
		for _, p := range [][]string{
			{"compression", "zstd", "lz4", "gzip-6"}, {"quota", "none", "1000", "2000"}, {"reservation", "none", "500", "900"}, {"canmount", "off", "on"},
			{"org.example:x", "1", "", "2"}, {"xattr", "sa", "dir"},
		} {
			if r.IntN(2) == 0 {
				d.Properties[p[0]] = pick(p[1:]...)
			}
		}
		if name == "tank/v" {
			d.Kind, d.SizeBytes = zfs.Volume, uint64(1+r.IntN(100))*10000
			maps.DeleteFunc(d.Properties, func(name, _ string) bool {
				_, native := zfs.FindSetting(zfs.Volume, name)
				return !native && !zfs.IsUserProperty(name)
			})
		}
		out = append(out, d)
	}
	return out
}

func check(t *testing.T, m *model, spec Spec, obs Observed) {
	t.Helper()
	conditions := Conditions(spec, obs)
	excused := func(name string) bool {
		return slices.ContainsFunc(conditions, func(c Condition) bool { return c.Dataset == name && c.Reason != NotDeclared })
	}
	for _, d := range spec.Datasets {
		e := m.datasets[d.Name]
		if e == nil {
			if !excused(d.Name) {
				t.Fatalf("%s is not there, for no reason", d.Name)
			}
			continue
		}
		for name, want := range d.Properties {
			if got := m.property(d.Name, name).Value; got != d.canonical(name, want) {
				t.Fatalf("%s: %s is %q, want %q", d.Name, name, got, want)
			}
		}
		for name := range e.local {
			_, wanted := d.Properties[name]
			value, special := d.cleared(name)
			switch {
			case wanted, name == ManagedProperty, name == "org.example:person", strings.HasPrefix(name, "vol"), name == "refreservation":
			case special && d.canonical(name, e.local[name]) == d.canonical(name, value):
			default:
				t.Fatalf("%s: %s is still %q", d.Name, name, e.local[name])
			}
		}
	}
	for name, e := range m.datasets {
		if v, ok := e.local["org.example:person"]; ok && v != name {
			t.Fatalf("%s: a person's property is %q", name, v)
		}
	}
}
