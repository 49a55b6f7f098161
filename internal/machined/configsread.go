package machined

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/configstore"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// ConfigHistory implements server.Configs.
func (v configsAPI) ConfigHistory(context.Context) ([]server.ConfigRevision, error) {
	c, unlock, err := v.open()
	defer unlock()
	if err != nil {
		return nil, err
	}
	entries, err := c.store.History()
	if err != nil {
		return nil, err
	}
	var out []server.ConfigRevision
	for _, e := range entries {
		out = append(out, describe(e, c.store.Record()))
	}
	return out, nil
}

var storedModes = map[server.ConfigMode]configstore.Mode{
	server.ConfigAuto: configstore.Auto, server.ConfigNoReboot: configstore.NoReboot, server.ConfigStaged: configstore.Stage, server.ConfigTry: configstore.Try,
	server.ConfigSource: configstore.Source, server.ConfigRollback: configstore.Rollback,
}

func describe(e configstore.Entry, r configstore.Record) server.ConfigRevision {
	out := server.ConfigRevision{
		Number: e.Number, Time: e.Time, By: e.By, Note: e.Note, SizeBytes: len(e.Document), Problem: strings.ToValidUTF8(e.Problem, "?"),
		Current: e.Number == r.Current, Staged: r.Staged != nil && r.Staged.Revision == e.Number, Trying: r.Trying != nil && e.Number == r.Current,
	}
	for mode, stored := range storedModes {
		if stored == e.Mode {
			out.Mode = mode
		}
	}
	return out
}

// DiffConfigs implements server.Configs.
func (v configsAPI) DiffConfigs(_ context.Context, from, to uint64) (server.ConfigDiff, error) {
	revisions, err := v.pair(from, to)
	if err != nil {
		return server.ConfigDiff{}, err
	}
	v.a.configs.apart.Lock()
	defer v.a.configs.apart.Unlock()
	var shown [2][]byte
	for i, r := range revisions {
		if shown[i], err = config.Redact(r.Document); err != nil {
			return server.ConfigDiff{}, err
		}
	}
	out := server.ConfigDiff{From: revisions[0].Number, To: revisions[1].Number}
	out.Text = string(diff.Diff(fmt.Sprintf("revision %d", out.From), shown[0], fmt.Sprintf("revision %d", out.To), shown[1]))
	if out.Secrets, err = config.ChangedSecrets(revisions[0].Document, revisions[1].Document); err != nil {
		return server.ConfigDiff{}, err
	}
	old, oldErr := config.ParseSealed("", revisions[0].Document, v.a.unseal)
	fresh, freshErr := config.ParseSealed("", revisions[1].Document, v.a.unseal)
	if oldErr == nil && freshErr == nil {
		out.Changes = changes(plan.Compare(old, fresh))
	}
	return out, nil
}

// pair reads two revisions to compare.
func (v configsAPI) pair(from, to uint64) (out [2]configstore.Revision, err error) {
	c, unlock, err := v.open()
	defer unlock()
	if err != nil {
		return out, err
	}
	if to == 0 {
		to = c.store.Record().Current
	}
	if from == 0 {
		if from, err = before(c.store, to); err != nil {
			return out, err
		}
	}
	for i, n := range []uint64{from, to} {
		if out[i], err = c.store.Read(n); err != nil {
			return out, configError(err)
		}
	}
	return out, nil
}

// before is the newest revision that is older than one.
func before(store *configstore.Store, n uint64) (uint64, error) {
	entries, err := store.History()
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if e.Number < n && e.Problem == "" {
			return e.Number, nil
		}
	}
	return 0, fmt.Errorf("%w: no revision before %d is kept", server.ErrNotFound, n)
}

// GetConfig implements server.Configs.
func (v configsAPI) GetConfig(_ context.Context, revision uint64) (server.ConfigState, error) {
	out, document, err := v.state(revision)
	if err != nil {
		return server.ConfigState{}, err
	}
	v.a.configs.apart.Lock()
	defer v.a.configs.apart.Unlock()
	shown, err := config.Redact(document)
	if err != nil {
		return server.ConfigState{}, err
	}
	out.Document = string(shown)
	return out, nil
}

// state is a revision without its document, and that, with its secrets.
func (v configsAPI) state(revision uint64) (out server.ConfigState, document []byte, err error) {
	c, unlock, err := v.open()
	defer unlock()
	if err != nil {
		return out, nil, err
	}
	r := c.store.Record()
	if revision == 0 {
		if revision = r.Current; revision == 0 {
			return out, nil, fmt.Errorf("%w: the node has stored no configuration", server.ErrNotFound)
		}
	}
	stored, err := c.store.Read(revision)
	if err != nil {
		return out, nil, configError(err)
	}
	out = server.ConfigState{
		Revision: describe(configstore.Entry{Revision: stored}, r), Pending: changes(c.pending()), Problems: c.store.Problems(), Settled: v.settled(),
	}
	if s := r.Staged; s != nil {
		out.Staged = s.Revision
	}
	if t := r.Trying; t != nil {
		out.Trial = &server.ConfigTrial{Revision: r.Current, Back: t.Back, Left: r.Left(v.a.cfg.Timeline.Now())}
	}
	if l := r.Last; l != nil {
		out.Last = &server.ConfigOutcome{Revision: l.Revision, Succeeded: l.Succeeded, Reason: l.Reason, At: l.At}
	}
	return out, stored.Document, nil
}

// settled says that nothing of the configuration in force is still to be done by the network.
func (v configsAPI) settled() bool {
	force, err := v.a.configs.inForce()
	s := v.a.snapshot()
	return err == nil && reflect.DeepEqual(force, s.input.Config) &&
		s.network.Satisfied && s.network.Generation >= s.networkFrom && s.network.Status.Ready
}
