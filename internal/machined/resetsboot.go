package machined

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/machined/reset"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
)

// leaveDeadline is how long a reset that was begun before goes on to try to leave the cluster.
const leaveDeadline = 10 * time.Minute

// beforeVolumes wipes what an earlier boot was told to. It returns when volumes may be mounted; if the machine is to power off, that is never.
func (a *Agent) beforeVolumes(ctx context.Context) error {
	if a.cfg.Resets == nil {
		return nil
	}
	r, err := a.readReset()
	if err != nil {
		// Without the order nothing is wiped.
		a.log.Error("look for a reset", "error", err)
		return nil
	}
	if r.Next(a.cfg.Boot.ID) != reset.Wipe {
		return nil
	}
	for {
		err := a.wipe(ctx, &r)
		a.update(func(s *snapshot) { s.resetProblem = problemText("wiping volumes: ", err) })
		if err == nil {
			break
		}
		a.log.Error("wipe volumes", "error", err)
		if !sleep(ctx, a.cfg.Pace.Retry) {
			return ctx.Err()
		}
	}
	a.log.Info("the reset is done", "what", r.String())
	a.events.Add(server.EventRequest, "reset", "done", r.String())
	if !r.PowerOff {
		return nil
	}
	if err := a.end(ctx, control.PowerOff, "power-off after the reset"); err != nil {
		a.log.Error("power off after the reset", "error", err)
	}
	<-ctx.Done()
	return ctx.Err()
}

// wipe does what is left of a reset. Each volume that is done is written down; the note goes last.
func (a *Agent) wipe(ctx context.Context, r *reset.Record) error {
	for _, volume := range r.Rest() {
		a.log.Info("wiping", "volume", volume, "by", r.By)
		if err := a.cfg.Resets.Wipe(ctx, volume); err != nil {
			return fmt.Errorf("%s: %w", volume, err)
		}
		next := r.Done(volume)
		if err := a.writeReset(next); err != nil {
			return err
		}
		*r = next
	}
	return a.cfg.Resets.Clear()
}

// keepReset goes on with a reset whose agent ended before the machine did.
func (a *Agent) keepReset(ctx context.Context) error {
	if a.cfg.Resets != nil {
		a.resetting.Lock()
		a.resumeReset(ctx)
		a.resetting.Unlock()
	}
	<-ctx.Done()
	return ctx.Err()
}

func (a *Agent) resumeReset(ctx context.Context) {
	r, err := a.readReset()
	if err != nil {
		return // beforeVolumes has said so
	}
	switch r.Next(a.cfg.Boot.ID) {
	case reset.GoOnLeaving:
		a.resumeLeaving(ctx, r)
	case reset.Reboot:
		if err := a.endForReset(ctx, r, false); err != nil {
			a.log.Error("go on with a reset", "error", err)
		}
	}
}

// resumeLeaving tries to leave for a while. Then the reset is given up: its caller has gone, and what could be wiped by force is not without being asked.
func (a *Agent) resumeLeaving(ctx context.Context, r reset.Record) {
	until := time.Now().Add(leaveDeadline)
	for {
		err := a.leaveIfKnown(ctx)
		if err == nil {
			if err = a.writeReset(r.Left(a.cfg.Boot.ID)); err == nil {
				err = a.endForReset(ctx, r, false)
			}
		}
		a.update(func(s *snapshot) { s.resetProblem = problemText("going on with the reset: ", err) })
		if err == nil || time.Now().After(until) {
			break
		}
		if !sleep(ctx, a.cfg.Pace.Retry) {
			return
		}
	}
	if problem := a.snapshot().resetProblem; problem != "" {
		a.events.Add(server.EventRequest, "reset", "given up", problem)
		a.log.Error("the reset is given up; nothing was wiped", "reason", problem)
		err := a.cfg.Resets.Clear()
		a.update(func(s *snapshot) { s.resetProblem = problemText("giving up the reset: ", err) })
	}
}

// leaveIfKnown is leaveCluster once the node knows whether it belongs to one.
func (a *Agent) leaveIfKnown(ctx context.Context) error {
	s := a.snapshot()
	if !s.input.Searched {
		return errors.New("the node does not know its configuration yet")
	}
	return a.leaveCluster(ctx, func(what string) { a.log.Info("reset", "what", what) })
}

func problemText(doing string, err error) string {
	if err == nil {
		return ""
	}
	return doing + err.Error()
}

// resetHealth is a check only while something is wrong with a reset.
func resetHealth(s snapshot) []server.Check {
	if s.resetProblem == "" {
		return nil
	}
	return []server.Check{check("reset", false, s.resetProblem)}
}
