package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
)

// TestBecomes walks the states that a node may be met in after it was told to start another release.
func TestBecomes(t *testing.T) {
	old := &upgradev1.System{Version: "1.0.0", Slot: machinev1.Slot_SLOT_A, RootHash: "0a"}
	target := &upgradev1.System{Version: "1.1.0", Slot: machinev1.Slot_SLOT_B, RootHash: "0b"}
	outcome := func(of *upgradev1.System, succeeded bool, reason string) *upgradev1.Outcome {
		return &upgradev1.Outcome{Target: of, From: old, Succeeded: succeeded, Reason: reason}
	}
	for name, test := range map[string]struct {
		status          *upgradev1.StatusResponse
		waiting, ending string // substrings; both empty is success
	}{
		"before the reboot": {&upgradev1.StatusResponse{Stage: upgradev1.Stage_STAGE_ARMED, BootId: "1", Running: old}, "going down", ""},
		"cut short":         {&upgradev1.StatusResponse{Stage: upgradev1.Stage_STAGE_ARMED, BootId: "2", Running: old}, "the node is armed", ""},
		"on trial": {
			&upgradev1.StatusResponse{Stage: upgradev1.Stage_STAGE_TRIAL, BootId: "2", Running: target, Reason: "network: no carrier"},
			"version 1.1.0 is on trial: network: no carrier", "",
		},
		"settling":   {&upgradev1.StatusResponse{Stage: upgradev1.Stage_STAGE_TRIAL, BootId: "2", Running: target}, "for a while", ""},
		"going back": {&upgradev1.StatusResponse{Stage: upgradev1.Stage_STAGE_REVERTING, BootId: "2", Reason: "not well"}, "going back: not well", ""},
		"succeeded":  {&upgradev1.StatusResponse{Stage: upgradev1.Stage_STAGE_IDLE, BootId: "2", Running: target, Last: outcome(target, true, "")}, "", ""},
		"rolled back": {
			&upgradev1.StatusResponse{Stage: upgradev1.Stage_STAGE_IDLE, BootId: "3", Running: old, Last: outcome(target, false, "kernel panic")},
			"", "rolled back to version 1.0.0 (slot a): kernel panic",
		},
		"cancelled by another": {
			&upgradev1.StatusResponse{Stage: upgradev1.Stage_STAGE_IDLE, BootId: "1", Running: old, Last: outcome(target, false, "cancelled")},
			"", "given up: cancelled",
		},
		"another upgrade": {
			&upgradev1.StatusResponse{Stage: upgradev1.Stage_STAGE_IDLE, BootId: "3", Running: old, Last: outcome(old, true, "")},
			"", "knows nothing of an upgrade to 1.1.0 (slot b)",
		},
		"a lost record": {&upgradev1.StatusResponse{Stage: upgradev1.Stage_STAGE_IDLE, BootId: "3", Running: old}, "", "knows nothing of an upgrade"},
	} {
		waiting, ending := becomes(test.status, target, "1")
		for what, pair := range map[string]struct {
			err  error
			want string
		}{"waits": {waiting, test.waiting}, "ends": {ending, test.ending}} {
			if (pair.err == nil) != (pair.want == "") || pair.err != nil && !strings.Contains(pair.err.Error(), pair.want) {
				t.Errorf("%s: %s with %v, want %q", name, what, pair.err, pair.want)
			}
		}
	}
}

func TestProgress(t *testing.T) {
	now := time.Unix(1000, 0)
	for terminal, want := range map[bool]string{
		true: "\rn: pushed 0 B of 4.0 KiB, 0%\x1b[K\rn: pushed 3.0 KiB of 4.0 KiB, 75%\x1b[K\rn: pushed 4.0 KiB of 4.0 KiB, 100%\x1b[K\n",
		// Elsewhere, a line for each quarter that is passed.
		false: "n: pushed 50%\nn: pushed 75%\nn: pushed 100%\n",
	} {
		var out bytes.Buffer
		at := now
		p := &progress{out: &out, terminal: terminal, node: "n", what: "pushed", now: func() time.Time { return at }}
		p.at(1, 0) // nothing is known of the whole
		p.at(0, 4096)
		p.at(2048, 4096)
		at = at.Add(time.Second)
		p.at(3072, 4096)
		p.at(4096, 4096)
		p.end()
		p.end()
		if d := cmp.Diff(want, out.String()); d != "" {
			t.Errorf("terminal %t (-want +got):\n%s", terminal, d)
		}
	}
}

// TestStall: a call on which nothing happens ends, and says so in words of its own.
func TestStall(t *testing.T) {
	ctx, s := withStall(t.Context())
	defer s.stop()
	other := errors.New("other")
	if got := s.cause(other); got != other {
		t.Errorf("cause of a call that did not stall: %v", got)
	}
	s.timer.Reset(0)
	<-ctx.Done()
	if got := s.cause(context.Canceled); got != errStalled {
		t.Errorf("cause of one that did: %v", got)
	}
}
