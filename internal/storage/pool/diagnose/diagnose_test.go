package diagnose

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/events"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

func TestCounter(t *testing.T) {
	start := time.Unix(1e9, 0)
	for name, test := range map[string]struct {
		n      uint64
		within time.Duration
		at     []int // seconds
		want   []int // numbers of those with which it fires
	}{
		"one":                  {1, 0, []int{5, 6}, []int{0}},
		"three within":         {3, 10 * time.Second, []int{0, 5, 10, 11}, []int{2}},
		"three, not within":    {3, 10 * time.Second, []int{0, 5, 11, 22, 33}, nil},
		"the last three":       {3, 10 * time.Second, []int{0, 20, 21, 22}, []int{3}},
		"none is taken as one": {0, time.Second, []int{0}, []int{0}},
	} {
		c := newCounter(test.n, test.within)
		var got []int
		for i, s := range test.at {
			if c.record(start.Add(time.Duration(s) * time.Second)) {
				got = append(got, i)
			}
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	huge := newCounter(1<<60, time.Hour)
	for range 2 * maxEvents {
		huge.record(start)
	}
	if len(huge.times) > maxEvents {
		t.Errorf("it keeps %d events", len(huge.times))
	}
}

// pools is what a recorder does not answer.
type pools interface{ pool.Pools }

// recorder is a pool.Pools that notes what it is asked, and refuses spares that are too small.
type recorder struct {
	pools
	calls []string
	small string
}

func (r *recorder) note(format string, args ...any) error {
	r.calls = append(r.calls, fmt.Sprintf(format, args...))
	return nil
}

func (r *recorder) Offline(_ context.Context, p, v string, fault bool) error {
	return r.note("offline %s %s %t", p, v, fault)
}

func (r *recorder) Replace(_ context.Context, p, v, device string) error {
	_ = r.note("replace %s %s %s", p, v, device)
	if device == r.small {
		return pool.ErrTooSmall
	}
	return nil
}

func (r *recorder) Detach(_ context.Context, p, v string) error { return r.note("detach %s %s", p, v) }

func TestApply(t *testing.T) {
	spares := []pool.Vdev{{Name: "s", Path: "/dev/s", GUID: 8}, {Name: "t", Path: "/dev/t", GUID: 9}}
	r := &recorder{small: "/dev/s"}
	for _, a := range []Action{
		{Kind: Fault, Pool: "tank", VdevGUID: 7},
		{Kind: UseSpare, Pool: "tank", VdevGUID: 7, Spares: spares},
		{Kind: DetachSpare, Pool: "tank", VdevGUID: 7, Spares: spares[1:]},
		{Kind: Degrade, Pool: "tank", VdevGUID: 7}, {Kind: Notice, Pool: "tank"},
	} {
		if err := Apply(t.Context(), r, a); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	want := []string{"offline tank 7 true", "replace tank 7 /dev/s", "replace tank 7 /dev/t", "detach tank 9"}
	if d := cmp.Diff(want, r.calls); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
	err := Apply(t.Context(), r, Action{Kind: UseSpare, Pool: "tank", Vdev: "a", VdevGUID: 7, Spares: spares[:1], Why: "it is gone"})
	if !errors.Is(err, pool.ErrTooSmall) || !strings.HasPrefix(err.Error(), "use a spare for a in pool tank: s (it is gone): ") {
		t.Error(err)
	}
}

// TestLeft: what is not carried out is new once, and again when it has gone on for long.
func TestLeft(t *testing.T) {
	e, now := New(Config{}), time.Unix(1e9, 0)
	a := Action{Kind: Fault, PoolGUID: 1, VdevGUID: 2, Why: "10 errors"}
	other, more := a, a
	other.VdevGUID, more.Kind = 3, Degrade
	for i, c := range []struct {
		a     Action
		after time.Duration
		known bool
	}{{a, 0, false}, {a, time.Minute, true}, {other, 0, false}, {more, 0, false}, {a, 11 * time.Hour, true}, {a, 2 * time.Hour, false}, {a, 0, true}} {
		now = now.Add(c.after)
		if known := e.Left(c.a, now); known != c.known {
			t.Errorf("action %d is known: %t", i, known)
		}
	}
	if len(e.left) != 1 {
		t.Errorf("it keeps %d", len(e.left))
	}
}

// TestWalk feeds events at random: whatever comes, no device of a pool is acted on that the pool does not have, and what is kept has a bound.
func TestWalk(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	classes := []events.Class{
		events.Checksum, events.IO, events.Delay, events.IOFailure, events.ProbeFailure, "ereport.fs.zfs.vdev.open_failed", events.Removed, events.StateChange,
		events.PoolImport, events.VdevClear, events.VdevRemove, events.ResilverFinish, events.Dropped, events.AutoReplace, events.PoolFailure,
	}
	states := []pool.State{pool.Online, pool.Degraded, pool.Faulted, pool.Removed, pool.Unavailable, pool.Offline}
	e := New(Config{})
	now := time.Unix(1e9, 0)
	p := pool.Pool{Name: "tank", GUID: 1, State: pool.Online, Vdevs: []pool.Vdev{
		{Name: "mirror-0", Type: "mirror", GUID: 2, Children: []pool.Vdev{{Name: "a", Type: "disk", GUID: 3}, {Name: "b", Type: "disk", GUID: 4}}},
		{Name: "s", Type: "disk", Class: pool.Spare, GUID: 5, State: pool.Available},
	}}
	for range 20000 {
		for i := range p.Vdevs[0].Children {
			if r.IntN(10) == 0 {
				p.Vdevs[0].Children[i].State = states[r.IntN(len(states))]
			}
		}
		ev := events.Event{
			Class: classes[r.IntN(len(classes))], PoolGUID: zfs.GUID(1 + r.IntN(2)), VdevGUID: zfs.GUID(r.IntN(8)), ParentGUID: 2, VdevType: "disk", Time: now,
			VdevState: states[r.IntN(len(states))], SlowIOs: events.Threshold{N: 3, Within: time.Minute, Set: r.IntN(2) == 0},
		}
		var actions []Action
		if r.IntN(4) == 0 {
			actions = e.Look([]pool.Pool{p}, now)
		} else {
			actions = e.Event(ev, []pool.Pool{p}, now)
		}
		for _, a := range actions {
			if a.Kind != Notice && (a.PoolGUID != 1 || a.VdevGUID != 3 && a.VdevGUID != 4) {
				t.Fatalf("after %+v: %s", ev, a)
			}
			if a.Kind == Fault && state(p, a.VdevGUID) != pool.Online && state(p, a.VdevGUID) != pool.Degraded {
				t.Fatalf("faulted, and was %s: %s", state(p, a.VdevGUID), a)
			}
		}
		now = now.Add(time.Duration(r.IntN(20)) * time.Second)
	}
	if len(e.cases) > 2 || len(e.gone) > 2 || len(e.acted) > 2 {
		t.Errorf("it keeps %d, %d and %d of two devices", len(e.cases), len(e.gone), len(e.acted))
	}
}

func state(p pool.Pool, guid zfs.GUID) pool.State {
	_, leaf, _ := find([]pool.Pool{p}, key{p.GUID, guid})
	return leaf.State
}
