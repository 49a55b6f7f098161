package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/cyvive/cyvive/internal/machined/supervise/control"
)

// order is a request to a unit; reply gets nil once the state wanted is
// reached, or why that cannot be.
type order struct {
	event  EventKind
	signal syscall.Signal // of RetireAsked
	want   State
	reply  chan error
}

// unit is one service: its Machine, and the one goroutine that drives it.
type unit struct {
	owner   *Supervisor
	service Service
	orders  chan order

	// Of the goroutine alone.
	machine *Machine
	process *Process
	started time.Time
	pending []order

	mu   sync.Mutex
	last control.Service
}

func newUnit(s *Supervisor, t Service) *unit {
	u := &unit{owner: s, service: t, orders: make(chan order), machine: NewMachine(t.Policy, time.Now())}
	u.last.Name = t.Name
	u.publish()
	return u
}

func (u *unit) status() control.Service {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last
}

func (u *unit) send(ctx context.Context, o order) error {
	o.reply = make(chan error, 1)
	select {
	case u.orders <- o:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (u *unit) run(ctx context.Context) {
	for {
		u.publish()
		u.settle(nil)
		var exited <-chan struct{}
		if u.process != nil {
			exited = u.process.Done()
		}
		timer, stop := until(u.machine.Deadline())
		select {
		case <-ctx.Done():
			stop()
			return
		case o := <-u.orders:
			u.pending = append(u.pending, o)
			u.step(o.event, o.signal)
		case <-exited:
			u.exited()
		case <-timer:
			u.step(TimeReached, 0)
		}
		stop()
	}
}

// step feeds the Machine and carries out what it answers; retire is the
// signal that goes with RetireAsked.
func (u *unit) step(e EventKind, retire syscall.Signal) {
	switch u.machine.Step(e, time.Now()) {
	case Spawn:
		p, err := u.owner.spawn(u.service)
		if err != nil {
			u.owner.log.Error("start service", "service", u.service.Name, "err", err)
			u.setExit(err.Error())
			u.settle(err)
			u.step(Exited, 0)
			return
		}
		u.process, u.started = p, time.Now()
		u.owner.log.Info("started service", "service", u.service.Name, "pid", p.PID)
	case Terminate:
		u.process.Signal(syscall.SIGTERM)
	case Retire:
		u.process.Signal(retire)
	case Kill:
		u.owner.log.Warn("service does not stop, killing it", "service", u.service.Name)
		u.process.Signal(syscall.SIGKILL)
	}
}

func (u *unit) exited() {
	exit := u.process.Exit()
	u.process = nil
	u.setExit(exit.String())
	level := slog.LevelWarn
	if state, _ := u.machine.State(); state == Stopping {
		level = slog.LevelInfo
	}
	u.owner.log.Log(context.Background(), level, "service exited", "service", u.service.Name,
		"exit", exit.String(), "ran", exit.At.Sub(u.started).Round(time.Millisecond))
	u.step(Exited, 0)
}

// settle answers the orders whose state is reached; with err, those that wait
// for the service to run.
func (u *unit) settle(err error) {
	state, _ := u.machine.State()
	kept := u.pending[:0]
	for _, o := range u.pending {
		switch {
		case err != nil && o.want == Running:
			o.reply <- err
		case o.want == state:
			o.reply <- nil
		case o.want == Running && state == Stopped:
			o.reply <- fmt.Errorf("service %q was stopped meanwhile", u.service.Name)
		case o.want == Stopped && state == Running && !u.isNewest(o):
			o.reply <- fmt.Errorf("service %q was started meanwhile", u.service.Name)
		default:
			kept = append(kept, o)
		}
	}
	u.pending = kept
}

func (u *unit) isNewest(o order) bool {
	return u.pending[len(u.pending)-1].reply == o.reply
}

func (u *unit) setExit(text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last.LastExit = text
}

// publish copies what Status shows.
func (u *unit) publish() {
	u.mu.Lock()
	defer u.mu.Unlock()
	state, since := u.machine.State()
	u.last.State, u.last.Since, u.last.Restarts = state.String(), since, u.machine.Restarts()
	u.last.PID = 0
	if u.process != nil {
		u.last.PID = u.process.PID
	}
}
