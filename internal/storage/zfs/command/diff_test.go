package command

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

func TestDiff(t *testing.T) {
	s, calls := fake(t, reply{Stdout: "M\t/m/\n+\t/m/a\\0040b\\0134\n-\t/m/\\0303\\0244\nM\t/m/l\t(+1)\nR\t/m/old\t/m/n\\0011ew\n-\t/m(on_delete_queue)\n"})
	got, more, err := s.Diff(t.Context(), "tank/a@1", "tank/a@2")
	want := []zfs.Change{
		{Kind: zfs.Modified, Path: "/m/"}, {Kind: zfs.Added, Path: `/m/a b\`}, {Kind: zfs.Removed, Path: "/m/ä"}, {Kind: zfs.Modified, Path: "/m/l"},
		{Kind: zfs.Renamed, Path: "/m/old", NewPath: "/m/n\tew"}, {Kind: zfs.Removed, Path: "/m(on_delete_queue)"},
	}
	if d := cmp.Diff(want, got); d != "" || more || err != nil {
		t.Errorf("more %t, %v (-want +got):\n%s", more, err, d)
	}
	if d := cmp.Diff([]string{"diff -H -- tank/a@1 tank/a@2"}, commandLines(calls())); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
	for _, names := range [][2]string{{"tank/a", "tank/a@2"}, {"tank/a@1", "tank/a"}, {"tank/a@1", "tank/b@2"}, {"-F@1", "-F@2"}, {"tank/a@1", ""}} {
		if _, _, err := s.Diff(t.Context(), names[0], names[1]); !errors.Is(err, zfs.ErrInvalid) {
			t.Errorf("%q: got %v", names, err)
		}
	}
	if n := len(calls()); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// TestDiffBounds: what is too much for one answer is left out, and the program ended.
func TestDiffBounds(t *testing.T) {
	var lines strings.Builder
	for i := range maxChanges + 1 {
		fmt.Fprintf(&lines, "+\t/m/%d\n", i)
	}
	s, _ := fake(t, reply{Stdout: lines.String(), Hang: true})
	if got, more, err := s.Diff(t.Context(), "tank/a@1", "tank/a@2"); len(got) != maxChanges || !more || err != nil {
		t.Errorf("%d changes, more %t, %v", len(got), more, err)
	}
	long := strings.Repeat("+\t/m/"+strings.Repeat("n", 4000)+"\n", maxChangeBytes/4000+1)
	s, _ = fake(t, reply{Stdout: long})
	if got, more, err := s.Diff(t.Context(), "tank/a@1", "tank/a@2"); len(got) < maxChangeBytes/5000 || !more || err != nil {
		t.Errorf("%d long ones, more %t, %v", len(got), more, err)
	}
}

// TestDiffFails: half a list is none.
func TestDiffFails(t *testing.T) {
	s, _ := fake(t, reply{Stdout: "+\t/m/a\n", Stderr: "Unable to obtain diffs: Input/output error\n", Code: 1})
	if got, _, err := s.Diff(t.Context(), "tank/a@1", "tank/a@2"); err == nil || !strings.Contains(err.Error(), "Input/output error") || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
	for _, line := range []string{"", "+", "?\t/m", "+\t/m\t/n", "M\t/m\t/n", "R\t/m", "+\t/m\\04", "+\t/m\\0999", "+\t/m\\0777", "+\t/m\\+077"} {
		s, _ := fake(t, reply{Stdout: line + "\n"})
		if got, _, err := s.Diff(t.Context(), "tank/a@1", "tank/a@2"); err == nil {
			t.Errorf("%q: got %v and no error", line, got)
		}
	}
}

func FuzzDiff(f *testing.F) {
	for _, line := range []string{"+\t/m/a\\0040b", "R\t/m/old\t/m/new", "M\t/m/l\t(+1)", "-\t/m\\0"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, err := parseChange(line)
		if err == nil && c.NewPath != "" && c.Kind != zfs.Renamed || err != nil && c != (zfs.Change{}) {
			t.Errorf("%q: %+v, %v", line, c, err)
		}
	})
}
