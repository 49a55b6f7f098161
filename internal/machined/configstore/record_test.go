package configstore

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestTrial walks the ways in which a trial ends.
func TestTrial(t *testing.T) {
	began := Record{Boot: "a", Current: 3, Base: 3, Past: []uint64{1, 2}}
	trying, err := began.Tries(4, time.Minute)
	if err != nil || trying.Current != 4 || trying.Base != 3 || trying.Previous() != 3 || trying.Left(40*time.Second) != 20*time.Second {
		t.Fatalf("trying: %+v, %v", trying, err)
	}
	back := func(reason string) Record {
		r := began
		r.Last = &Outcome{Revision: 4, Reason: reason, At: start}
		return r
	}
	for name, test := range map[string]struct {
		boot  string
		since time.Duration
		want  Record
	}{
		"the agent is restarted":  {"a", 59 * time.Second, trying},
		"in its time":             {"a", time.Minute, back(notConfirmed)},
		"the node is started new": {"b", time.Second, back("the node was started again before it was confirmed")},
	} {
		got, changed := trying.Started(test.boot, test.since, start)
		test.want.Boot = test.boot
		if d := cmp.Diff(test.want, got); d != "" || changed != (name != "the agent is restarted") {
			t.Errorf("%s: changed %t (-want +got):\n%s", name, changed, d)
		}
	}
	confirmed, err := trying.Confirmed(4, true, start)
	want := Record{Boot: "a", Current: 4, Base: 4, Owned: true, Past: []uint64{1, 2, 3}, Last: &Outcome{Revision: 4, Succeeded: true, At: start}}
	if d := cmp.Diff(want, confirmed); d != "" || err != nil {
		t.Errorf("confirmed: %v (-want +got):\n%s", err, d)
	}
	for name, err := range map[string]error{
		"apply":            second(trying.Applied(5, true)),
		"stage":            second(trying.Stages(5)),
		"try":              second(trying.Tries(5, time.Hour)),
		"confirm another":  second(trying.Confirmed(3, true, start)),
		"confirm nothing":  second(confirmed.Confirmed(0, true, start)),
		"revert confirmed": second(confirmed.Reverted("no", start)),
	} {
		if !errors.Is(err, ErrTrying) && !errors.Is(err, ErrNotTrying) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second(_ Record, err error) error { return err }

// TestStaged: a staged revision waits for another boot than its own, and whatever is applied meanwhile takes its place.
func TestStaged(t *testing.T) {
	r, err := Record{Boot: "a", Current: 3, Base: 3}.Stages(4)
	if err != nil || r.Current != 3 {
		t.Fatalf("staged: %+v, %v", r, err)
	}
	if same, changed := r.Started("a", 0, start); changed || same.Current != 3 {
		t.Errorf("after a restart of the agent: %+v", same)
	}
	want := Record{Boot: "b", Current: 4, Base: 4, Owned: true, Past: []uint64{3}}
	if next, changed := r.Started("b", 0, start); !changed || cmp.Diff(want, next) != "" {
		t.Errorf("after a boot: %t, %+v", changed, next)
	}
	applied, err := r.Applied(5, false)
	if d := cmp.Diff(Record{Boot: "a", Current: 5, Base: 3, Owned: true, Past: []uint64{3}}, applied); d != "" || err != nil {
		t.Errorf("applied: %v (-want +got):\n%s", err, d)
	}
}

// TestFound: what a source has is the node's own from then on, in other boots too. What was staged before takes effect all the same.
func TestFound(t *testing.T) {
	staged := &Staged{Revision: 1, Boot: "a"}
	r, err := Record{Boot: "a", Staged: staged}.Found(2)
	if d := cmp.Diff(Record{Boot: "a", Current: 2, Base: 2, Staged: staged}, r); d != "" || err != nil {
		t.Errorf("found: %v (-want +got):\n%s", err, d)
	}
	trying, _ := Record{Boot: "a", Current: 1}.Tries(2, time.Minute)
	if _, err := trying.Found(3); !errors.Is(err, ErrTrying) {
		t.Errorf("found during a trial: %v", err)
	}
}

// TestOwn: a source is asked where nothing is stored, or nothing of it can be read and none was applied.
func TestOwn(t *testing.T) {
	found, _ := Record{Boot: "a"}.Found(1)
	next, _ := found.Started("b", 0, start)
	applied, _ := found.Applied(2, true)
	staged, _ := Record{Boot: "a"}.Stages(1)
	taken, _ := staged.Started("b", 0, start)
	for name, c := range map[string]struct {
		record Record
		want   bool
	}{
		"nothing": {Record{Boot: "a"}, false}, "found": {found, true}, "found in another boot": {next, true}, "applied": {applied, true},
		"staged on a node without": {staged, false}, "staged, a boot later": {taken, true},
		"found, and unreadable": {next.Unusable("no", start), false}, "applied, and all unreadable": {applied.Unusable("no", start).Unusable("no", start), true},
	} {
		if got := c.record.Own(); got != c.want {
			t.Errorf("%s: %t, %+v", name, got, c.record)
		}
	}
}

// TestRecordOfAnotherRelease: releases before noted which boot had asked a source. What they have written is read, and they can read what is written now, of which
// they know every field.
func TestRecordOfAnotherRelease(t *testing.T) {
	r, err := parseRecord(sealed([]byte(`{"sequence":4,"newest":2,"current":2,"boot":"a","base":2,"asked":"a","past":[1],"ofTheNext":{}}`)))
	want := Record{Sequence: 4, Newest: 2, Current: 2, Boot: "a", Base: 2, Past: []uint64{1}}
	if d := cmp.Diff(want, r); d != "" || err != nil || !r.Own() {
		t.Errorf("read: %v (-want +got):\n%s", err, d)
	}
	found, _ := r.Found(3)
	data, err := encodeRecord(found)
	if err != nil {
		t.Fatal(err)
	}
	data, err = unsealed(data)
	if want := `{"sequence":4,"newest":2,"current":3,"boot":"a","base":3,"past":[1,2]}`; string(data) != want || err != nil {
		t.Errorf("wrote %s, %v, want %s", data, err, want)
	}
}

// TestFallsBack: what the running release cannot use counts no more, and the reason says why. What the boot began with stays, if that counts still.
func TestFallsBack(t *testing.T) {
	began := Record{Boot: "a", Current: 5, Owned: true, Past: []uint64{1, 2, 3, 4}}
	for base, want := range map[uint64]uint64{5: 2, 3: 2, 0: 2, 2: 2, 1: 1} {
		began.Base = base
		got, err := began.FallsBack(2, "no", start)
		after := Record{Boot: "a", Current: 2, Base: want, Owned: true, Past: []uint64{1}, Last: &Outcome{Revision: 5, Reason: "no", At: start}}
		if d := cmp.Diff(after, got); d != "" || err != nil {
			t.Errorf("with base %d: %v (-want +got):\n%s", base, err, d)
		}
	}
	if _, err := began.FallsBack(5, "no", start); !errors.Is(err, ErrNotFound) {
		t.Errorf("to one that is not of the past: %v", err)
	}
	trying, _ := began.Tries(6, time.Minute)
	if _, err := trying.FallsBack(2, "no", start); !errors.Is(err, ErrTrying) {
		t.Errorf("during a trial: %v", err)
	}
}

// TestFallBackNeedsNoDisk: a revision that cannot be used gives way also where that cannot be written.
func TestFallBackNeedsNoDisk(t *testing.T) {
	now := &running{boot: "first"}
	d, s := three(t, now)
	d.left = 0
	if err := s.FallBack(1, "no"); !errors.Is(err, errPower) || holds(s) != "one" {
		t.Errorf("the store has %q, %v", holds(s), err)
	}
	again := now.open(t, d.fates()[0])
	if err := again.FallBack(1, "no"); err != nil || holds(again) != "one" {
		t.Errorf("after the cut: the store has %q, %v", holds(again), err)
	}
	entries, err := now.open(t, again.dir).History()
	if err != nil || len(entries) != 3 || entries[0].Number != 3 {
		t.Errorf("the history is %v, %v", entries, err)
	}
}
