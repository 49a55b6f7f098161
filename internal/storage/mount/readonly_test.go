package mount

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestWithin: what does not come to its end is not waited for longer than a context lets it.
func TestWithin(t *testing.T) {
	r := NewSystem(nil).remounts
	failed := errors.New("failed")
	if err := r.within(t.Context(), "tank", func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v, want %v", err, failed)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	goOn := make(chan struct{})
	defer close(goOn)
	if err := r.within(ctx, "tank", func() error { <-goOn; return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

// TestWithinOnce: what does not come to its end is not begun again, but for another file system; when it has ended, it is.
func TestWithinOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewSystem(nil).remounts
		var begun atomic.Int32
		goOn := make(chan struct{})
		hang := func() error { begun.Add(1); <-goOn; return nil }
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := r.within(ctx, "tank", hang); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
			}
			cancel()
		}
		if err := r.within(t.Context(), "pond", func() error { return nil }); err != nil || begun.Load() != 1 {
			t.Errorf("begun %d times; another: %v", begun.Load(), err)
		}
		close(goOn)
		if err := r.within(t.Context(), "tank", hang); err != nil || begun.Load() != 2 {
			t.Errorf("once it has ended: begun %d times, %v", begun.Load(), err)
		}
	})
}
