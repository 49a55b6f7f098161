package configstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// changes are everything that is ever done to a store, each on one that has the revisions 1 to 3, and what is current after it.
func changes() map[string]struct {
	before func(*testing.T, *Store)
	do     func(*Store) error
	after  string
} {
	add := func(mode Mode, document string, change func(Record, uint64) (Record, error)) func(*Store) error {
		return func(s *Store) error {
			_, err := s.Add(Revision{By: "alice", Mode: mode, Document: []byte(document)}, change)
			return err
		}
	}
	try := func(r Record, n uint64) (Record, error) { return r.Tries(n, time.Minute) }
	tried := func(t *testing.T, s *Store) {
		if err := add(Try, "tried", try)(s); err != nil {
			t.Fatal(err)
		}
	}
	none := func(*testing.T, *Store) {}
	type change = struct {
		before func(*testing.T, *Store)
		do     func(*Store) error
		after  string
	}
	return map[string]change{
		"apply": {none, add(Auto, "applied", func(r Record, n uint64) (Record, error) { return r.Applied(n, true) }), "applied"},
		"stage": {none, add(Stage, "staged", func(r Record, n uint64) (Record, error) { return r.Stages(n) }), "three"},
		"try":   {none, add(Try, "tried", try), "tried"},
		"confirm": {tried, func(s *Store) error {
			return s.Change(func(r Record) (Record, error) { return r.Confirmed(0, true, start) })
		}, "tried"},
		"revert": {tried, func(s *Store) error {
			return s.Change(func(r Record) (Record, error) { return r.Reverted("no", start) })
		}, "three"},
		"fall back": {none, func(s *Store) error { return s.FallBack(2, "no") }, "two"},
	}
}

// three is a disk with three revisions.
func three(t *testing.T, now *running) (*disk, *Store) {
	t.Helper()
	d := newDisk()
	s := now.open(t, d)
	for _, document := range []string{"one", "two", "three"} {
		apply(t, s, document)
	}
	return d, s
}

// TestEveryCut cuts the power at each step of each change, and looks at all that the disk may hold then, in the same boot and in the next: the
// store opens without a problem, and has the document from before the change or from after it. What was answered is not lost.
func TestEveryCut(t *testing.T) {
	cuts := 0
	for name, c := range changes() {
		for left := 0; ; left++ {
			now := &running{boot: "first"}
			d, s := three(t, now)
			c.before(t, s)
			before := holds(s)
			d.left = left
			err := c.do(s)
			for i, fate := range d.fates() {
				cuts++
				again := now.open(t, fate.clone())
				got := holds(again)
				if got != c.after && (got != before || err == nil) {
					t.Errorf("%s, cut after %d steps (%v), fate %d: the store has %q, before it had %q", name, left, err, i, got, before)
				}
				if problems := again.Problems(); len(problems) > 0 {
					t.Errorf("%s, cut after %d steps, fate %d: %q", name, left, i, problems)
				}
				checkNext(t, again)
				next := (&running{boot: "second"}).open(t, fate.clone())
				if got := holds(next); got != "three" && got != "applied" && got != "tried" && got != "staged" && got != c.after {
					t.Errorf("%s, cut after %d steps, fate %d, next boot: the store has %q", name, left, i, got)
				}
				if name == "confirm" && err == nil && holds(next) != "tried" || (name == "try" || name == "revert") && holds(next) != "three" ||
					name == "stage" && err == nil && holds(next) != "staged" || name == "fall back" && err == nil && holds(next) != "two" {
					t.Errorf("%s (%v), cut after %d steps, fate %d, next boot: the store has %q", name, err, left, i, holds(next))
				}
			}
			if err == nil {
				break
			}
			if !errors.Is(err, errPower) {
				t.Fatalf("%s, cut after %d steps: %v", name, left, err)
			}
		}
	}
	if cuts < 150 {
		t.Errorf("%d cuts were tried, which cannot be all", cuts)
	}
}

// checkNext applies one more document, as the operator would.
func checkNext(t *testing.T, s *Store) {
	t.Helper()
	if s.Record().Trying != nil {
		if err := s.Change(func(r Record) (Record, error) { return r.Reverted("again", start) }); err != nil {
			t.Error(err)
		}
	}
	before := s.Record()
	if r := apply(t, s, "again"); holds(s) != "again" || r.Number <= before.Newest {
		t.Errorf("after the cut: revision %d has %q", r.Number, holds(s))
	}
}

// TestEveryDamage spoils each file in each way. The store opens, says what is wrong, and has the newest document that can be read.
func TestEveryDamage(t *testing.T) {
	now := &running{boot: "first"}
	whole, s := three(t, now)
	for name, c := range whole.files {
		for how, data := range map[string]string{
			"empty": "", "half": c.data[:len(c.data)/2], "a bit": c.data[:len(c.data)-1] + string(c.data[len(c.data)-1]^1), "other": "other\n",
		} {
			d := whole.clone()
			d.files[name] = content{data, true}
			again := now.open(t, d)
			want, told := "three", true
			switch name {
			case revisionName(3):
				want = "two"
			case revisionName(1), revisionName(2):
				told = false // it does not count any more
			case recordNames()[s.slot]:
				// The older of the two.
			default:
				want = "two" // the newest record: the one before it has revision 2
			}
			if got := holds(again); got != want {
				t.Errorf("%s, %s: the store has %q, want %q", name, how, got, want)
			}
			if problems := strings.Join(again.Problems(), "\n"); told != strings.Contains(problems, "cannot be") {
				t.Errorf("%s, %s: problems %q", name, how, problems)
			}
			if r := apply(t, again, "again"); r.Number <= 3 && name != revisionName(3) {
				t.Errorf("%s, %s: the number %d was given twice", name, how, r.Number)
			}
		}
	}
	lost := whole.clone()
	for _, name := range recordNames() {
		delete(lost.files, name)
	}
	if again := now.open(t, lost.clone()); holds(again) != "three" || len(again.Problems()) != 1 {
		t.Errorf("without a record: %q, %q", holds(again), again.Problems())
	}
	for i := range 3 {
		delete(lost.files, revisionName(uint64(i+1)))
	}
	if again := now.open(t, lost); holds(again) != "" || len(again.Problems()) != 0 {
		t.Errorf("without anything: %q, %q", holds(again), again.Problems())
	}
}

// TestUsed: a store has been used once somebody was told of a revision, and stays so whatever the disk does to it.
func TestUsed(t *testing.T) {
	now := &running{boot: "first"}
	d := newDisk()
	for range 2 {
		if s := now.open(t, d); s.Used() {
			t.Error("a store without a revision was used")
		}
	}
	for left := 0; ; left++ {
		cut := d.clone()
		s := now.open(t, cut)
		cut.left = left
		_, err := s.Add(Revision{Mode: Source, Document: []byte("one")}, func(r Record, n uint64) (Record, error) { return r.Found(n) })
		if s.Used() != (err == nil) {
			t.Errorf("%d steps, %v: used is %t", left, err, s.Used())
		}
		if err == nil {
			break
		}
		for _, fate := range cut.fates() {
			if again := now.open(t, fate); again.Used() != (holds(again) != "") {
				t.Errorf("cut after %d steps the store has %q, used is %t", left, holds(again), again.Used())
			}
		}
	}
	whole, _ := three(t, now)
	for name := range whole.files {
		one := whole.clone()
		one.files[name] = content{"noise", true}
		if again := now.open(t, one); !again.Used() {
			t.Errorf("with noise in %s it was not used", name)
		}
	}
	for name := range d.files {
		d.files[name] = content{"noise", true}
	}
	if !now.open(t, d).Used() {
		t.Error("a record of which nobody can tell what it said")
	}
}

// TestReasons: what is given up since it cannot be read has its reason in the record, and a node that has nothing left says so.
func TestReasons(t *testing.T) {
	now := &running{boot: "first"}
	d, _ := three(t, now)
	for n := uint64(3); n > 0; n-- {
		d.files[revisionName(n)] = content{"", true}
		s := now.open(t, d)
		want := &Outcome{Revision: n, Reason: fmt.Sprintf("read revision %d: %v", n, errDamaged), At: start}
		if d := cmp.Diff(want, s.Record().Last); d != "" || s.Record().Current != n-1 {
			t.Errorf("current is %d, outcome (-want +got):\n%s", s.Record().Current, d)
		}
		if n == 1 && !strings.Contains(s.Problems()[0], "there is none before it") {
			t.Errorf("problems %q", s.Problems())
		}
	}
}

// TestRevertNeedsNoDisk: a trial ends in its time when that cannot be written, too.
func TestRevertNeedsNoDisk(t *testing.T) {
	now := &running{boot: "first"}
	d, s := three(t, now)
	if _, err := s.Add(Revision{Mode: Try, Document: []byte("tried")}, func(r Record, n uint64) (Record, error) { return r.Tries(n, time.Minute) }); err != nil {
		t.Fatal(err)
	}
	d.left = 0
	if err := s.Revert("no"); !errors.Is(err, errPower) || holds(s) != "three" || s.Record().Trying != nil {
		t.Errorf("the store has %q, %v", holds(s), err)
	}
	now.since = time.Minute
	if full := now.open(t, d); holds(full) != "three" || len(full.Problems()) != 1 {
		t.Errorf("opened on a disk that takes nothing: %q, %q", holds(full), full.Problems())
	}
	if again := now.open(t, d.fates()[0]); holds(again) != "three" {
		t.Errorf("after the cut the store has %q", holds(again))
	}
	d.left = -1
	spoilt, late := three(t, now)
	if _, err := late.Add(Revision{Mode: Try, Document: []byte("tried")}, func(r Record, n uint64) (Record, error) { return r.Tries(n, time.Hour) }); err != nil {
		t.Fatal(err)
	}
	spoilt.files[revisionName(3)] = content{"", true}
	if err := late.Revert("no"); err != nil || holds(late) != "two" {
		t.Errorf("back to a revision that is spoilt: %q, %v", holds(late), err)
	}
	if r := apply(t, s, "again"); holds(s) != "again" || r.Number != 5 {
		t.Errorf("with the disk again: revision %d, %q", r.Number, holds(s))
	}
}

// TestUnreadableFiles: a sector that cannot be read spoils a file, and not the store.
func TestUnreadableFiles(t *testing.T) {
	now := &running{boot: "first"}
	whole, s := three(t, now)
	for name, want := range map[string]string{
		recordNames()[s.slot]: "three", recordNames()[1-s.slot]: "two", revisionName(3): "two",
	} {
		d := whole.clone()
		d.unread = map[string]error{name: errPower}
		again := now.open(t, d)
		if problems := again.Problems(); holds(again) != want || len(problems) == 0 || !strings.Contains(problems[0], errPower.Error()) {
			t.Errorf("without %s: the store has %q, want %q; problems %q", name, holds(again), want, problems)
		}
		if name == revisionName(3) {
			continue
		}
		// The next record goes into its place.
		apply(t, again, "again")
		d.unread = nil
		if third := now.open(t, d); holds(third) != "again" {
			t.Errorf("without %s, and then with it: the store has %q", name, holds(third))
		}
	}
	d := whole.clone()
	d.unread = map[string]error{recordNames()[0]: errPower, recordNames()[1]: errPower}
	if _, err := Open(d, Config{Now: time.Now, SinceBoot: func() time.Duration { return 0 }}); !errors.Is(err, errPower) {
		t.Errorf("without a record that can be read: %v", err)
	}
}

// TestUnreadableForAWhile: a start that can read none of the revisions takes nothing from the next one that can, unless another was stored meanwhile.
func TestUnreadableForAWhile(t *testing.T) {
	for _, boot := range []string{"first", "second"} {
		now := &running{boot: "first"}
		d, _ := three(t, now)
		now.boot = boot
		d.unread = map[string]error{revisionName(1): errPower, revisionName(2): errPower, revisionName(3): errPower}
		if s := now.open(t, d); holds(s) != "" || !s.Record().Own() || len(s.Problems()) != 3 {
			t.Errorf("boot %s: the store has %q, problems %q", boot, holds(s), s.Problems())
		}
		d.unread = nil
		if s := now.open(t, d); holds(s) != "three" || len(s.Problems()) > 0 {
			t.Errorf("boot %s, readable again: the store has %q, problems %q", boot, holds(s), s.Problems())
		}
		d.unread = map[string]error{revisionName(1): errPower, revisionName(2): errPower, revisionName(3): errPower}
		apply(t, now.open(t, d), "another")
		d.unread = nil
		if s := now.open(t, d); holds(s) != "another" {
			t.Errorf("boot %s, when another was applied: the store has %q", boot, holds(s))
		}
	}
}

// TestFullDisk: what does not fit leaves nothing behind, and the store as it was; a trial ends, and a boot begins, all the same.
func TestFullDisk(t *testing.T) {
	now := &running{boot: "first"}
	d, s := three(t, now)
	whole := d.clone()
	d.full = true
	_, err := s.Add(Revision{Document: []byte("four")}, func(r Record, n uint64) (Record, error) { return r.Applied(n, true) })
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "store revision 4") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(whole.files, d.files, cmp.AllowUnexported(content{})); diff != "" || holds(s) != "three" {
		t.Errorf("the store has %q (-before +after):\n%s", holds(s), diff)
	}
	d.full = false
	if _, err := s.Add(Revision{Mode: Try, Document: []byte("tried")}, func(r Record, n uint64) (Record, error) { return r.Tries(n, time.Minute) }); err != nil {
		t.Fatal(err)
	}
	d.full = true
	if next := (&running{boot: "second"}).open(t, d); holds(next) != "three" || len(next.Problems()) != 1 {
		t.Errorf("the next boot has %q, problems %q", holds(next), next.Problems())
	}
	if err := s.Revert("no"); !errors.Is(err, syscall.ENOSPC) || holds(s) != "three" {
		t.Errorf("the trial ended with %v, the store has %q", err, holds(s))
	}
}

// TestRevertOfAnUnreadableDisk: a disk that gives nothing out any more has not spoilt what a trial goes back to.
func TestRevertOfAnUnreadableDisk(t *testing.T) {
	now := &running{boot: "first"}
	d, s := three(t, now)
	if _, err := s.Add(Revision{Mode: Try, Document: []byte("tried")}, func(r Record, n uint64) (Record, error) { return r.Tries(n, time.Minute) }); err != nil {
		t.Fatal(err)
	}
	d.left, d.unread = 0, map[string]error{}
	for name := range d.files {
		d.unread[name] = errPower
	}
	if err := s.Revert("no"); !errors.Is(err, errPower) || s.Record().Current != 3 || s.Record().Trying != nil {
		t.Errorf("current is revision %d, %v", s.Record().Current, err)
	}
}

// TestHistoryIsBounded: the oldest revisions go, but not those that count still.
func TestHistoryIsBounded(t *testing.T) {
	now := &running{boot: "first"}
	s := now.open(t, newDisk())
	base := apply(t, s, "base")
	for i := range 3 * Keep {
		if _, err := s.Add(Revision{Mode: Auto, Document: fmt.Append(nil, i)}, func(r Record, n uint64) (Record, error) { return r.Applied(n, false) }); err != nil {
			t.Fatal(err)
		}
	}
	staged, err := s.Add(Revision{Mode: Stage, Document: []byte("staged")}, func(r Record, n uint64) (Record, error) { return r.Stages(n) })
	if err != nil {
		t.Fatal(err)
	}
	entries, err := s.History()
	if err != nil || len(entries) != Keep || entries[0].Number != staged.Number || entries[Keep-1].Number != base.Number {
		t.Errorf("%d entries, from %d to %d, %v", len(entries), entries[0].Number, entries[len(entries)-1].Number, err)
	}
	if _, err := s.Read(2); !errors.Is(err, ErrNotFound) {
		t.Errorf("read what was dropped: %v", err)
	}
}

// TestTrialsKeepTheOneBefore: however many revisions were tried and taken back, there is one before the current one to go back to.
func TestTrialsKeepTheOneBefore(t *testing.T) {
	now := &running{boot: "first"}
	_, s := three(t, now)
	for range 2 * Keep {
		if _, err := s.Add(Revision{Mode: Try, Document: []byte("tried")}, func(r Record, n uint64) (Record, error) { return r.Tries(n, time.Minute) }); err != nil {
			t.Fatal(err)
		}
		if err := s.Revert("no"); err != nil {
			t.Fatal(err)
		}
	}
	before, err := s.Read(s.Record().Previous())
	if err != nil || string(before.Document) != "two" || holds(s) != "three" {
		t.Errorf("before %q there is %q, %v", holds(s), before.Document, err)
	}
	if _, err := s.Read(1); !errors.Is(err, ErrNotFound) {
		t.Errorf("read what was dropped: %v", err)
	}
}

// TestOnDisk is a store in a real directory: nobody else can read it, and it is found again.
func TestOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config")
	now := &running{boot: "first"}
	s := now.open(t, OSDir(dir))
	if holds(s) != "" {
		t.Errorf("a new store has %q", holds(s))
	}
	want := apply(t, s, "one\ntwo\n")
	again := now.open(t, OSDir(dir))
	got, err := again.Current()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&want, got); d != "" {
		t.Errorf("found again (-want +got):\n%s", d)
	}
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) < 2 {
		t.Fatalf("files %v, %v", files, err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, files[0]: 0o600, files[1]: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func FuzzRevision(f *testing.F) {
	good, err := encodeRevision(Revision{Number: 7, Time: start, By: "alice", Mode: Auto, Document: []byte("kind: Machine\n")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(sealed([]byte("{\"number\":1}\n")))
	f.Add(sealed([]byte("{}")))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, sealed(data)} {
			r, err := parseRevision(data)
			if err != nil {
				continue
			}
			again, err := encodeRevision(r)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := parseRevision(again); err != nil || back.Number != r.Number || string(back.Document) != string(r.Document) {
				t.Errorf("%q became %q, %v", data, again, err)
			}
		}
	})
}

// FuzzOpen: whatever lies in the directory, the store opens, and takes a document.
func FuzzOpen(f *testing.F) {
	record, err := encodeRecord(Record{Sequence: 1, Current: 1, Newest: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("record-0", record)
	f.Add("record-1", sealed([]byte(`{"sequence":18446744073709551615,"current":9,"past":[1,9,9],"trying":{"back":0}}`)))
	f.Add("revision-00000002", sealed([]byte("{\"number\":2}\nx")))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		for _, data := range [][]byte{data, sealed(data)} {
			now := &running{boot: "first"}
			d, _ := three(t, now)
			d.files[name] = content{string(data), true}
			s := now.open(t, d)
			if s.Record().Trying != nil {
				return
			}
			apply(t, s, "again")
			if got := holds(now.open(t, d)); got != "again" && s.Record().Sequence > 4 {
				t.Errorf("%s %q: the store has %q", name, data, got)
			}
		}
	})
}
