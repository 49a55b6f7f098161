package timeline

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAppendRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "timeline.jsonl")
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read of nothing: %v, want %v", err, fs.ErrNotExist)
	}
	want := []Milestone{{"kernel", 0}, {"stage1", 4 * time.Second}, {"init", 6*time.Second + 1}}
	for _, part := range [][]Milestone{want[:2], want[2:]} {
		if err := Append(path, part...); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(path)
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	raw, _ := os.ReadFile(path)
	if first, want := string(raw[:len(`{"name":"kernel","boottime":0}`)]), `{"name":"kernel","boottime":0}`; first != want {
		t.Errorf("first line = %s, want %s", first, want)
	}
}

func TestNow(t *testing.T) {
	if a, b := Now(), Now(); a <= 0 || b < a {
		t.Errorf("times since boot %v, %v", a, b)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("{\"name\":\"a\",\"boottime\":1}\n{\"name\":"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := parse(raw)
		if err != nil && list != nil {
			t.Error("milestones beside an error")
		}
	})
}
