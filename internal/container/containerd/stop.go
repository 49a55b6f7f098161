package containerd

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"

	"github.com/cyvive/cyvive/internal/container"
)

// killGrace is how long a killed process may take to go: it may be in
// uninterruptible sleep.
const killGrace = 10 * time.Second

// Stop implements container.Runtime.
func (r *Runtime) Stop(ctx context.Context, name string, timeout time.Duration) error {
	ctx = r.in(ctx)
	c, err := r.client.LoadContainer(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return wrap("load container "+name, err)
	}
	return r.remove(ctx, c, timeout)
}

// remove ends the container's task, if it has one, and forgets the container.
func (r *Runtime) remove(ctx context.Context, c client.Container, timeout time.Duration) error {
	labels, err := c.Labels(ctx)
	if err != nil {
		return wrap("inspect container "+c.ID(), err)
	}
	if timeout == 0 {
		timeout, _ = time.ParseDuration(labels[labelTimeout])
	}
	r.log.Info("stopping container", "name", c.ID())
	if err := r.endTask(ctx, c, labels[labelSignal], timeout); err != nil {
		return err
	}
	if err := c.Delete(ctx); err != nil && !errdefs.IsNotFound(err) {
		return wrap("delete container "+c.ID(), err)
	}
	return nil
}

// endTask sends the signal, waits, kills, and deletes the task.
func (r *Runtime) endTask(ctx context.Context, c client.Container, signal string, timeout time.Duration) error {
	t, err := c.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return wrap("load task "+c.ID(), err)
	}
	exit, err := t.Wait(ctx)
	if err != nil {
		return wrap("wait for task "+c.ID(), err)
	}
	number, err := signalNumber(signal)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{number, timeout}, {syscall.SIGKILL, killGrace}} {
		if err := t.Kill(ctx, step.signal); err != nil && !errdefs.IsNotFound(err) {
			return wrap("signal task "+c.ID(), err)
		}
		if await(ctx, exit, step.wait) {
			return r.deleteTask(ctx, c)
		}
	}
	return fmt.Errorf("stop container %s: %w", c.ID(), errStillRuns)
}

// await reports whether the task ended within d.
func await(ctx context.Context, exit <-chan client.ExitStatus, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-exit:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// deleteTask removes an ended task, and one that was made but never started.
func (r *Runtime) deleteTask(ctx context.Context, c client.Container) error {
	t, err := c.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return wrap("load task "+c.ID(), err)
	}
	if _, err := t.Delete(ctx, client.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
		return wrap("delete task "+c.ID(), err)
	}
	return nil
}

// signalNumber knows the signals that a Spec may name.
func signalNumber(name string) (syscall.Signal, error) {
	switch name {
	case "", "SIGTERM":
		return syscall.SIGTERM, nil
	case "SIGINT":
		return syscall.SIGINT, nil
	case "SIGPWR":
		return syscall.SIGPWR, nil
	case "SIGKILL":
		return syscall.SIGKILL, nil
	}
	return 0, fmt.Errorf("stop container: signal %q is not known", name)
}

var (
	errStillRuns = errors.New("it still runs after SIGKILL")
	errNoState   = errors.New("its shim does not tell its state")
)

// wrap says what was tried, and marks the errors that mean containerd itself
// does not answer. The text is fit to be shown, whoever answers in its place.
func wrap(what string, err error) error {
	if errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err) {
		return fmt.Errorf("%s: %w: %w", what, container.ErrUnavailable, plain(err))
	}
	return fmt.Errorf("%s: %w", what, plain(err))
}
