package command

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// ErrHeld is that a program was killed and is not gone: no signal reaches it while it waits in the kernel, as for the disks of a pool that is suspended or is being
// imported. What it was to do may still be done, whenever the kernel goes on with it. It is of the class zfs.ErrSuspended, too: the pool does not answer, and another may.
var ErrHeld error = heldError{}

type heldError struct{}

// Error implements error.
func (heldError) Error() string { return "is held by the kernel" }

// Is says of which class it is, for errors.Is.
func (heldError) Is(class error) bool { return class == zfs.ErrSuspended }

// Held are programs that were killed and are not gone, and since when. Who has run one is told so, and does not wait for it; until it is gone, none is begun that would
// wait beside it: no other of the same arguments, and of those of zfs that change something, none on the same pool, so that what was done first does not come last.
// Its methods may be called concurrently. A nil one keeps nothing.
type Held struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// NewHeld returns one without programs.
func NewHeld() *Held { return &Held{since: map[string]time.Time{}} }

// has says since when a program is held.
func (h *Held) has(key string) (time.Time, bool) {
	if h == nil {
		return time.Time{}, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	since, ok := h.since[key]
	return since, ok
}

// put keeps a program until gone is called.
func (h *Held) put(key string) (gone func()) {
	if h == nil {
		return func() {}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.since[key] = time.Now()
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.since, key)
	}
}

// programPool is the place of the pool among the arguments of zfs program, as [Runner.program] has them.
const programPool = 3

// key is what is in the way of another run while this one is held.
func (p *process) key() string {
	if p.program != "zfs" || len(p.args) == 0 {
		return p.program + "\x00" + strings.Join(p.args, "\x00")
	}
	switch p.args[0] {
	case "list", "holds", "get", "send", "version":
		return p.program + "\x00" + strings.Join(p.args, "\x00")
	case "program":
		return "change of " + p.args[min(len(p.args)-1, programPool)]
	}
	name := p.args[len(p.args)-1]
	if end := strings.IndexAny(name, "/@#"); end >= 0 {
		name = name[:end]
	}
	return "change of " + name
}

// refused is the error of a program that is not begun, since an earlier one is held that it would wait beside; nil if there is none.
func (p *process) refused(held *Held) error {
	since, is := held.has(p.key())
	if !is {
		return nil
	}
	return &Error{Program: p.program, Args: p.args, Cause: fmt.Errorf("an earlier one was killed %s ago and %w: its pool may be suspended, or its disks may not answer; "+
		"when they do, this is tried again", time.Since(since).Round(time.Second), ErrHeld)}
}

// finish runs a program to its end, which run returns with, and returns the error of that; see await.
func (p *process) finish(ctx context.Context, held *Held, run func() error) error {
	if err := p.refused(held); err != nil {
		return err
	}
	return p.await(ctx, held, run)
}

// await waits for the end of a program, which run returns with, and returns the error of that. When ctx ends, so does the program; if it cannot, nobody waits for it
// any longer, run goes on by itself, and the error is ErrHeld.
func (p *process) await(ctx context.Context, held *Held, run func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- run() }()
	select {
	case err := <-ended:
		return p.failure(ctx, err)
	case <-ctx.Done():
	}
	grace := time.NewTimer(p.grace)
	defer grace.Stop()
	select {
	case err := <-ended:
		return p.failure(ctx, err)
	case <-grace.C:
	}
	gone := held.put(p.key())
	go func() {
		<-ended
		gone()
	}()
	return &Error{Program: p.program, Args: p.args, Cause: fmt.Errorf("%w; it was killed %s ago and %w: its pool may be suspended, or its disks may not answer", context.Cause(ctx),
		p.grace, ErrHeld)}
}
