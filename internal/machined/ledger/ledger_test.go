package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, path string, now *time.Time) *Ledger {
	t.Helper()
	l, dropped, err := Open(path, func() time.Time { return *now })
	if err != nil || dropped != 0 {
		t.Fatalf("open: %d lines dropped, %v", dropped, err)
	}
	return l
}

func TestBootsFollowEachOther(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "boots.jsonl"), time.Unix(1000, 0).UTC()
	l := open(t, path, &now)
	if err := l.Begin(Boot{ID: "a", StartedAt: now, Version: "1"}, true); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	milestones := []Milestone{{"kernel", 0}, {"init", 2 * time.Second}}
	if err := l.Reached("a", milestones); err != nil {
		t.Fatal(err)
	}
	if err := l.Ending("a", "reboot over the API"); err != nil {
		t.Fatal(err)
	}

	second := open(t, path, &now)
	for range 2 { // an agent that was started again begins nothing
		if err := second.Begin(Boot{ID: "b", StartedAt: now}, true); err != nil {
			t.Fatal(err)
		}
	}
	third := open(t, path, &now)
	if err := third.Begin(Boot{ID: "c", StartedAt: now}, false); err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1000, 0).UTC()
	want := []Boot{
		{ID: "a", StartedAt: start, Version: "1", End: Clean, Reason: "reboot over the API", LastSeen: now, Milestones: milestones},
		{ID: "b", StartedAt: now, End: Unclean, LastSeen: now},
		{ID: "c", StartedAt: now, End: Running, LastSeen: now},
	}
	if d := cmp.Diff(want, open(t, path, &now).Boots()); d != "" {
		t.Errorf("boots (-want +got):\n%s", d)
	}
	if err := third.Reached("x", nil); err == nil {
		t.Error("milestones of a boot that is not there were stored")
	}
}

func TestKeepsTheNewest(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "boots.jsonl"), time.Unix(1000, 0)
	l := open(t, path, &now)
	for i := range Keep + 7 {
		if err := l.Begin(Boot{ID: fmt.Sprint(i)}, true); err != nil {
			t.Fatal(err)
		}
	}
	boots := open(t, path, &now).Boots()
	if len(boots) != Keep || boots[0].ID != "7" || boots[Keep-1].End != Running {
		t.Errorf("%d boots, first %s", len(boots), boots[0].ID)
	}
}

// TestNotes: the reason of an end is noted once the next boot knows it, and a boot of which nothing else is known has its place.
func TestNotes(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "boots.jsonl"), time.Unix(1000, 0).UTC()
	l := open(t, path, &now)
	for _, id := range []string{"a", "b"} {
		if err := l.Begin(Boot{ID: id, StartedAt: now}, true); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Hour)
	for range 2 { // what is noted may be noted again
		if err := l.Note("b", Boot{ID: "a", Reason: "it hung"}); err != nil {
			t.Fatal(err)
		}
		if err := l.Note("b", Boot{Version: "2", Slot: "b", Reason: "kernel panic"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Note("b", Boot{ID: "b", Reason: "going back"}); err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1000, 0).UTC()
	want := []Boot{
		{ID: "a", StartedAt: start, End: Clean, Reason: "it hung", LastSeen: start},
		{ID: "before b", Version: "2", Slot: "b", End: Unclean, Reason: "kernel panic"},
		{ID: "b", StartedAt: start, End: Running, Reason: "going back", LastSeen: start},
	}
	got := open(t, path, &now).Boots()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("boots (-want +got):\n%s", d)
	}
	if got[1].KernelID() != "" || got[0].KernelID() != "a" {
		t.Errorf("IDs of the kernel: %q and %q", got[1].KernelID(), got[0].KernelID())
	}
	// A boot whose entry is not kept any more, in a ledger that lost the running one too.
	if err := l.Note("x", Boot{ID: "y", Reason: "old"}); err != nil || l.Boots()[3].ID != "y" {
		t.Errorf("%+v, %v", l.Boots(), err)
	}
}

func TestBadLinesAreDropped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "boots.jsonl")
	if err := os.WriteFile(path, []byte("{\"id\":\"a\",\"end\":\"running\"}\nnot json\n{}\n{\"id\":\"b"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, dropped, err := Open(path, time.Now)
	if err != nil || dropped != 3 || len(l.Boots()) != 1 {
		t.Errorf("%d dropped, %d kept, %v", dropped, len(l.Boots()), err)
	}
}

// TestReplaceFileLeavesNothing looks for what a failed replacement could leave behind.
func TestReplaceFileLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := ReplaceFile(filepath.Join(dir, "taken"), []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if err := os.WriteFile(filepath.Join(dir, ".file.new"), []byte("cut off by a power cut"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := ReplaceFile(filepath.Join(dir, "file"), []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "file")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("{\"id\":\"a\",\"end\":\"clean\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		boots, _ := parse(data)
		var again bytes.Buffer
		for _, b := range boots {
			if err := json.NewEncoder(&again).Encode(b); err != nil {
				return // a time that JSON does not write
			}
		}
		if got, dropped := parse(again.Bytes()); dropped != 0 || len(got) != len(boots) {
			t.Errorf("%d of %d entries after a round trip", len(got), len(boots))
		}
	})
}
