package replication

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// has is a file system with snapshots of GUIDs, in whose order they were made; hours is their time.
func has(name string, hours int, guids ...zfs.GUID) FileSystem {
	f := FileSystem{Name: name, Kind: zfs.Filesystem, GUID: zfs.GUID(1000 + len(name)), Encryption: "off"}
	for i, guid := range guids {
		f.Versions = append(f.Versions, Version{
			Name: guid.String(), GUID: guid, CreateTXG: uint64(i + 1), Created: time.Unix(int64(hours+i)*3600, 0),
		})
	}
	return f
}

func order(p Plan) []string {
	var out []string
	for _, s := range p.Steps {
		out = append(out, string(s.Kind)+" "+s.Target+" "+s.To.Name)
	}
	return out
}

// TestOrderOfPools: transaction groups of two pools cannot be compared, their clocks can.
func TestOrderOfPools(t *testing.T) {
	j := good()
	j.Roots = []Root{{"one/a", "pool/a"}, {"two/b", "pool/b"}}
	sender := Listing{
		Roots:       []RootState{{Name: "one/a", Exists: true}, {Name: "two/b", Exists: true}},
		FileSystems: []FileSystem{has("one/a", 10, 1, 2), has("two/b", 9, 3, 4, 5, 6)},
	}
	want := []string{
		"initial pool/b 3", "initial pool/a 1", "incremental pool/b 4", "incremental pool/a 2", "incremental pool/b 5", "incremental pool/b 6",
	}
	if diff := cmp.Diff(want, order(MakePlan(j, sender, Listing{}, nil))); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestPlanIsPure: the same listings give the same plan, and are left as they were.
func TestPlanIsPure(t *testing.T) {
	sides := func() (Listing, Listing) {
		r := has("pool/b", 0, 1)
		r.Replica = good().ID
		s := []FileSystem{has("tank/a", 0, 1, 2, 3), has("tank/a/c", 0, 7), has("tank/a/d/e", 0, 8)}
		return Listing{FileSystems: s}, Listing{FileSystems: []FileSystem{r}}
	}
	s, r := sides()
	first := MakePlan(good(), s, r, nil)
	for range 20 {
		if diff := cmp.Diff(first, MakePlan(good(), s, r, nil)); diff != "" {
			t.Fatalf("another plan (-first +this):\n%s", diff)
		}
	}
	s2, r2 := sides()
	if diff := cmp.Diff([]Listing{s2, r2}, []Listing{s, r}); diff != "" {
		t.Errorf("the listings have changed (-want +got):\n%s", diff)
	}
	want := []string{
		"placeholder pool/b/d ", "finish pool/b 1", "initial pool/b/c 7", "initial pool/b/d/e 8", "incremental pool/b 2", "incremental pool/b 3",
	}
	if diff := cmp.Diff(want, order(first)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// TestFencedPlan: a sender of an older generation has nothing to do.
func TestFencedPlan(t *testing.T) {
	data, newer := []FileSystem{has("tank/a", 0, 1)}, Listing{Roots: []RootState{{Generation: 2}}}
	p := MakePlan(good(), Listing{Roots: []RootState{{Generation: 1}}, FileSystems: data}, newer, nil)
	if p.FencedBy != 2 || len(p.Steps) != 0 {
		t.Errorf("plan %+v", p)
	}
	p = MakePlan(good(), Listing{Roots: []RootState{{Generation: 2, Fenced: true}}, FileSystems: data}, newer, nil)
	if p.FencedBy != 2 || len(p.Steps) != 0 {
		t.Errorf("plan of one that has learned of it: %+v", p)
	}
}

// TestFencedPlaceholder: a placeholder that came anew by the way back has no role, one of another job that is replicated on has none to lose.
func TestFencedPlaceholder(t *testing.T) {
	j := good()
	source, target := j.Roots[0].Source, j.Roots[0].Target
	for replica, want := range map[string]uint64{ReverseID(j.ID): 2, "77777777-7777-4888-9999-aaaaaaaaaaaa": 0} {
		below := has(source+"/x", 0, 1)
		below.Replica, below.ReadOnly = replica, true
		root := FileSystem{Name: source, Kind: zfs.Filesystem, Placeholder: true, Marked: true, ReadOnly: true}
		sender := Listing{Roots: []RootState{{Name: source, Exists: true, Generation: 2}}, FileSystems: []FileSystem{root, below}}
		receiver := Listing{
			Roots:       []RootState{{Name: target, Exists: true, Generation: 2}},
			FileSystems: []FileSystem{{Name: target, Kind: zfs.Filesystem, Placeholder: true, Marked: true, ReadOnly: true}},
		}
		if p := MakePlan(j, sender, receiver, nil); p.FencedBy != want {
			t.Errorf("with a replica of the job %s below it, it is fenced by %d, want %d", replica, p.FencedBy, want)
		}
	}
}

// TestDecisionsName: each option of a conflict names what it destroys.
func TestDecisionsName(t *testing.T) {
	r := has("pool/b", 0, 1, 9)
	r.Replica, r.WrittenBytes = good().ID, 5
	p := MakePlan(good(), Listing{FileSystems: []FileSystem{has("tank/a", 0, 1, 2)}}, Listing{FileSystems: []FileSystem{r}}, nil)
	if len(p.Conflicts) != 1 {
		t.Fatalf("plan %+v", p)
	}
	want := "replicate to pool/b: Diverged: it has later snapshots than the common one: @9; to decide: " +
		"roll pool/b back to the snapshot 1, which destroys @9, what was written since the latest snapshot; or " +
		"rename pool/b to pool/b.aside-000003ee and begin anew"
	if got := p.Conflicts[0].Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestOwnWrites: what OpenZFS writes by itself is no change. Where zfs receive has found one all the same, what is decided about it is done.
func TestOwnWrites(t *testing.T) {
	r := has("pool/b", 0, 1)
	r.Replica, r.WrittenBytes = good().ID, 8<<10
	sender, receiver := Listing{FileSystems: []FileSystem{has("tank/a", 0, 1, 2)}}, Listing{FileSystems: []FileSystem{r}}
	p := MakePlan(good(), sender, receiver, nil)
	if len(p.Conflicts) != 0 || len(p.Steps) == 0 {
		t.Errorf("plan %+v", p)
	}
	p = MakePlan(good(), sender, receiver, r.Refused(1).Options[:1])
	if len(p.Resolutions) != 1 || p.Resolutions[0].Kind != RollBack || !p.Resolutions[0].Changes || len(p.Steps) != 0 {
		t.Errorf("plan with a decision: %+v", p)
	}
}
