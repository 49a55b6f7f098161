package state

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

func TestWatchSeesTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(1)
		if v, version, err := s.Watch(t.Context(), 0); v != 1 || version != 1 || err != nil {
			t.Errorf("first: %d at %d, %v", v, version, err)
		}
		got := make(chan int)
		go func() {
			v, _, err := s.Watch(t.Context(), 1)
			if err != nil {
				t.Error(err)
			}
			got <- v
		}()
		synctest.Wait()
		if version := s.Update(func(v int) int { return v + 1 }); version != 2 {
			t.Errorf("version %d", version)
		}
		if v := <-got; v != 2 {
			t.Errorf("watched %d", v)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := s.Watch(ctx, 2); !errors.Is(err, context.Canceled) {
			t.Errorf("end of the watch: %v", err)
		}
	})
}

func TestConcurrentUpdates(t *testing.T) {
	s := New(0)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { s.Update(func(v int) int { return v + 1 }) })
	}
	all.Wait()
	if v, version := s.Get(); v != 50 || version != 51 {
		t.Errorf("got %d at version %d", v, version)
	}
}

func TestWaits(t *testing.T) {
	for want, r := range map[string]Report[int]{
		"":        {Satisfied: true},
		"held":    {Held: "held", Problem: "old"},
		"problem": {Problem: "problem", Doing: "doing"},
		"doing":   {Doing: "doing"},
	} {
		if got := r.Waits(); got != want {
			t.Errorf("waits of %+v: got %q, want %q", r, got, want)
		}
	}
}
