package replication

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

var errCut = errors.New("cut")

// found is a replica with a partial receive, or with a snapshot.
func found(token string, bytes uint64, snapshots ...zfs.GUID) *FileSystem {
	f := &FileSystem{Token: token, Partial: zfs.Token{To: 2, From: 1, BytesReceived: bytes}}
	for _, guid := range snapshots {
		f.Versions = append(f.Versions, Version{GUID: guid})
	}
	return f
}

// TestMachine: each course is what comes of the actions, and the states that the machine goes through.
func TestMachine(t *testing.T) {
	ok, fails := Outcome{}, Outcome{Err: errCut}
	usual := Step{Kind: StepIncremental, Source: "a", Target: "b", From: Version{GUID: 1}, To: Version{GUID: 2, Name: "2"}}
	aborts, finish := usual, usual
	aborts.Abort, finish.Kind = 7, StepFinish
	check := Policy{Attempts: 3, First: time.Second, Most: time.Minute, Checksum: true}
	for name, c := range map[string]struct {
		step     Step
		policy   Policy
		outcomes []Outcome
		want     string
	}{
		"all goes well": {step: usual, outcomes: []Outcome{ok, ok, ok, ok}, want: "protecting transferring completing advancing done"},
		"contents are compared": {
			step: usual, policy: check, outcomes: []Outcome{ok, ok, ok, ok, ok}, want: "protecting transferring checking completing advancing done",
		},
		"contents cannot be compared": {
			step: usual, policy: check, outcomes: []Outcome{ok, ok, {Err: ErrUnsupported}, ok, ok},
			want: "protecting transferring checking completing advancing done",
		},
		"contents differ":         {step: usual, policy: check, outcomes: []Outcome{ok, ok, {Differs: true}}, want: "protecting transferring checking failed"},
		"only to be finished":     {step: finish, outcomes: []Outcome{ok, ok}, want: "completing advancing done"},
		"something is in the way": {step: aborts, outcomes: []Outcome{ok, ok, ok, ok, ok}, want: "aborting protecting transferring completing advancing done"},
		"it had arrived": {
			step: usual, outcomes: []Outcome{ok, fails, {Found: found("", 0, 1, 2)}, ok, ok},
			want: "protecting transferring inspecting completing advancing done",
		},
		"it goes on": {
			step: usual, outcomes: []Outcome{ok, fails, {Found: found("t", 10, 1)}, ok, ok, ok, ok, ok},
			want: "protecting transferring inspecting waiting protecting transferring(t) completing(t) advancing(t) done(t)",
		},
		"it begins anew": {
			step: usual, outcomes: []Outcome{ok, fails, {}, ok, ok, ok, ok, ok},
			want: "protecting transferring inspecting waiting protecting transferring completing advancing done",
		},
		"token is refused": {
			step: usual, outcomes: []Outcome{ok, {Err: zfs.ErrBadToken}, ok, ok, ok, ok, ok},
			want: "protecting transferring aborting protecting transferring completing advancing done",
		},
		"a person has to decide": {step: usual, outcomes: []Outcome{ok, {Err: zfs.ErrModified}}, want: "protecting transferring failed"},
		"it is fenced":           {step: usual, outcomes: []Outcome{{Err: ErrFenced}}, want: "protecting failed"},
		"no progress": {
			step: usual, outcomes: []Outcome{ok, fails, {}, ok, ok, fails, {}, ok, ok, fails, {}},
			want: "protecting transferring inspecting waiting protecting transferring inspecting waiting protecting transferring inspecting failed",
		},
		"the other side is away for a while": {
			step: usual, outcomes: []Outcome{ok, ok, fails, ok, ok, ok},
			want: "protecting transferring completing waiting completing advancing done",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.policy.Attempts == 0 {
				c.policy = Policy{Attempts: 3, First: time.Second, Most: time.Minute}
			}
			if diff := cmp.Diff(c.want, strings.Join(course(c.step, c.policy, c.outcomes), " ")); diff != "" {
				t.Errorf("course (-want +got):\n%s", diff)
			}
		})
	}
}

// course returns the states that a machine goes through, with the token that it has.
func course(s Step, p Policy, outcomes []Outcome) []string {
	m, now := NewMachine(s, p), time.Unix(0, 0)
	say := func() string {
		if m.Step.Token != "" && m.State() != Protecting && m.State() != Waiting {
			return fmt.Sprintf("%s(%s)", m.State(), m.Step.Token)
		}
		return string(m.State())
	}
	states := []string{say()}
	for _, o := range outcomes {
		now = now.Add(time.Hour)
		m.Advance(now, o)
		states = append(states, say())
	}
	return states
}

// TestMachineWaits: longer each time, up to a limit, and progress counts as none.
func TestMachineWaits(t *testing.T) {
	s := Step{Kind: StepIncremental, From: Version{GUID: 1}, To: Version{GUID: 2}}
	m, now := NewMachine(s, Policy{Attempts: 100, First: time.Second, Most: 5 * time.Second}), time.Unix(0, 0)
	var waits []time.Duration
	for range 5 {
		m.Advance(now, Outcome{Err: errCut})
		waits = append(waits, m.Until().Sub(now))
		m.Advance(now, Outcome{}) // too early
		if m.State() != Waiting || !strings.Contains(m.Reason(), "cut") {
			t.Fatalf("state %s, %s", m.State(), m.Reason())
		}
		now = m.Until()
		m.Advance(now, Outcome{})
	}
	if diff := cmp.Diff([]time.Duration{1e9, 2e9, 4e9, 5e9, 5e9}, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
	m.Advance(now, Outcome{})
	for bytes := range uint64(500) { // each attempt gets a little further
		m.Advance(now, Outcome{Err: errCut})
		m.Advance(now, Outcome{Found: found("t", bytes+1, 1)})
		if m.State() != Waiting {
			t.Fatalf("state %s after %d attempts that each got further", m.State(), bytes)
		}
		now = m.Until()
		m.Advance(now, Outcome{})
		m.Advance(now, Outcome{})
	}
}
