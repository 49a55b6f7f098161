package servertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// ConfigList is a node's configurations. A change of the Machine document is live, one of the Cluster document needs a reboot.
type ConfigList struct {
	// Revisions are numbered from 1 in their order; Documents belong to them. The last that is Current is so.
	Revisions []server.ConfigRevision
	Documents []string
	// Err is returned by every call for them, if it is set.
	Err error
	// OnApply is called with what was applied, if it is set.
	OnApply func(document string)

	trial  *server.ConfigTrial
	until  time.Time
	last   *server.ConfigOutcome
	staged uint64
}

// Add gives the node a configuration that it found at its start.
func (l *ConfigList) Add(document string) {
	l.add(document, server.ConfigRevision{By: "user-data", Mode: server.ConfigSource})
}

func (l *ConfigList) add(document string, r server.ConfigRevision) uint64 {
	r.Number, r.SizeBytes, r.Time = uint64(len(l.Revisions)+1), len(document), time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)
	l.Revisions, l.Documents = append(l.Revisions, r), append(l.Documents, document)
	if r.Mode != server.ConfigStaged {
		l.become(r.Number)
	}
	return r.Number
}

func (l *ConfigList) become(n uint64) {
	for i := range l.Revisions {
		l.Revisions[i].Current = l.Revisions[i].Number == n
	}
}

func (l *ConfigList) current() uint64 {
	l.expire()
	return uint64(slices.IndexFunc(l.Revisions, func(r server.ConfigRevision) bool { return r.Current }) + 1)
}

// expire ends a trial whose time has passed.
func (l *ConfigList) expire() {
	if l.trial != nil && time.Now().After(l.until) {
		l.last = &server.ConfigOutcome{Revision: l.trial.Revision, Reason: "it was not confirmed in time"}
		l.become(l.trial.Back)
		l.trial = nil
	}
}

// Configs is a node's ConfigList.
type Configs struct{ *Node }

var _ server.Configs = Configs{}

func (c Configs) called(name string) error { return cmp.Or(c.Node.called(name), c.Node.Configs.Err) }

func (c Configs) read(n uint64) (string, error) {
	if n == 0 || n > uint64(len(c.Node.Configs.Documents)) {
		return "", fmt.Errorf("revision %d: %w", n, server.ErrNotFound)
	}
	return c.Node.Configs.Documents[n-1], nil
}

// GetConfig implements server.Configs.
func (c Configs) GetConfig(_ context.Context, n uint64) (server.ConfigState, error) {
	if err := c.called(fmt.Sprintf("get config %d", n)); err != nil {
		return server.ConfigState{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.Node.Configs
	if current := l.current(); n == 0 {
		n = current
	}
	document, err := c.read(n)
	if err != nil {
		return server.ConfigState{}, err
	}
	shown, err := config.Redact([]byte(document))
	out := server.ConfigState{Revision: l.Revisions[n-1], Document: string(shown), Staged: l.staged, Last: l.last, Settled: true}
	if t := l.trial; t != nil {
		out.Trial = &server.ConfigTrial{Revision: t.Revision, Back: t.Back, Left: time.Until(l.until)}
	}
	return out, err
}

// compose is what a request makes of the current document.
func (c Configs) compose(d server.ConfigDocument) (string, error) {
	var current string
	if n := c.Node.Configs.current(); n != 0 {
		var err error
		if current, err = c.read(n); err != nil {
			return "", err
		}
	}
	var err error
	data := []byte(d.Document)
	if len(data) == 0 {
		data = []byte(current)
	}
	base := config.Given{Name: d.Name, Data: data}
	if strings.Contains(d.Document, config.Redacted) {
		if data, err = config.Restore(data, []byte(current)); err != nil {
			return "", err
		}
	}
	if d.Patch != "" {
		if data, err = config.Merge(data, []byte(d.Patch)); err != nil {
			return "", err
		}
	}
	_, err = config.Parse(d.Name, data)
	if mistakes, ok := errors.AsType[config.Errors](err); ok && d.Patch != "" {
		config.Locate(mistakes, data, base, config.Given{Name: d.PatchName, Data: []byte(d.Patch)}, nil)
	}
	return string(data), err
}

// ValidateConfig implements server.Configs.
func (c Configs) ValidateConfig(_ context.Context, d server.ConfigDocument, secrets bool) (server.ConfigCheck, error) {
	if err := c.called(fmt.Sprintf("validate %s, secrets %t", d.Name, secrets)); err != nil {
		return server.ConfigCheck{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out server.ConfigCheck
	document, err := c.compose(d)
	if all, ok := errors.AsType[config.Errors](err); ok {
		for _, m := range all {
			out.Mistakes = append(out.Mistakes, server.ConfigMistake{File: m.File, Line: m.Line, Field: m.Field, Problem: m.Problem})
		}
		return out, nil
	}
	out.Changes, out.Domains = c.changes(document)
	return out, err
}

func (c Configs) changes(document string) ([]server.ConfigChange, []server.ConfigDomain) {
	n := c.Node.Configs.current()
	if current, err := c.read(n); n != 0 && (err != nil || document == current) {
		return nil, nil
	}
	return []server.ConfigChange{{Field: "Machine.certSANs", Effect: server.ConfigLive}},
		[]server.ConfigDomain{{Name: "agent", Operations: []string{"issue the API's certificate"}}, {Name: "etcd", Waits: "no Cluster document is configured"}}
}

// ApplyConfig implements server.Configs.
func (c Configs) ApplyConfig(_ context.Context, r server.ConfigRequest) (server.ConfigResult, error) {
	if err := c.called(fmt.Sprintf("apply %s by %s, mode %d, timeout %s, dry run %t", r.Name, r.By, r.Mode, r.TryTimeout, r.DryRun)); err != nil {
		return server.ConfigResult{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.Node.Configs
	current := l.current()
	if r.Expected != 0 && r.Expected != current {
		return server.ConfigResult{}, fmt.Errorf("%w: the current revision is %d and not %d", server.ErrPrecondition, current, r.Expected)
	}
	if l.trial != nil {
		return server.ConfigResult{}, fmt.Errorf("%w: a revision is being tried: revision %d", server.ErrPrecondition, l.trial.Revision)
	}
	document, err := c.compose(r.ConfigDocument)
	if err != nil {
		return server.ConfigResult{}, fmt.Errorf("%w:\n%w", server.ErrInvalid, err)
	}
	out := server.ConfigResult{Revision: current}
	out.Changes, out.Domains = c.changes(document)
	if r.DryRun || out.Changes == nil {
		return out, nil
	}
	out.Revision = l.add(document, server.ConfigRevision{By: r.By, Mode: r.Mode})
	if l.OnApply != nil {
		l.OnApply(document)
	}
	switch r.Mode {
	case server.ConfigStaged:
		l.staged, out.Domains = out.Revision, nil
		out.Pending = []server.ConfigChange{{Field: "Machine.certSANs", Effect: server.ConfigLive}}
	case server.ConfigTry:
		l.trial, l.until = &server.ConfigTrial{Revision: out.Revision, Back: current, Left: r.TryTimeout}, time.Now().Add(r.TryTimeout)
		out.Trial = l.trial
	}
	return out, nil
}

// ConfirmConfig implements server.Configs.
func (c Configs) ConfirmConfig(_ context.Context, by string, n uint64) (uint64, error) {
	if err := c.called(fmt.Sprintf("confirm %d by %s", n, by)); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.Node.Configs
	l.expire()
	if l.trial == nil || n != 0 && n != l.trial.Revision {
		return 0, fmt.Errorf("%w: revision %d is not being tried", server.ErrPrecondition, n)
	}
	n = l.trial.Revision
	l.trial, l.last = nil, &server.ConfigOutcome{Revision: n, Succeeded: true}
	return n, nil
}

// ConfigHistory implements server.Configs.
func (c Configs) ConfigHistory(context.Context) ([]server.ConfigRevision, error) {
	err := c.called("config history")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Node.Configs.expire()
	out := slices.Clone(c.Node.Configs.Revisions)
	for i, r := range out {
		t := c.Node.Configs.trial
		out[i].Trying, out[i].Staged = t != nil && t.Revision == r.Number, r.Number == c.Node.Configs.staged
	}
	slices.Reverse(out)
	return out, err
}

// DiffConfigs implements server.Configs. The text is the documents, one after the other.
func (c Configs) DiffConfigs(_ context.Context, from, to uint64) (server.ConfigDiff, error) {
	if err := c.called(fmt.Sprintf("diff configs %d %d", from, to)); err != nil {
		return server.ConfigDiff{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if to == 0 {
		to = c.Node.Configs.current()
	}
	if from == 0 {
		from = to - 1
	}
	before, err := c.read(from)
	after, err2 := c.read(to)
	if err := errors.Join(err, err2); err != nil {
		return server.ConfigDiff{}, err
	}
	out := server.ConfigDiff{From: from, To: to}
	if before != after {
		out.Text = "--- revision\n+++ revision\n-one line\n+another\n"
		out.Secrets, err = config.ChangedSecrets([]byte(before), []byte(after))
	}
	return out, err
}

// RollbackConfig implements server.Configs.
func (c Configs) RollbackConfig(_ context.Context, n uint64, r server.ConfigRequest) (server.ConfigResult, error) {
	if err := c.called(fmt.Sprintf("roll config back to %d by %s", n, r.By)); err != nil {
		return server.ConfigResult{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.Node.Configs
	current := l.current()
	if t := l.trial; t != nil {
		l.trial = nil
		l.become(t.Back)
		return server.ConfigResult{Revision: t.Back}, nil
	}
	if n == 0 {
		n = current - 1
	}
	document, err := c.read(n)
	if err != nil {
		return server.ConfigResult{}, err
	}
	out := server.ConfigResult{Revision: current}
	if l.staged != 0 {
		out.Notes = []string{fmt.Sprintf("revision %d, which was staged, is given up", l.staged)}
	}
	if n == current && !r.DryRun {
		l.staged = 0
		return out, nil
	}
	out.Changes, out.Domains = c.changes(document)
	if !r.DryRun {
		out.Revision = l.add(document, server.ConfigRevision{By: r.By, Mode: server.ConfigRollback, Note: fmt.Sprintf("back to revision %d", n)})
	}
	return out, nil
}
