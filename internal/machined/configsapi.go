package machined

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/configstore"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// configsAPI implements server.Configs.
type configsAPI struct{ a *Agent }

// open locks the configurations. The caller calls the function that is returned, also with an error.
func (v configsAPI) open() (*configs, func(), error) {
	c, began := &v.a.configs, v.a.snapshot().came
	c.mu.Lock()
	if err := v.a.since(began); err != nil && c.problem == "" {
		return nil, c.mu.Unlock, err
	}
	if v.a.cfg.Boot.Medium {
		return nil, c.mu.Unlock, fmt.Errorf("%w: %s", server.ErrPrecondition, plan.OnMedium)
	}
	if c.store == nil {
		return nil, c.mu.Unlock, fmt.Errorf("%w: the node has not read its state volume yet: %s",
			server.ErrUnavailable, first(stateProblem(v.a.snapshot()), c.problem, "waiting for the state volume"))
	}
	return c, c.mu.Unlock, nil
}

// changing is open for what changes the node, which must not be going down.
func (v configsAPI) changing(expected uint64) (*configs, func(), error) {
	c, unlock, err := v.open()
	if err != nil {
		return nil, unlock, err
	}
	v.a.ending.mu.Lock()
	defer v.a.ending.mu.Unlock()
	if v.a.ending.asked {
		return nil, unlock, fmt.Errorf("%w: the machine is going down (%s)", server.ErrPrecondition, v.a.ending.reason)
	}
	if n := c.store.Record().Current; expected != 0 && n != expected {
		return nil, unlock, fmt.Errorf("%w: the current revision is %d and not %d: somebody changed the configuration; get it again, and change that",
			server.ErrPrecondition, n, expected)
	}
	return c, unlock, nil
}

// ValidateConfig implements server.Configs. Many may call it, so nothing is locked while the domains are asked: the end of a trial would have to wait.
func (v configsAPI) ValidateConfig(ctx context.Context, d server.ConfigDocument, secrets bool) (server.ConfigCheck, error) {
	dr, err := v.drafted(d)
	var mistakes config.Errors
	if errors.As(err, &mistakes) {
		return server.ConfigCheck{Mistakes: told(mistakes)}, nil
	}
	if err != nil {
		return server.ConfigCheck{}, err
	}
	var given []string
	if !secrets {
		if given, err = givenSecrets(d); err != nil {
			return server.ConfigCheck{}, err
		}
	}
	var out server.ConfigCheck
	if dr.current != nil {
		out.Changes = changes(plan.Assume(plan.Compare(dr.current, dr.cfg), given))
	} else if err := v.a.encryptable(dr.cfg); err != nil {
		return server.ConfigCheck{Mistakes: []server.ConfigMistake{{File: d.Name, Field: encryptionField, Problem: err.Error()}}}, nil
	}
	if len(given) > 0 {
		return out, nil // what the domains would do, or that the node cannot do it, tells whether it was the right one
	}
	dr.by, dr.dry = server.ConfigAuto, true
	v.a.compareInForce(&dr)
	if dr.judge() != nil {
		return out, nil // the changes say which field that is
	}
	out.Domains, _, err = v.a.previews(ctx, dr, dr.inForce(dr.cfg))
	return out, err
}

// givenSecrets are the paths of the secrets in documents. Who brings some and may not learn whether these are the node's is told as if all were others: a password
// could be guessed so.
func givenSecrets(d server.ConfigDocument) ([]string, error) {
	var given []string
	for _, text := range []string{d.Document, d.Patch} {
		paths, err := config.GivenSecrets([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", server.ErrInvalid, err)
		}
		given = append(given, paths...)
	}
	return given, nil
}

// drafted is draft for who does not go on to change something. Documents are read without the lock.
func (v configsAPI) drafted(d server.ConfigDocument) (draft, error) {
	out, stored, err := v.current()
	if err != nil {
		return draft{}, err
	}
	v.a.configs.apart.Lock()
	defer v.a.configs.apart.Unlock()
	out.document, out.cfg, err = compose(stored, d, v.a.unseal)
	return out, err
}

// current is a draft without documents, and the documents that are stored.
func (v configsAPI) current() (draft, []byte, error) {
	if v.undecided() || v.a.cfg.Boot.Medium {
		return draft{}, nil, nil
	}
	c, unlock, err := v.open()
	defer unlock()
	if err != nil {
		return draft{}, nil, err
	}
	stored, err := c.document()
	if err != nil {
		return draft{}, nil, err
	}
	var out draft
	return out, stored, c.compared(&out)
}

// draft makes a draft of documents, and of what they are compared with.
func (c *configs) draft(d server.ConfigDocument) (draft, error) {
	stored, err := c.document()
	if err != nil {
		return draft{}, err
	}
	var out draft
	if out.document, out.cfg, err = compose(stored, d, c.open); err != nil {
		return draft{}, err
	}
	return out, c.compared(&out)
}

// document is that of the current revision, nil if there is none.
func (c *configs) document() ([]byte, error) {
	current, err := c.store.Current()
	if current == nil || err != nil {
		return nil, err
	}
	return current.Document, nil
}

// compared fills in the configurations that a draft is compared with.
func (c *configs) compared(d *draft) (err error) {
	r := c.store.Record()
	if r.Current != 0 {
		d.current, err = c.read(r.Current)
		// One that this release cannot use has no say: it is there to be replaced.
		if mistakes := (config.Errors)(nil); err != nil && !errors.As(err, &mistakes) {
			return err
		}
	}
	if r.Base != 0 {
		d.base, _ = c.read(r.Base) // one that cannot be read any more has no say
	}
	return nil
}

// errNothingBefore refuses a trial.
var errNothingBefore = fmt.Errorf("%w: the node has no configuration that it could go back to", server.ErrPrecondition)

// ApplyConfig implements server.Configs.
func (v configsAPI) ApplyConfig(ctx context.Context, r server.ConfigRequest) (server.ConfigResult, error) {
	if r.Mode == server.ConfigTry {
		if r.TryTimeout == 0 {
			r.TryTimeout = defaultTry
		}
		if r.TryTimeout < minTry || r.TryTimeout > maxTry {
			return server.ConfigResult{}, fmt.Errorf("%w: a trial of %s, expected one from %s to %s", server.ErrInvalid, r.TryTimeout, minTry, maxTry)
		}
	}
	switch first := v.undecided(); {
	case first && r.Mode == server.ConfigTry:
		return server.ConfigResult{}, errNothingBefore
	case first && r.Expected != 0:
		return server.ConfigResult{}, fmt.Errorf("%w: the node has no configuration yet, and not revision %d", server.ErrPrecondition, r.Expected)
	case first && r.DryRun:
		result, err := v.firstCheck(ctx, r)
		return result, configError(err)
	case first:
		if err := v.decide(ctx, r); err != nil {
			return server.ConfigResult{}, configError(err)
		}
	}
	c, unlock, err := v.changing(r.Expected)
	defer unlock()
	if err != nil {
		return server.ConfigResult{}, err
	}
	record := c.store.Record()
	switch {
	case record.Trying != nil:
		return server.ConfigResult{}, configError(record.Busy())
	case r.Mode == server.ConfigTry && (record.Current == 0 || v.a.snapshot().input.Config == nil):
		return server.ConfigResult{}, errNothingBefore
	}
	d, err := c.draft(r.ConfigDocument)
	if err != nil {
		return server.ConfigResult{}, configError(err)
	}
	d.by, d.timeout, d.dry, d.caller = r.Mode, r.TryTimeout, r.DryRun, callerOf(r)
	d.as = configstore.Revision{By: r.By, Mode: storedModes[r.Mode], Document: d.document}
	result, err := v.a.change(ctx, d)
	return result, configError(err)
}

// ConfirmConfig implements server.Configs.
func (v configsAPI) ConfirmConfig(_ context.Context, by string, revision uint64) (uint64, error) {
	c, unlock, err := v.changing(0)
	defer unlock()
	if err != nil {
		return 0, err
	}
	r := c.store.Record()
	if r.Trying != nil && r.Left(v.a.cfg.Timeline.Now()) == 0 {
		v.a.takeBack("it was not confirmed in time")
		r = c.store.Record()
	}
	if r.Trying == nil || revision != 0 && revision != r.Current {
		return 0, fmt.Errorf("%w: revision %d is not being tried%s", server.ErrPrecondition, revision, whyNot(r, revision))
	}
	tried, err := c.read(r.Current)
	if err != nil {
		return 0, err
	}
	whole := true
	if base, err := c.read(r.Base); err == nil {
		whole = len(plan.With(plan.Reboot, plan.Compare(base, tried))) == 0
	}
	err = c.store.Change(func(r configstore.Record) (configstore.Record, error) { return r.Confirmed(revision, whole, v.a.now()) })
	if err != nil {
		return 0, configError(err)
	}
	c.changed.Wake()
	v.a.log.Info("configuration confirmed", "revision", r.Current, "by", by)
	v.a.events.Add(server.EventConfiguration, "configuration", "confirmed", fmt.Sprintf("revision %d by %s", r.Current, by))
	return r.Current, nil
}

// whyNot says what became of a revision that is not tried.
func whyNot(r configstore.Record, n uint64) string {
	switch l := r.Last; {
	case r.Trying != nil:
		return fmt.Sprintf(", but revision %d is", r.Current)
	case l == nil || n != 0 && l.Revision != n:
		return ""
	case l.Succeeded:
		return fmt.Sprintf(": revision %d was confirmed before", l.Revision)
	default:
		return fmt.Sprintf(": revision %d was taken back, %s", l.Revision, l.Reason)
	}
}

// RollbackConfig implements server.Configs.
func (v configsAPI) RollbackConfig(ctx context.Context, revision uint64, r server.ConfigRequest) (server.ConfigResult, error) {
	c, unlock, err := v.changing(r.Expected)
	defer unlock()
	if err != nil {
		return server.ConfigResult{}, err
	}
	record := c.store.Record()
	if revision == 0 {
		if revision = record.Previous(); revision == 0 {
			return server.ConfigResult{}, fmt.Errorf("%w: there is no revision before the current one", server.ErrPrecondition)
		}
	}
	stored, err := c.store.Read(revision)
	if err != nil {
		return server.ConfigResult{}, configError(err)
	}
	d := draft{document: stored.Document, by: server.ConfigAuto, dry: r.DryRun, caller: callerOf(r)}
	if d.cfg, err = config.ParseSealed(fmt.Sprintf("revision %d", revision), stored.Document, c.open); err != nil {
		return server.ConfigResult{}, fmt.Errorf("%w: this release cannot use it: %w", server.ErrPrecondition, err)
	}
	d.as = configstore.Revision{By: r.By, Mode: configstore.Rollback, Note: fmt.Sprintf("back to revision %d", revision), Document: stored.Document}
	if err := c.compared(&d); err != nil {
		return server.ConfigResult{}, err
	}
	v.a.compareInForce(&d)
	if t := record.Trying; t == nil || t.Back != revision {
		if err := errors.Join(d.judge(), v.a.keepsJobs(ctx, &d)); err != nil {
			return server.ConfigResult{}, err // a trial goes on then
		}
	}
	if record.Trying != nil && !r.DryRun {
		v.a.takeBack("rolled back by " + r.By)
		if record = c.store.Record(); record.Current == revision {
			return server.ConfigResult{Revision: revision, Pending: changes(c.pending())}, nil
		}
		if err := c.compared(&d); err != nil {
			return server.ConfigResult{}, err
		}
	}
	result, err := v.a.change(ctx, d)
	return result, configError(err)
}

// maxMistakes is how many an error names, maxTold how many the answer to a validation.
const (
	maxMistakes = 20
	maxTold     = 200
)

// told are mistakes for an answer.
func told(mistakes config.Errors) []server.ConfigMistake {
	var out []server.ConfigMistake
	for _, m := range mistakes[:min(len(mistakes), maxTold)] {
		out = append(out, server.ConfigMistake{File: m.File, Line: m.Line, Field: m.Field, Problem: m.Problem})
	}
	if more := len(mistakes) - maxTold; more > 0 {
		out = append(out, server.ConfigMistake{File: mistakes[0].File, Problem: fmt.Sprintf("and %d more", more)})
	}
	return out
}

// configError gives an error of a configuration the class by which the API tells it on.
func configError(err error) error {
	var mistakes config.Errors
	switch {
	case errors.As(err, &mistakes) && !errors.Is(err, server.ErrPrecondition):
		if more := len(mistakes) - maxMistakes; more > 0 {
			return fmt.Errorf("%w:\n%w\nand %d more", server.ErrInvalid, mistakes[:maxMistakes], more)
		}
		return fmt.Errorf("%w:\n%w", server.ErrInvalid, mistakes)
	case errors.Is(err, configstore.ErrNotFound):
		return fmt.Errorf("%w: %w; `nodectl config history` lists those that are kept", server.ErrNotFound, err)
	case errors.Is(err, configstore.ErrTrying), errors.Is(err, configstore.ErrNotTrying):
		return fmt.Errorf("%w: %w", server.ErrPrecondition, err)
	}
	return err
}
