package main

import (
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
