// Package step runs the steps of a build one after the other, shows each with
// its time, and says how to repeat the one that failed.
package step

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/cyvive/cyvive/images/internal/cache"
)

// logTailLines is how much of a failed command's output is shown.
const logTailLines = 25

// Runner runs steps. It is used by one goroutine.
type Runner struct {
	Cache *cache.Cache
	// Out gets the progress.
	Out io.Writer
	// Repeat returns the command that runs the build up to the present step
	// again.
	Repeat func() string
	// Now is the clock of the shown times.
	Now func() time.Time
}

// Key hashes the inputs of a step. Parts are told apart by their lengths.
func Key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// Cached runs fill in a new directory unless the cache has the result for
// key, and returns the result's directory.
func (r *Runner) Cached(name, key string, fill func(dir string) error) (string, error) {
	if dir, ok := r.Cache.Result(name, key); ok {
		r.say("%-12s cached", name)
		return dir, nil
	}
	var dir string
	err := r.Do(name, func() (err error) {
		dir, err = r.Cache.Make(name, key, fill)
		return err
	})
	return dir, err
}

// Do runs a step that is its own cache, or cheap.
func (r *Runner) Do(name string, run func() error) error {
	r.say("%-12s …", name)
	start := r.Now()
	if err := run(); err != nil {
		r.say("%-12s failed after %s; to repeat it: %s", name, r.Now().Sub(start).Round(time.Second), r.Repeat())
		return fmt.Errorf("step %s: %w", name, err)
	}
	r.say("%-12s done in %s", name, r.Now().Sub(start).Round(100*time.Millisecond))
	return nil
}

func (r *Runner) say(format string, args ...any) {
	fmt.Fprintf(r.Out, "mkimage: "+format+"\n", args...)
}

// Command runs cmd with its output in the log of step; when it fails the
// error holds the command, the log's place and its last lines.
func (r *Runner) Command(ctx context.Context, step string, cmd *exec.Cmd) error {
	name := r.Cache.Log(step)
	log, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	defer log.Close()
	fmt.Fprintf(log, "# %s\n", strings.Join(cmd.Args, " "))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return fmt.Errorf("run %s: %w; log in %s, ending in:\n%s", cmd.Args[0], err, name, tail(name))
	}
	return nil
}

func tail(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if len(lines) > logTailLines {
		lines = lines[len(lines)-logTailLines:]
	}
	return "  " + strings.Join(lines, "\n  ")
}
