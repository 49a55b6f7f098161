package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Exit is how a child ended.
type Exit struct {
	PID    int
	Status syscall.WaitStatus
	At     time.Time
}

// String is "exit status N" or "signal NAME".
func (e Exit) String() string {
	if e.Status.Signaled() {
		return fmt.Sprintf("signal %v", e.Status.Signal())
	}
	return fmt.Sprintf("exit status %d", e.Status.ExitStatus())
}

// Process is a child started by a Reaper.
type Process struct {
	PID    int
	reaper *Reaper
	done   chan struct{}
	exit   Exit
}

// Done is closed when the child was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit is how the child ended; valid once Done is closed.
func (p *Process) Exit() Exit { return p.exit }

// Signal sends sig to the child. It is os.ErrProcessDone once the child was
// reaped, so a signal can never reach a later process with the same pid.
func (p *Process) Signal(sig syscall.Signal) error {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.reaper.children[p.PID] != p {
		return os.ErrProcessDone
	}
	return syscall.Kill(p.PID, sig)
}

// Reaper owns wait(2) of its process. Its methods may be called from any
// goroutine.
type Reaper struct {
	mu       sync.Mutex
	children map[int]*Process
	orphans  uint64
}

// NewReaper returns a Reaper without children. There must be one per process.
func NewReaper() *Reaper { return &Reaper{children: map[int]*Process{}} }

// Start forks and executes c. The lock is held until the child is registered.
func (r *Reaper) Start(c Command) (*Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := c.fork()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	p := &Process{PID: pid, reaper: r, done: make(chan struct{})}
	r.children[pid] = p
	return p, nil
}

// Run reaps until ctx ends. Children that nobody started here (orphans given
// to PID 1) are reaped and counted.
func (r *Reaper) Run(ctx context.Context) {
	wake := make(chan os.Signal, 1)
	signal.Notify(wake, syscall.SIGCHLD)
	defer signal.Stop(wake)
	for {
		r.reapAll()
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}

// Orphans is how many children were reaped that were not started here.
func (r *Reaper) Orphans() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.orphans
}

// Childless reports whether the process has no child at all, running or not
// yet reaped.
func (r *Reaper) Childless() bool {
	_, err := peekExited()
	return errors.Is(err, unix.ECHILD)
}

func (r *Reaper) reapAll() {
	for {
		pid, err := peekExited()
		if err != nil || pid == 0 {
			return
		}
		r.reap(pid)
	}
}

func (r *Reaper) reap(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		break
	}
	p := r.children[pid]
	if p == nil {
		r.orphans++
		return
	}
	delete(r.children, pid)
	p.exit = Exit{PID: pid, Status: status, At: time.Now()}
	close(p.done)
}
