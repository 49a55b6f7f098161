package machined

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/configstore"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/network"
)

// Bounds of the time of a trial.
const (
	defaultTry = 2 * time.Minute
	minTry     = 10 * time.Second
	maxTry     = time.Hour
)

// draft is a change of the configuration on its way.
type draft struct {
	document []byte
	cfg      *config.Config
	// current and base are those of the record before; nil if there are none.
	current, base *config.Config
	// by is how it takes effect, as how it gets into the history.
	by      server.ConfigMode
	as      configstore.Revision
	timeout time.Duration
	dry     bool
	// leaves says that no configuration is in force, and that it ends maintenance mode.
	leaves bool
	// caller is who brings it.
	caller network.Caller
}

// compareInForce has a draft compared with what is in force, for how it takes effect: where nothing is, there is nothing that this boot has begun.
func (a *Agent) compareInForce(d *draft) {
	if d.leaves = a.snapshot().input.Config == nil; d.leaves {
		d.base = nil
	}
}

// change judges a draft, and unless it is only to say what it would do, stores it and has it take effect. The caller holds the lock.
func (a *Agent) change(ctx context.Context, d draft) (server.ConfigResult, error) {
	c := &a.configs
	a.compareInForce(&d)
	if err := d.judge(); err != nil {
		return server.ConfigResult{}, err
	}
	if d.current == nil {
		if err := a.encryptable(d.cfg); err != nil {
			return server.ConfigResult{}, fmt.Errorf("%w: %w", server.ErrPrecondition, err)
		}
	}
	if err := a.keepsJobs(ctx, &d); err != nil {
		return server.ConfigResult{}, err
	}
	result := server.ConfigResult{Revision: c.store.Record().Current}
	whole, force := true, d.inForce(d.cfg)
	if d.current != nil {
		result.Changes = changes(plan.Compare(d.current, d.cfg))
	}
	if d.base != nil {
		waits := plan.With(plan.Reboot, plan.Compare(d.base, d.cfg))
		whole, result.Pending = len(waits) == 0, changes(waits)
	}
	cut, err := a.keepsCaller(ctx, d, force)
	if err != nil {
		return server.ConfigResult{}, err
	}
	if d.by == server.ConfigStaged {
		result.Pending = result.Changes
	}
	reach := false
	if result.Domains, reach, err = a.previews(ctx, d, force); err != nil {
		return server.ConfigResult{}, err
	}
	result.Notes = slices.Concat(d.notes(c.store.Record()), d.poolNotes(), d.leaveNotes(d.leaves), cut)
	if d.dry {
		return result, nil
	}
	if done, err := d.isCurrent(c.store); done || err != nil {
		return result, err
	}
	r, err := c.store.Add(d.as, func(r configstore.Record, n uint64) (configstore.Record, error) {
		return d.takes(r, n, whole, a.cfg.Timeline.Now())
	})
	if err != nil {
		return server.ConfigResult{}, err
	}
	result.Revision = r.Number
	a.noteKept()
	c.remember(r.Number, d.cfg)
	if t := c.store.Record().Trying; t != nil {
		result.Trial = &server.ConfigTrial{Revision: r.Number, Back: t.Back, Left: d.timeout}
	}
	a.tellChange(r, d.by)
	if d.by != server.ConfigStaged {
		a.enforceSoon(r.Number, reach)
	}
	return result, nil
}

// takes has revision n take effect by the draft's mode; whole says that nothing of it waits for a reboot, and since is the time since the kernel's start.
func (d draft) takes(r configstore.Record, n uint64, whole bool, since time.Duration) (configstore.Record, error) {
	switch d.by {
	case server.ConfigStaged:
		return r.Stages(n)
	case server.ConfigTry:
		return r.Tries(n, since+d.timeout)
	}
	return r.Applied(n, whole)
}

// judge refuses what a node cannot become, and what the mode does not allow for.
func (d draft) judge() error {
	var list []plan.Change
	if d.current != nil {
		list = plan.Compare(d.current, d.cfg)
	}
	never, reboot := plan.With(plan.Never, list), plan.With(plan.Reboot, list)
	if d.leaves {
		reboot = nil
	}
	if d.base != nil {
		began := plan.Compare(d.base, d.cfg)
		for _, c := range plan.With(plan.Never, began) {
			if !slices.Contains(never, c) {
				never = append(never, c)
			}
		}
		// What goes back to how the boot began needs no reboot, and what waits for one without the draft is not its doing.
		reboot = slices.DeleteFunc(plan.With(plan.Reboot, began), func(w plan.Change) bool {
			return !slices.ContainsFunc(list, func(c plan.Change) bool { return w.Field == c.Field || strings.HasPrefix(w.Field, c.Field+".") })
		})
	}
	there, back := d.turns()
	switch {
	case len(never) > 0:
		return fmt.Errorf("%w: a node cannot change %s", server.ErrPrecondition, lines(never))
	case len(reboot) > 0 && d.by == server.ConfigNoReboot:
		return fmt.Errorf("%w: a reboot is needed for %s; use the mode auto or staged", server.ErrPrecondition, lines(reboot))
	case len(reboot) > 0 && d.by == server.ConfigTry:
		return fmt.Errorf("%w: what needs a reboot cannot be tried: %s; use the mode staged", server.ErrPrecondition, lines(reboot))
	case len(there) > 0 && d.by != server.ConfigStaged:
		return fmt.Errorf("%w: it takes a reboot to give up what this boot has begun: %s; use the mode staged", server.ErrPrecondition, lines(there))
	case len(back) > 0 && d.by == server.ConfigTry:
		return fmt.Errorf("%w: what could not be taken back without a reboot cannot be tried: %s; use the mode auto or staged", server.ErrPrecondition, lines(back))
	}
	return nil
}

// turns returns what does not change live when what is in force goes over to the draft, and when it goes back from that at the end of a trial. The loops
// look after what they are told of: what is not named any more would run on, held by nobody. Where nothing is in force there is nothing of that kind.
func (d draft) turns() (there, back []plan.Change) {
	if d.current == nil || d.leaves {
		return nil, nil
	}
	isLive := func(c plan.Change) bool { return c.Effect == plan.Live }
	from, to := d.inForce(d.current), d.inForce(d.cfg)
	return slices.DeleteFunc(plan.Compare(from, to), isLive), slices.DeleteFunc(plan.Compare(to, from), isLive)
}

// inForce returns what of a configuration would hold in this boot.
func (d draft) inForce(cfg *config.Config) *config.Config {
	if d.base == nil {
		return cfg
	}
	return plan.InForce(d.base, cfg)
}

// isCurrent says that nothing is to be stored. What was staged is given up then too. Where nothing is in force, the current revision could not be used when the
// agent began, as where the key of its sealed secrets was not to be read: it is stored anew, which puts it in force. So is one that a source gave, which becomes one
// that was applied.
func (d draft) isCurrent(store *configstore.Store) (bool, error) {
	r := store.Record()
	if d.by == server.ConfigStaged || d.by == server.ConfigTry || d.leaves || !r.Owned {
		return false, nil
	}
	current, err := store.Current()
	if err != nil || current == nil || !current.Holds(d.document) {
		return false, nil // what cannot be read is replaced
	}
	if r.Staged == nil {
		return true, nil
	}
	return true, store.Change(configstore.Record.Unstages)
}

func (d draft) notes(r configstore.Record) []string {
	var notes []string
	if s := r.Staged; s != nil {
		notes = append(notes, fmt.Sprintf("revision %d, which was staged, is given up", s.Revision))
	}
	if d.current != nil && d.current.Machine.CA != d.cfg.Machine.CA && d.by != server.ConfigStaged {
		notes = append(notes, "the API's authority changes: clients need a certificate of the new one, and have to trust it")
	}
	return notes
}

// leaveNotes says what becomes of maintenance mode, if the node is in it.
func (d draft) leaveNotes(leaves bool) []string {
	switch {
	case !leaves:
		return nil
	case d.by == server.ConfigStaged:
		return []string{"the node stays in maintenance mode until its next boot"}
	}
	return []string{"the node leaves maintenance mode: from now on it answers clients with a certificate of this configuration's authority, " +
		"and its owner no longer"}
}

func (a *Agent) tellChange(r configstore.Revision, by server.ConfigMode) {
	state := map[server.ConfigMode]string{server.ConfigStaged: "staged", server.ConfigTry: "tried"}[by]
	state = cmp.Or(state, "applied")
	a.log.Info("configuration "+state, "revision", r.Number, "by", r.By, "mode", r.Mode)
	a.events.Add(server.EventConfiguration, "configuration", state, fmt.Sprintf("revision %d by %s", r.Number, r.By))
}

// enforceSoon puts the record in force: at once or, where the caller might lose the connection by it, when the answer has had time to get out; not any more
// when the loops have ended by then, since the next agent goes by the record anyway.
func (a *Agent) enforceSoon(n uint64, reach bool) {
	do := func() {
		if err := a.enforce(fmt.Sprintf("revision %d", n)); err != nil {
			a.log.Error("put a configuration in force", "revision", n, "error", err)
		}
	}
	if !reach {
		do()
		return
	}
	a.configs.changed.Wake()
	time.AfterFunc(answerTime, func() {
		a.configs.mu.Lock()
		defer a.configs.mu.Unlock()
		if a.loopsCtx.Err() == nil {
			do()
		}
	})
}

func changes(list []plan.Change) []server.ConfigChange {
	effects := map[plan.Effect]server.ConfigEffect{plan.Live: server.ConfigLive, plan.Reboot: server.ConfigReboot, plan.Never: server.ConfigNever}
	var out []server.ConfigChange
	for _, c := range list {
		out = append(out, server.ConfigChange{Field: c.Field, Effect: effects[c.Effect], Reason: c.Why})
	}
	return out
}
