package boot

import (
	"fmt"
	"log/slog"
	"time"
)

// Step is one line of the boot's table.
type Step struct {
	Name string
	Run  func() error
	// Needed steps stop the boot when they fail; others are reported only.
	Needed bool
}

// Walk runs steps in order, each reported with its time. It ends at the first
// needed step that fails. A step that panics has failed.
func Walk(log *slog.Logger, steps []Step) error {
	for i, s := range steps {
		began := time.Now()
		err := guard(s.Run)
		took := time.Since(began).Round(time.Millisecond)
		at := fmt.Sprintf("%d/%d", i+1, len(steps))
		switch {
		case err == nil:
			log.Info("boot step "+s.Name, "step", at, "took", took)
		case s.Needed:
			return fmt.Errorf("boot step %s: %w", s.Name, err)
		default:
			log.Warn("boot step "+s.Name+" is incomplete", "step", at, "took", took, "err", err)
		}
	}
	return nil
}

// guard turns a panic of f into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// background runs f in a goroutine whose panic does not end PID 1.
func background(log *slog.Logger, name string, f func() error) {
	go func() {
		if err := guard(f); err != nil {
			log.Error(name+" stopped", "err", err)
		}
	}()
}
