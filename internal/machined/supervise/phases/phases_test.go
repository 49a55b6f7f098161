package phases

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var twoPhases = []Phase{{"a", 10 * time.Second}, {"b", 5 * time.Second}}

func TestMachine(t *testing.T) {
	type step struct {
		after time.Duration
		event Event
		want  []Action
	}
	beginB := []Action{{Begin, "b"}}
	tests := map[string][]step{
		"all done": {
			{0, Event{Kind: Asked}, []Action{{Begin, "a"}}},
			{time.Second, Event{Done, "a"}, beginB},
			{time.Second, Event{Done, "b"}, []Action{{Kind: GoDown}}},
			{time.Second, Event{Kind: Asked}, nil},
		},
		"nothing ends": {
			{0, Event{Kind: Asked}, []Action{{Begin, "a"}}},
			{9 * time.Second, Event{Kind: TimeReached}, nil},
			{time.Second, Event{Kind: TimeReached}, []Action{{Abandon, "a"}, {Begin, "b"}}},
			{4 * time.Second, Event{Kind: TimeReached}, nil},
			{time.Second, Event{Kind: TimeReached}, []Action{{Abandon, "b"}, {Kind: GoDown}}},
		},
		"a late end is not the next phase's": {
			{0, Event{Kind: Asked}, []Action{{Begin, "a"}}},
			{10 * time.Second, Event{Kind: TimeReached}, []Action{{Abandon, "a"}, {Begin, "b"}}},
			{0, Event{Done, "a"}, nil},
			{0, Event{Done, "b"}, []Action{{Kind: GoDown}}},
		},
		"asked twice": {
			{0, Event{Kind: Asked}, []Action{{Begin, "a"}}},
			{0, Event{Kind: Asked}, nil},
			{0, Event{Done, "a"}, beginB},
		},
		"nothing before it is asked": {
			{0, Event{Done, "a"}, nil},
			{time.Hour, Event{Kind: TimeReached}, nil},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			m, now := New(twoPhases), time.Unix(1000, 0)
			for i, s := range steps {
				now = now.Add(s.after)
				if d := cmp.Diff(s.want, m.Step(s.event, now)); d != "" {
					t.Fatalf("step %d (-want +got):\n%s", i, d)
				}
			}
		})
	}
}

// TestMachineAlwaysEnds: whatever is reported, a machine is down no later than
// the sum of its deadlines.
func TestMachineAlwaysEnds(t *testing.T) {
	for seed := range uint32(1000) {
		m, now := New(twoPhases), time.Unix(1000, 0)
		m.Step(Event{Kind: Asked}, now)
		x := seed + 1
		for end := now.Add(15 * time.Second); now.Before(end); now = now.Add(time.Second) {
			x = x*1664525 + 1013904223
			m.Step(Event{EventKind((x >> 8) % 3), []string{"a", "b", "c"}[(x>>16)%3]}, now)
			m.Step(Event{Kind: TimeReached}, now)
		}
		m.Step(Event{Kind: TimeReached}, now)
		if m.State() != Finished || !m.Deadline().IsZero() {
			t.Fatalf("seed %d: %v after the last deadline", seed, m.State())
		}
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		order := make(chan string, 8)
		ticks := 0
		began := time.Now()
		Run(slog.New(slog.DiscardHandler), append(twoPhases, Phase{"c", time.Second}, Phase{"d", time.Second}), map[string]Work{
			"a": func(context.Context) error { order <- "a"; return errors.New("bad") },
			"b": func(ctx context.Context) error { // hangs until its deadline
				<-ctx.Done()
				order <- "b"
				return ctx.Err()
			},
			"c": func(context.Context) error { order <- "c"; panic("broken") },
		}, func() { ticks++ })
		synctest.Wait()
		close(order)
		ran := map[string]bool{}
		for name := range order {
			ran[name] = true
		}
		if d := cmp.Diff(map[string]bool{"a": true, "b": true, "c": true}, ran); d != "" {
			t.Error(d)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v, want 5s: the deadline of b alone", took)
		}
		if ticks < 4 {
			t.Errorf("%d ticks in 5 s", ticks)
		}
	})
}

func TestStateString(t *testing.T) {
	got := []string{Idle.String(), Walking.String(), Finished.String(), State(7).String()}
	if d := cmp.Diff([]string{"idle", "walking", "finished", "unknown"}, got); d != "" {
		t.Error(d)
	}
}
