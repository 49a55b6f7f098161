package snapshots

import (
	"strings"
	"testing"
	"time"
)

// FuzzIsOf: a name counts as a policy's only if Name gives it, for the time that it says and some number of names that are taken. Everything else is a
// person's, and never pruned.
func FuzzIsOf(f *testing.F) {
	f.Add("a-", "a-20260301T120709Z")
	f.Add("a-", "a-before-the-upgrade")
	f.Fuzz(func(t *testing.T, prefix, name string) {
		if !isOf(prefix, name) {
			return
		}
		rest := strings.TrimPrefix(name, prefix)
		at, err := time.Parse(stamp, rest[:len(stamp)])
		if err != nil {
			t.Fatalf("%q has no time: %v", name, err)
		}
		if len(rest) > len(stamp)+len("-99") {
			return // it would take too long to count there
		}
		tries := 0
		got := Name(prefix, at, func(taken string) bool { tries++; return taken != name && tries < 100 })
		if got != name {
			t.Errorf("%q is taken for one of %q, and would be %q", name, prefix, got)
		}
	})
}
