package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// partingPatience is how long one thing is waited for before the next has its turn.
	partingPatience = 2 * time.Second
	// hangingPatience is the same where another on the same pool or device has not ended.
	hangingPatience = 100 * time.Millisecond
	// partingInAll is after how much waiting for what has not ended everything else is waited for no longer than that: volumes with ext4 or XFS of one pool are a device each,
	// and many would take the whole phase (shutdownPhases), at whose end are the mounts that are oldest, the node's own volumes.
	partingInAll = 6 * time.Second
)

// parting does to mounts and devices what a shutdown does, one after the other. What does not end keeps nothing else waiting, and is told of. To unmount from a suspended
// pool waits until that goes on (txg_wait_synced in zfsvfs_teardown, module/os/linux/zfs/zfs_vfsops.c of OpenZFS 2.3.9); the kernel has taken the mount out of the tree
// by then, so that what it was mounted on can be unmounted.
type parting struct {
	log *slog.Logger
	mu  sync.Mutex
	// open is what was begun and has not ended, in that order, and errs what went wrong.
	open []*task
	errs []error
	// waited is how long do has waited for what did not end meanwhile. It is of who calls do, one after the other.
	waited time.Duration
}

// task is one thing that is done. On is the pool or device that it waits for; empty if that is not known.
type task struct{ what, on string }

// do begins something, and waits for it, but not for long.
func (p *parting) do(what, on string, work func() error) {
	patience := partingPatience
	if p.waited >= partingInAll || on != "" && p.hangs(on) {
		patience = hangingPatience
	}
	select {
	case <-p.begin(what, on, work):
	case <-time.After(patience):
		p.waited += patience
		p.log.Warn("it does not end, going on with others meanwhile", "what", what)
	}
}

// begin begins something. What it returns is closed when that has ended.
func (p *parting) begin(what, on string, work func() error) <-chan struct{} {
	t, done := &task{what, on}, make(chan struct{})
	p.mu.Lock()
	p.open = append(p.open, t)
	p.mu.Unlock()
	go func() {
		defer close(done)
		p.failed(guard(work))
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open = slices.DeleteFunc(p.open, func(o *task) bool { return o == t })
	}()
	return done
}

// failed keeps an error; nil is none.
func (p *parting) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.errs = append(p.errs, err)
	}
}

// hangs says that something on a pool or device has not ended.
func (p *parting) hangs(on string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.open, func(t *task) bool { return t.on == on })
}

// state is what has not ended, and what went wrong.
func (p *parting) state() (open []string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.open {
		open = append(open, t.what)
	}
	return open, errors.Join(p.errs...)
}

// end waits until all has ended, or ctx has, and returns what went wrong.
func (p *parting) end(ctx context.Context) error {
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		open, err := p.state()
		if len(open) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, fmt.Errorf("wait for what does not end (%s): %w", strings.Join(open, "; "), ctx.Err()))
		case <-poll.C:
		}
	}
}
