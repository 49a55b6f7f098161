package reset

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/notes"
)

// TestRecord walks a reset through boots, with an agent that starts again anywhere, and writes it down and reads it at each step.
func TestRecord(t *testing.T) {
	volumes := []string{"data", "state"}
	graceful, forced := Begin(volumes, false, true, "1", "alice"), Begin(volumes, true, false, "1", "alice")
	half := forced.Done("data")
	for name, test := range map[string]struct {
		r    Record
		boot string
		want Next
		rest []string
	}{
		"none":                      {Record{}, "1", Nothing, nil},
		"leaving":                   {graceful, "1", GoOnLeaving, volumes},
		"leaving, after a cut":      {graceful, "2", GoOnLeaving, volumes},
		"left":                      {graceful.Left("1"), "1", Reboot, volumes},
		"left in a later boot":      {graceful.Left("2"), "2", Reboot, volumes},
		"left, and rebooted":        {graceful.Left("1"), "2", Wipe, volumes},
		"forced":                    {forced, "1", Reboot, volumes},
		"forced, and rebooted":      {forced, "2", Wipe, volumes},
		"one is wiped":              {half, "2", Wipe, []string{"state"}},
		"one is wiped, a third one": {half, "3", Wipe, []string{"state"}},
		"all are wiped":             {half.Done("state"), "2", Wipe, nil},
	} {
		if got := test.r.Next(test.boot); got != test.want {
			t.Errorf("%s: next is %d, want %d", name, got, test.want)
		}
		if d := cmp.Diff(test.rest, test.r.Rest()); d != "" && len(test.rest)+len(test.r.Rest()) > 0 {
			t.Errorf("%s: the rest (-want +got):\n%s", name, d)
		}
		if test.r.Stage == "" {
			continue
		}
		data, err := test.r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(data)
		if d := cmp.Diff(test.r, got); d != "" || err != nil {
			t.Errorf("%s: read again: %v\n%s", name, err, d)
		}
	}
	if len(forced.Wiped) > 0 {
		t.Error("Done changed the record it was called on")
	}
}

// TestFits: the largest record is one note.
func TestFits(t *testing.T) {
	r := Begin([]string{"data", "state"}, false, true, strings.Repeat("b", 36), strings.Repeat("ä", 500)).Done("data").Done("state")
	data, err := r.Encode()
	if err != nil || len(data) > notes.MaxBytes {
		t.Errorf("%d bytes, %d fit: %v", len(data), notes.MaxBytes, err)
	}
	if got, err := Parse(data); err != nil || got.By != r.By || !strings.HasPrefix(got.By, "ää") {
		t.Errorf("by %q, %v", got.By, err)
	}
	for _, c := range []string{"<", "\"", "\x01", "\u2028", "\xff", "€"} {
		r := Begin([]string{"data", "state"}, false, true, strings.Repeat("b", 36), "a"+strings.Repeat(c, 64)).Done("data").Done("state")
		data, err := r.Encode()
		if got, errParse := Parse(data); err != nil || len(data) > notes.MaxBytes || errParse != nil || got.By != r.By || !strings.HasPrefix(got.By, "a") {
			t.Errorf("by %q: %d bytes, %d fit: %q, %v, %v", c, len(data), notes.MaxBytes, got.By, err, errParse)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"{", `{"stage":"armed"}`, `{"stage":"other","volumes":["data"],"boot":"1"}`, `{"stage":"armed","volumes":["data"]}`} {
		if r, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: %+v", text, r)
		}
	}
}

// FuzzParse: what is no reset wipes nothing.
func FuzzParse(f *testing.F) {
	data, err := Begin([]string{"data"}, true, false, "1", "alice").Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if err != nil && (r.Next("2") != Nothing || len(r.Rest()) > 0) {
			t.Errorf("%v, and %+v", err, r)
		}
	})
}
