package cmdline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := map[string]Args{
		"":                          nil,
		" \n":                       nil,
		"quiet ro":                  {{"quiet", ""}, {"ro", ""}},
		"a=b a=c=d":                 {{"a", "b"}, {"a", "c=d"}},
		`dyndbg="file a.c +p" x`:    {{"dyndbg", "file a.c +p"}, {"x", ""}},
		`"quoted key=with space" y`: {{"quoted key", "with space"}, {"y", ""}},
		"a -- b":                    {{"a", ""}},
		`open="end x`:               {{"open", "end x"}},
	}
	for line, want := range tests {
		if d := cmp.Diff(want, Parse(line)); d != "" {
			t.Errorf("Parse(%q):\n%s", line, d)
		}
	}
	if v, ok := Parse("a=1 b a=2").Last("a"); v != "2" || !ok {
		t.Errorf("Last(a) = %q, %v; want 2", v, ok)
	}
	if _, ok := Parse("ab=1").Last("a"); ok {
		t.Error("Last(a) found ab")
	}
}

func TestRootHash(t *testing.T) {
	good := strings.Repeat("0f", 32)
	tests := map[string]string{
		"roothash=" + good:                       "",
		"roothash=" + good + " roothash=" + good: "",
		"quiet":                                  "is missing",
		"roothash=":                              "is missing",
		"roothash=abc":                           "64 hexadecimal digits",
		"roothash=" + good + "00":                "64 hexadecimal digits",
		"roothash=" + strings.Repeat("0g", 32):   "64 hexadecimal digits",
		"roothash=" + good + " roothash=" + strings.Repeat("1", 64): "given twice",
	}
	for line, want := range tests {
		hash, err := Parse(line).RootHash()
		switch {
		case want == "" && (err != nil || hash[0] != 0x0f || hash[31] != 0x0f):
			t.Errorf("%q: %x, %v", line, hash, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want an error with %q", line, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`roothash=00 a="b c" -- x`)
	f.Add("a\x00b")
	f.Fuzz(func(t *testing.T, s string) {
		for _, a := range Parse(s) {
			if strings.ContainsAny(a.Key+a.Value, `"`) {
				t.Errorf("quotes are left in %+v", a)
			}
		}
	})
}

func TestOnly(t *testing.T) {
	args := Parse("a=1 b a=1 c=1 c=2 d= d=1")
	for key, want := range map[string]string{"a": "1 true <nil>", "b": " true <nil>", "e": " false <nil>"} {
		value, ok, err := args.Only(key)
		if got := fmt.Sprint(value, " ", ok, " ", err); got != want {
			t.Errorf("Only(%s): got %s, want %s", key, got, want)
		}
	}
	for _, key := range []string{"c", "d"} {
		if _, _, err := args.Only(key); err == nil || !strings.Contains(err.Error(), key+"= is given twice, and differs") {
			t.Errorf("Only(%s): %v", key, err)
		}
	}
}
