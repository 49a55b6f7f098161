package boot

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/supervise"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
	"github.com/cyvive/cyvive/internal/machined/supervise/phases"
)

// shutdownPhases is the way down. machined stops pods, control plane and etcd
// in order; what then still runs is asked, and killed.
var shutdownPhases = []phases.Phase{
	{Name: "machined", Deadline: 60 * time.Second},
	{Name: "containerd", Deadline: 10 * time.Second},
	{Name: "terminate", Deadline: 5 * time.Second},
	{Name: "kill", Deadline: 5 * time.Second},
	{Name: "unmount", Deadline: 15 * time.Second},
	{Name: "export", Deadline: 10 * time.Second},
	{Name: "sync", Deadline: 15 * time.Second},
}

// goDown walks the phases, calling tick between them, calls last and ends the
// machine. It returns only when the kernel refuses that.
func goDown(log *slog.Logger, s *supervise.Supervisor, r *supervise.Reaper, a control.Action, tick, last func()) error {
	log.Info("shutting down", "action", string(a))
	leaving := &parting{log: log}
	phases.Run(log, shutdownPhases, map[string]phases.Work{
		"machined": func(ctx context.Context) error {
			return s.Retire(ctx, "machined", syscall.SIGPWR)
		},
		"containerd": func(ctx context.Context) error { return s.Stop(ctx, "containerd") },
		"terminate":  func(ctx context.Context) error { return signalAll(ctx, r, unix.SIGTERM) },
		"kill":       func(ctx context.Context) error { return signalAll(ctx, r, unix.SIGKILL) },
		"unmount": func(ctx context.Context) error {
			unmountAll(leaving)
			closeExtensions(leaving)
			letGoOfVolumes(leaving)
			return leaving.end(ctx)
		},
		"export": func(ctx context.Context) error { return exportAll(ctx, r, leaving.hangs) },
		"sync": func(context.Context) error {
			unix.Sync()
			return nil
		},
	}, tick)
	how := unix.LINUX_REBOOT_CMD_RESTART
	if a == control.PowerOff {
		how = unix.LINUX_REBOOT_CMD_POWER_OFF
	}
	log.Info("down", "action", string(a))
	last()
	if err := unix.Reboot(how); err != nil {
		return fmt.Errorf("%s: %w", a, err)
	}
	return nil
}

// signalAll signals every process but this one, and waits until PID 1 has no
// child left: with their parents gone, all processes come to it.
func signalAll(ctx context.Context, r *supervise.Reaper, sig unix.Signal) error {
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	unix.Kill(-1, sig)
	for !r.Childless() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for processes to end after %v: %w", sig, ctx.Err())
		case <-poll.C:
			if sig == unix.SIGKILL {
				// One may have been born while the signal went round.
				unix.Kill(-1, sig)
			}
		}
	}
	return nil
}
