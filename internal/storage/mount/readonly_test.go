package mount

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestWithin: what does not come to its end is not waited for longer than a context lets it.
func TestWithin(t *testing.T) {
	failed := errors.New("failed")
	if err := within(t.Context(), func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v, want %v", err, failed)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	goOn := make(chan struct{})
	defer close(goOn)
	if err := within(ctx, func() error { <-goOn; return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}
