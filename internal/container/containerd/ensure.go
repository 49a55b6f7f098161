package containerd

import (
	"context"
	"fmt"
	"maps"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/cyvive/cyvive/internal/container"
)

const (
	runtimeName = "io.containerd.runc.v2"
	runcProgram = "/usr/bin/runc"
)

// Ensure implements container.Runtime.
func (r *Runtime) Ensure(ctx context.Context, spec container.Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	ctx = r.in(ctx)
	existing, err := r.client.LoadContainer(ctx, spec.Name)
	if errdefs.IsNotFound(err) {
		return r.create(ctx, spec)
	}
	if err != nil {
		return wrap("load container "+spec.Name, err)
	}
	record, err := existing.Info(ctx, client.WithoutRefreshedMetadata)
	if err != nil {
		return wrap("inspect container "+spec.Name, err)
	}
	if record.Labels[labelHash] != spec.Hash() {
		r.log.Info("replacing container", "name", spec.Name)
		if err := r.remove(ctx, existing, 0); err != nil {
			return err
		}
		return r.create(ctx, spec)
	}
	process, err := r.process(ctx, spec.Name)
	if err != nil {
		return err
	}
	return r.advance(ctx, existing, info(r.namespace, record, process), parseHistory(record.Labels), process != nil)
}

// advance brings a container of the right hash to running.
func (r *Runtime) advance(ctx context.Context, c client.Container, i container.Info, past history, hasTask bool) error {
	switch i.State {
	case container.Running, container.Paused:
		return nil
	case container.Unknown:
		// The shim did not answer in time, which says nothing of the container.
		return fmt.Errorf("inspect container %s: %w", i.Name, errNoState)
	case container.Exited:
		if !i.NeedsStart(r.now()) {
			return nil
		}
		past.failures = failures(past, i.ExitedAt)
		past.restarts++
		r.log.Warn("container exited, starting it again", "name", i.Name, "code", i.ExitCode, "restarts", past.restarts)
	}
	if hasTask {
		if err := r.deleteTask(ctx, c); err != nil {
			return err
		}
	}
	return r.start(ctx, c, past)
}

// process returns the container's process, nil where it has none.
func (r *Runtime) process(ctx context.Context, id string) (*task.Process, error) {
	response, err := r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err != nil {
		if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
			return nil, nil
		}
		return nil, wrap("inspect task "+id, err)
	}
	return response.Process, nil
}

// create records a new container and starts it.
func (r *Runtime) create(ctx context.Context, spec container.Spec) error {
	labels := map[string]string{
		labelHash:    spec.Hash(),
		labelSignal:  spec.Signal(),
		labelTimeout: spec.Timeout().String(),
	}
	maps.Copy(labels, history{}.labels())
	c, err := r.client.NewContainer(ctx, spec.Name,
		client.WithContainerLabels(labels),
		client.WithRuntime(runtimeName, &options.Options{BinaryName: runcProgram}),
		client.WithSpec(ociSpec(spec, r.namespace)))
	if err != nil {
		return wrap("create container "+spec.Name, err)
	}
	r.log.Info("starting container", "name", spec.Name)
	return r.start(ctx, c, history{})
}

// start makes the task and starts it; past is written to the labels first, so
// that a crash in between counts as a start.
func (r *Runtime) start(ctx context.Context, c client.Container, past history) error {
	past.started = r.now()
	if _, err := c.SetLabels(ctx, past.labels()); err != nil {
		return wrap("label container "+c.ID(), err)
	}
	fifo, err := r.logs.OpenLog(ctx, c.ID())
	if err != nil {
		return fmt.Errorf("open log of container %s: %w", c.ID(), err)
	}
	t, err := c.NewTask(ctx, func(string) (cio.IO, error) { return output(fifo), nil })
	if err != nil {
		return wrap("create task "+c.ID(), err)
	}
	if err := t.Start(ctx); err != nil {
		_, _ = t.Delete(ctx, client.WithProcessKill)
		return wrap("start task "+c.ID(), err)
	}
	return nil
}

// output is a task's standard output and error: one FIFO, read and owned by
// init. There is nothing to copy, wait for or close on this side.
type output string

func (o output) Config() cio.Config { return cio.Config{Stdout: string(o), Stderr: string(o)} }
func (output) Cancel()              {}
func (output) Wait()                {}
func (output) Close() error         { return nil }
