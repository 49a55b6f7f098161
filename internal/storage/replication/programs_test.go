package replication_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
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

// TestProgramsOfAStep: a run with some steps starts no other programs than those of the table in the package's comment, on each side.
func TestProgramsOfAStep(t *testing.T) {
	p := newPair(t, models)
	p.job.Checksum = false
	p.replicated()
	made := 1
	for _, steps := range []int{1, 2, 5} {
		for range steps {
			made++
			p.write("")
			p.snapshot(fmt.Sprint(made))
		}
		p.a.faulty.Restart()
		p.b.faulty.Restart()
		if _, err := p.run(); err != nil {
			t.Fatal(err)
		}
		sending := map[string]int{
			"List": 1 + 3*steps, "Estimate": steps, "Hold": steps, "Bookmark": steps, "Send": steps, "Release": steps, "Destroy": steps,
		}
		receiving := map[string]int{"List": 1 + 2*steps, "Holds": 1, "Receive": steps, "Hold": steps, "Release": steps}
		if diff := cmp.Diff(sending, programs(p.a.faulty)); diff != "" {
			t.Errorf("%d steps: on the sending side (-want +got):\n%s", steps, diff)
		}
		if diff := cmp.Diff(receiving, programs(p.b.faulty)); diff != "" {
			t.Errorf("%d steps: on the receiving side (-want +got):\n%s", steps, diff)
		}
		p.noneLeft()
	}
}

// counted counts what lists have.
type counted struct {
	zfs.System
	mu     sync.Mutex
	listed int
}

// List implements zfs.System.
func (c *counted) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	found, err := c.System.List(ctx, q)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed += len(found)
	return found, err
}

// TestManySnapshots: but for the look at the beginning of a run, a step does not list what it does not need.
func TestManySnapshots(t *testing.T) {
	const many, needed = 200, 20
	a, b := &counted{}, &counted{}
	p := newPair(t, func(t *testing.T) (zfstest.Target, zfstest.Target) {
		from, to := models(t)
		a.System, b.System = from.System, to.System
		from.System, to.System = a, b
		return from, to
	})
	p.bytes = 1000
	p.job.Checksum = false
	for i := range many {
		p.snapshot(fmt.Sprint(i))
	}
	p.ok()
	p.write("")
	p.snapshot("new")
	a.listed, b.listed = 0, 0
	if _, err := p.run(); err != nil {
		t.Fatal(err)
	}
	for what, listed := range map[string]int{"sending": a.listed, "receiving": b.listed} {
		if listed < many || listed > many+needed {
			t.Errorf("on the %s side, %d datasets were listed, want those of one look, and %d more at most", what, listed, needed)
		}
	}
}
