package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
)

// TestFailingText: what is wrong, since when, and when it is tried again.
func TestFailingText(t *testing.T) {
	at := time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)
	since, next := timestamppb.New(at), timestamppb.New(at.Add(15*time.Minute))
	for want, j := range map[string]*replicationv1.Job{
		"": {NextAt: next},
		"since 2026-11-26T04:00:00Z, tried again at 2026-11-26T04:15:00Z: no route": {FailingSince: since, NextAt: next, Problem: "no route"},
		"since 2026-11-26T04:00:00Z, tried again now: no route":                     {FailingSince: since, NextAt: next, Problem: "no route", Progress: &replicationv1.Progress{}},
		"since 2026-11-26T04:00:00Z: no route":                                      {FailingSince: since, Problem: "no route"},
	} {
		if got := failingText(j); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestRunError: only the run that was waited for tells that it went well.
func TestRunError(t *testing.T) {
	for what, c := range map[string]struct {
		end  *replicationv1.Outcome
		want string
	}{
		"it went well":                {&replicationv1.Outcome{Run: 7, Succeeded: true}, ""},
		"it failed":                   {&replicationv1.Outcome{Run: 7, Problem: "no route"}, "no route"},
		"another one went well since": {&replicationv1.Outcome{Run: 8, Succeeded: true}, "another run has ended since"},
	} {
		got := ""
		if err := runError(c.end, 7); err != nil {
			got = err.Error()
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", what, got, c.want)
		}
	}
}

// TestFailoverWithoutReplicas: who takes the role back from the node that a failback gave it to is told what is not in the tree then.
func TestFailoverWithoutReplicas(t *testing.T) {
	for role, want := range map[replicationv1.Role]string{
		replicationv1.Role_ROLE_FENCED: "on the other node since is not in it", replicationv1.Role_ROLE_PRIMARY: "told once more",
	} {
		got := withoutReplicas(&replicationv1.Job{Roots: []*replicationv1.Root{{Role: replicationv1.Role_ROLE_PRIMARY}, {Role: role}}})
		if !strings.Contains(got, want) {
			t.Errorf("%v: %q, want %q in it", role, got, want)
		}
	}
}
