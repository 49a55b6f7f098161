package vmtest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestFollower(t *testing.T) {
	// The writer ends between the question and the read: what it wrote counts.
	file, w := io.Pipe()
	go func() {
		_, _ = w.Write([]byte("late"))
		_ = w.Close()
	}()
	f := &follower{ctx: t.Context(), file: file, alive: func() bool { return false }}
	if got, err := io.ReadAll(f); err != nil || string(got) != "late" {
		t.Errorf("got %q, %v", got, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("too long"))
	f = &follower{ctx: ctx, file: strings.NewReader(""), alive: func() bool { return true }}
	if _, err := f.Read(make([]byte, 1)); err == nil || err.Error() != "too long" {
		t.Errorf("got %v, want the context's cause", err)
	}
}
