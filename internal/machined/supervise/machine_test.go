package supervise

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var testPolicy = Policy{
	FirstDelay: time.Second, MaxDelay: 3 * time.Second,
	Steady: time.Minute, StopTimeout: 10 * time.Second,
}

// TestMachine walks the drawing: each step is an event after some time, and
// what must follow.
func TestMachine(t *testing.T) {
	type step struct {
		after time.Duration
		event EventKind
		want  Action
		state State
	}
	tests := map[string][]step{
		"start, stop": {
			{0, StartAsked, Spawn, Running},
			{0, StartAsked, Nothing, Running},
			{time.Second, StopAsked, Terminate, Stopping},
			{time.Second, Exited, Nothing, Stopped},
			{0, StopAsked, Nothing, Stopped},
		},
		"kill when overdue, again and again": {
			{0, StartAsked, Spawn, Running},
			{0, StopAsked, Terminate, Stopping},
			{9 * time.Second, TimeReached, Nothing, Stopping},
			{time.Second, TimeReached, Kill, Stopping},
			{10 * time.Second, TimeReached, Kill, Stopping},
			{0, Exited, Nothing, Stopped},
		},
		"back off, doubling to a limit": {
			{0, StartAsked, Spawn, Running},
			{0, Exited, Nothing, Waiting},
			{500 * time.Millisecond, TimeReached, Nothing, Waiting},
			{500 * time.Millisecond, TimeReached, Spawn, Running},
			{0, Exited, Nothing, Waiting},
			{time.Second, TimeReached, Nothing, Waiting},
			{time.Second, TimeReached, Spawn, Running},
			{0, Exited, Nothing, Waiting},
			{3 * time.Second, TimeReached, Spawn, Running},
			{0, Exited, Nothing, Waiting},
			{3 * time.Second, TimeReached, Spawn, Running},
		},
		"a steady run resets the delay": {
			{0, StartAsked, Spawn, Running},
			{0, Exited, Nothing, Waiting},
			{time.Second, TimeReached, Spawn, Running},
			{time.Minute, Exited, Nothing, Waiting},
			{time.Second, TimeReached, Spawn, Running},
		},
		"stop while waiting": {
			{0, StartAsked, Spawn, Running},
			{0, Exited, Nothing, Waiting},
			{0, StopAsked, Nothing, Stopped},
			{time.Minute, TimeReached, Nothing, Stopped},
		},
		"start while waiting does not wait": {
			{0, StartAsked, Spawn, Running},
			{0, Exited, Nothing, Waiting},
			{0, StartAsked, Spawn, Running},
		},
		"restart": {
			{0, StartAsked, Spawn, Running},
			{0, RestartAsked, Terminate, Stopping},
			{time.Second, Exited, Spawn, Running},
		},
		"start while stopping, taken back": {
			{0, StartAsked, Spawn, Running},
			{0, StopAsked, Terminate, Stopping},
			{0, StartAsked, Nothing, Stopping},
			{0, StopAsked, Nothing, Stopping},
			{0, Exited, Nothing, Stopped},
		},
		"retire has no deadline": {
			{0, StartAsked, Spawn, Running},
			{0, RetireAsked, Retire, Stopping},
			{time.Hour, TimeReached, Nothing, Stopping},
			{0, Exited, Nothing, Stopped},
			{0, RetireAsked, Nothing, Stopped},
		},
		"retire while a restart is under way": {
			{0, StartAsked, Spawn, Running},
			{0, RestartAsked, Terminate, Stopping},
			{0, RetireAsked, Retire, Stopping},
			{0, Exited, Nothing, Stopped},
		},
		"retire while waiting": {
			{0, StartAsked, Spawn, Running},
			{0, Exited, Nothing, Waiting},
			{0, RetireAsked, Nothing, Stopped},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			m := NewMachine(testPolicy, now)
			for i, s := range steps {
				now = now.Add(s.after)
				if got := m.Step(s.event, now); got != s.want {
					t.Fatalf("step %d: action = %v, want %v", i, got, s.want)
				}
				if got, _ := m.State(); got != s.state {
					t.Fatalf("step %d: state = %v, want %v", i, got, s.state)
				}
			}
		})
	}
}

// TestMachineNeverStuck: from wherever random events lead, a service that is
// asked to start runs once its exits and deadlines have come.
func TestMachineNeverStuck(t *testing.T) {
	for seed := range uint32(2000) {
		now := time.Unix(1000, 0)
		m := NewMachine(testPolicy, now)
		x := seed*2654435761 + 1
		for range 30 {
			x = x*1664525 + 1013904223
			now = now.Add(time.Duration(x>>20) * time.Millisecond)
			e := EventKind((x >> 8) % uint32(TimeReached+1))
			if state, _ := m.State(); e == Exited && state != Running && state != Stopping {
				continue // no process, no exit
			}
			m.Step(e, now)
		}
		m.Step(StartAsked, now)
		if state, _ := m.State(); state == Stopping {
			m.Step(Exited, now)
		}
		if state, _ := m.State(); state != Running {
			t.Fatalf("seed %d: state = %v, want running", seed, state)
		}
	}
}

func TestStateString(t *testing.T) {
	got := []string{Stopped.String(), Running.String(), Waiting.String(), Stopping.String(), State(9).String()}
	want := []string{"stopped", "running", "waiting", "stopping", "unknown"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
