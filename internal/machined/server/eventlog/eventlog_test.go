package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// read returns the sequence numbers that a reader gets.
func read(t *testing.T, l *Log, o server.StreamOptions) []uint64 {
	t.Helper()
	var got []uint64
	if err := l.Stream(t.Context(), o, func(e server.Event) error {
		got = append(got, e.Sequence)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestKeepsTheNewest(t *testing.T) {
	l := New(time.Now)
	if got := read(t, l, server.StreamOptions{Tail: -1}); got != nil {
		t.Errorf("empty log: got %v", got)
	}
	for range Keep + 5 {
		l.Add(server.EventHealth, "etcd", "ready", strings.Repeat("x", 5000))
	}
	got := read(t, l, server.StreamOptions{Tail: -1})
	if len(got) != Keep || got[0] != 6 || got[Keep-1] != Keep+5 {
		t.Errorf("got %d events, %d to %d; want %d, 6 to %d", len(got), got[0], got[len(got)-1], Keep, Keep+5)
	}
	if diff := cmp.Diff([]uint64{Keep + 4, Keep + 5}, read(t, l, server.StreamOptions{Tail: 2})); diff != "" {
		t.Errorf("tail 2 (-want +got):\n%s", diff)
	}
	if got := read(t, l, server.StreamOptions{Tail: 0}); got != nil {
		t.Errorf("tail 0: got %v", got)
	}
	if n := len(l.events[0].Reason); n != maxTextBytes {
		t.Errorf("a reason of 5000 bytes is kept with %d, want %d", n, maxTextBytes)
	}
}

// TestNoisySourceForgetsItsOwn: a check whose reason changes all the time leaves what
// others told.
func TestNoisySourceForgetsItsOwn(t *testing.T) {
	l := New(time.Now)
	l.Add(server.EventAgent, "agent", "started", "")
	l.Add(server.EventHealth, "etcd", "not ready", "no answer")
	for i := range 3 * Keep {
		l.Add(server.EventHealth, "node", "not ready", fmt.Sprintf("no answer for %d s", i))
		if i == Keep {
			l.Add(server.EventService, "node", "failed", "of another kind")
		}
	}
	got := read(t, l, server.StreamOptions{Tail: -1})
	const quiet, last = 3, 3*Keep + 3 // the third is number Keep+4
	want := []uint64{1, 2, Keep + 4}
	for n := uint64(last - (Keep - quiet) + 1); n <= last; n++ {
		want = append(want, n)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sequence numbers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:], read(t, l, server.StreamOptions{Tail: Keep - 1})); diff != "" {
		t.Errorf("all but one (-want +got):\n%s", diff)
	}
}

// TestManySourcesForgetTheOldest: where no source has more than the others, the oldest goes.
func TestManySourcesForgetTheOldest(t *testing.T) {
	l := New(time.Now)
	for i := range Keep + 5 {
		l.Add(server.EventService, fmt.Sprint(i), "running", "")
	}
	if got := read(t, l, server.StreamOptions{Tail: -1}); len(got) != Keep || got[0] != 6 {
		t.Errorf("got %d events from %d on, want %d from 6", len(got), got[0], Keep)
	}
	if len(l.counts) != Keep {
		t.Errorf("%d sources are counted, want %d", len(l.counts), Keep)
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(time.Now)
		l.Add(server.EventAgent, "agent", "started", "")
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		ended := make(chan error)
		go func() {
			ended <- l.Stream(ctx, server.StreamOptions{Follow: true, Tail: -1}, func(e server.Event) error {
				got = append(got, e.Subject)
				return nil
			})
		}()
		synctest.Wait()
		l.Add(server.EventService, "etcd", "running", "")
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"agent", "etcd"}, got); diff != "" {
			t.Errorf("subjects (-want +got):\n%s", diff)
		}
	})
}

func TestSendErrorEnds(t *testing.T) {
	l, want := New(time.Now), errors.New("gone")
	l.Add(server.EventAgent, "agent", "started", "")
	if err := l.Stream(t.Context(), server.StreamOptions{Tail: -1}, func(server.Event) error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}
