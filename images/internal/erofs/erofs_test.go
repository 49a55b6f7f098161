package erofs

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = "d\t755\t0\t0\t4096\t1\t/\t\n" +
	"f\t4755\t0\t0\t9\t7\t/b\t\n" +
	"f\t755\t0\t0\t9\t7\t/a\t\n" +
	"l\t777\t0\t0\t3\t8\t/c\ta\n"

func sampleEntries(t *testing.T) []Entry {
	t.Helper()
	got, err := parse(sample, func(string) (string, error) { return "elf", nil })
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestParse(t *testing.T) {
	want := []Entry{
		{Path: "/", Kind: "d", Mode: 0o755},
		{Path: "/a", Kind: "f", Mode: 0o755, Size: 9, Content: "elf"},
		{Path: "/b", Kind: "f", Mode: 0o4755, Size: 9, Content: "elf", Target: "/a"},
		{Path: "/c", Kind: "l", Mode: 0o777, Target: "a"},
	}
	if d := cmp.Diff(want, sampleEntries(t)); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
	for _, bad := range []string{"x", "f\tnine\t0\t0\t1\t1\t/a\t", "f\t755\t0\t0\tbig\t1\t/a\t"} {
		if _, err := parse(bad, nil); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestCompare(t *testing.T) {
	entries := sampleEntries(t)
	g := NewGolden(entries, func(e Entry) bool { return e.Path == "/a" })
	if got := g.Compare(entries); got != nil {
		t.Errorf("the same image differs: %q", got)
	}
	entries[1].Size = 131071
	if got := g.Compare(entries); got != nil {
		t.Errorf("a size below its limit differs: %q", got)
	}
	entries[1].Size = 131072
	entries[2].Mode = 0o755
	want := []string{
		"- f\t0755\t0:0\t<131072\t/a\t", "+ f\t0755\t0:0\t131072\t/a\t",
		"- f\t4755\t0:0\t9\t/b\t/a", "+ f\t0755\t0:0\t9\t/b\t/a",
		"+ f\t0644\t0:0\t1\t/new\t", "- l\t0777\t0:0\t-\t/c\ta",
	}
	entries[3] = Entry{Path: "/new", Kind: "f", Mode: 0o644, Size: 1}
	if d := cmp.Diff(want, g.Compare(entries)); d != "" {
		t.Errorf("differences (-want +got):\n%s", d)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Fuzz(func(t *testing.T, list string) {
		entries, err := parse(list, func(string) (string, error) { return "data", nil })
		if err != nil {
			return
		}
		if !slices.IsSortedFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) }) {
			t.Errorf("%q: the entries are not sorted: %+v", list, entries)
		}
		for _, e := range entries {
			if e.Kind != "f" && (e.Size != 0 || e.Content != "") {
				t.Errorf("%q: %+v has what only files have", list, e)
			}
		}
	})
}

// FuzzGolden: a list compares with nothing as the whole of it, and a list that an
// image was written as has no difference to that image.
func FuzzGolden(f *testing.F) {
	f.Add("f\t0755\t0:0\t<131072\t/a\t\nd\t0755\t0:0\t-\t/\t\n")
	f.Add("one field\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		g, err := ReadGolden(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, line := range g.Compare(nil) {
			if !slices.Contains(g, strings.TrimPrefix(line, "- ")) {
				t.Errorf("%q: %q is not in the list", text, line)
			}
		}
		again, err := ReadGolden(strings.NewReader(g.String()))
		if err != nil || len(g) > 0 && !slices.Equal(g, again) {
			t.Errorf("%q was written, %q read, %v", g, again, err)
		}
	})
}
