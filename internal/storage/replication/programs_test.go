package replication_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// programs are how often each method of a system was called since the last restart. On real OpenZFS each call is a program.
func programs(f *zfstest.Faulty) map[string]int {
	count := map[string]int{}
	for _, method := range f.All() {
		count[method]++
	}
	return count
}

// TestProgramsOfALook: what the roots say of themselves is not read apart from their trees.
func TestProgramsOfALook(t *testing.T) {
	p := newPair(t, models)
	p.replicated("x")
	p.a.faulty.Restart()
	p.b.faulty.Restart()
	if _, err := p.run(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"List": 1}, programs(p.a.faulty)); diff != "" {
		t.Errorf("on the sending side (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"List": 1, "Holds": 1}, programs(p.b.faulty)); diff != "" {
		t.Errorf("on the receiving side (-want +got):\n%s", diff)
	}
}
