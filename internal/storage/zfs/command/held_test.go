package command

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestHeld: nobody waits for a program that cannot be ended, and nothing is begun that would wait beside it until it is gone.
func TestHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := NewHeld()
		var begun atomic.Int64 // the program runs beside the test
		start := func(ctx context.Context, program string, run func() error, args ...string) error {
			t.Helper()
			p, err := newProcess(ctx, program, args)
			if err != nil {
				t.Fatal(err)
			}
			return p.finish(ctx, held, func() error { begun.Add(1); return run() })
		}
		ends := func() error { return nil }
		goOn, why := make(chan struct{}), errors.New("not done within an hour")
		hour, cancel := context.WithTimeoutCause(t.Context(), time.Hour, why)
		defer cancel()
		before := time.Now()
		err := start(hour, "/bin/zpool", func() error { <-goOn; return nil }, "import", "-N", "7")
		if took := time.Since(before); !errors.Is(err, ErrHeld) || !errors.Is(err, why) || took > time.Hour+killedGrace {
			t.Errorf("a program that cannot be ended: after %s, %v", took, err)
		}
		for _, text := range []string{"run zpool import -N 7", "may be suspended"} {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("no word of %q in %v", text, err)
			}
		}
		if !errors.Is(err, zfs.ErrSuspended) {
			t.Errorf("its pool does not count as one that does not answer: %v", err)
		}
		begun.Store(0)
		if err := start(t.Context(), "/bin/zpool", ends, "import", "-N", "7"); !errors.Is(err, ErrHeld) || !errors.Is(err, zfs.ErrSuspended) || begun.Load() != 0 {
			t.Errorf("the same again: %v, begun %d times", err, begun.Load())
		}
		if err := start(t.Context(), "/bin/zpool", ends, "import", "-N", "8"); err != nil {
			t.Errorf("that of another pool: %v", err)
		}
		close(goOn)
		synctest.Wait()
		if err := start(t.Context(), "/bin/zpool", ends, "import", "-N", "7"); err != nil {
			t.Errorf("when it is gone: %v", err)
		}
	})
}

// TestHeldChanges: what changes something on a pool does not overtake what is held there.
func TestHeldChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := NewHeld()
		goOn := make(chan struct{})
		defer close(goOn)
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		p, err := newProcess(short, "/bin/zfs", []string{"set", "-u", "--", "readonly=on", "bad/x"})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.finish(short, held, func() error { <-goOn; return nil }); !errors.Is(err, ErrHeld) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		for args, want := range map[string]bool{
			"set -u -- readonly=off bad/x/y": true, "snapshot -- bad@a bad/x@a": true, "program -j -- bad - good@a": true, "hold -- tag bad@a": true, "bookmark -- bad@a bad#b": true,
			"set -u -- readonly=off good/x": false, "program -j -- good - bad@a": false, "list -j -- bad": false, "holds -H -p -- bad@a": false, "snapshot -- badly@a": false,
		} {
			p, err := newProcess(t.Context(), "/bin/zfs", strings.Fields(args))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.finish(t.Context(), held, func() error { return nil }); errors.Is(err, ErrHeld) != want {
				t.Errorf("zfs %s: %v, is to be kept back: %t", args, err, want)
			}
		}
	})
}
