package zfs

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseName(t *testing.T) {
	for s, want := range map[string]Name{
		"tank":                                 {Pool: "tank"},
		"tank/a/b":                             {Pool: "tank", Path: "a/b"},
		"T-_.: 1/.../-x":                       {Pool: "T-_.: 1", Path: ".../-x"},
		"tank@s":                               {Pool: "tank", Snapshot: "s"},
		"tank/a@-":                             {Pool: "tank", Path: "a", Snapshot: "-"},
		"tank/a#b c":                           {Pool: "tank", Path: "a", Bookmark: "b c"},
		"tank/a/%recv":                         {Pool: "tank", Path: "a/%recv"},
		"t/" + strings.Repeat("a", 253):        {Pool: "t", Path: strings.Repeat("a", 253)},
		strings.Repeat("p", 239):               {Pool: strings.Repeat("p", 239)},
		"t" + strings.Repeat("/a", 60) + "@s":  {Pool: "t", Path: strings.TrimPrefix(strings.Repeat("/a", 60), "/"), Snapshot: "s"},
		"mirror-1/a":                           {Pool: "mirror-1", Path: "a"},
		"tank/c0t0d0":                          {Pool: "tank", Path: "c0t0d0"},
		"tank/a@" + strings.Repeat("s", 255-7): {Pool: "tank", Path: "a", Snapshot: strings.Repeat("s", 255-7)},
	} {
		got, err := ParseName(s)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", s, err, diff)
		}
		if got.String() != s {
			t.Errorf("%q comes back as %q", s, got)
		}
	}
}

// TestNameErrors: each error says what is wrong, where, and what was expected.
func TestNameErrors(t *testing.T) {
	for s, want := range map[string]string{
		"":                              "expected the name of a pool in front",
		"/tank":                         "expected the name of a pool in front",
		"@s":                            "expected the name of a pool in front",
		"1tank":                         `it has "1" at byte 1, expected a letter`,
		"-tank":                         `it has "-" at byte 1, expected a letter`,
		"tank!":                         `it has "!" at byte 5, expected letters, digits`,
		"ta%k/a":                        `it has "%" at byte 3, expected letters, digits`,
		"tank/":                         "it has nothing at byte 6, expected a component that is not empty",
		"tank//a":                       `it has "/" at byte 6, expected a component that is not empty`,
		"tank/a@":                       "it has nothing at byte 8, expected a component that is not empty",
		"tank/a@s@t":                    `it has "@" at byte 9, expected letters, digits`,
		"tank/a#s@t":                    `it has "@" at byte 9, expected letters, digits`,
		"tank/a@s/t":                    `it has "/" at byte 9, expected letters, digits`,
		"tank/./a":                      "neither '.' nor '..'",
		"tank/..":                       "neither '.' nor '..'",
		"tank@.":                        "neither '.' nor '..'",
		"tank/a\x00":                    `it has "\x00" at byte 7`,
		"tank/ä":                        `at byte 6, expected letters, digits`,
		"mirror":                        "no pool is called mirror",
		"draid/a":                       "no pool is called mirror, raidz or draid",
		"t/" + strings.Repeat("a", 254): "it has 256 bytes, expected 255 at most",
		strings.Repeat("p", 240):        "it has 240 bytes, expected 239 at most",
	} {
		if _, err := ParseName(s); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q in it", s, err, want)
		}
	}
}

func TestParseNew(t *testing.T) {
	deep := "t" + strings.Repeat("/a", 50)
	for _, c := range []struct {
		parse     func(string) (Name, error)
		good, bad []string
	}{
		{ParseNew, []string{"tank", "tank/a@s", "tank#b", deep[:len(deep)-2]}, []string{"tank/a%", "tank@50%", deep, deep + "@s"}},
		{ParseDataset, []string{"tank", "tank/a"}, []string{"tank@s", "tank/a#b", "tank/%recv"}},
		{ParseSnapshot, []string{"tank@s", "tank/a@s"}, []string{"tank", "tank#b", "tank@%s"}},
		{ParseBookmark, []string{"tank#b", "tank/a#b"}, []string{"tank", "tank@s", "tank#%b"}},
	} {
		for _, s := range c.good {
			if n, err := c.parse(s); err != nil || n.String() != s {
				t.Errorf("%q: got %q, %v", s, n, err)
			}
		}
		for _, s := range c.bad {
			if n, err := c.parse(s); !errors.Is(err, ErrInvalid) || n != (Name{}) {
				t.Errorf("%q: got %q, %v", s, n, err)
			}
		}
	}
}

func TestDataset(t *testing.T) {
	for name, want := range map[string]string{
		"tank": "tank", "tank/a/b": "tank/a/b", "tank@s": "tank", "tank/a/b@s": "tank/a/b", "tank/a#b": "tank/a",
	} {
		n, err := ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.Dataset(); got != want {
			t.Errorf("%s: dataset %q, want %q", name, got, want)
		}
	}
}

func TestCheckNames(t *testing.T) {
	for _, c := range []struct {
		check     func(string) error
		good, bad []string
	}{
		{CheckPool, []string{"tank", "raidz2", "log", "spare"}, []string{"", "raidz", "mirror", "9", "tank/a", "tank@s", "ta%nk"}},
		{CheckNewPool, []string{"tank", "logs", "disk", "c0"}, []string{"", "raidz2", "mirror-0", "draid1", "spares", "log"}},
		{CheckSnapshotName, []string{"s", "2026-11-26T10:00", "a b"}, []string{"", "a@b", "a/b", "%", ".", "..", "a\n", strings.Repeat("s", 256)}},
		{CheckTag, []string{"t", "cyvive:job", "a b/c@d"}, []string{"", ".t", "-t", "a\tb", "a\nb", "ä", strings.Repeat("t", 256)}},
	} {
		for _, s := range c.good {
			if err := c.check(s); err != nil {
				t.Error(err)
			}
		}
		for _, s := range c.bad {
			if err := c.check(s); !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: got %v", s, err)
			}
		}
	}
}
