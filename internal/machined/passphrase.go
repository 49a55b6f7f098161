package machined

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
)

// passphraseTime is how long a caller waits for a place that cannot say yet whether it gives a passphrase.
const passphraseTime = 10 * time.Second

// find looks through the places once, and takes what it sees of the passphrase of the disk: that is kept in memory, and nowhere else. It may be called
// concurrently.
func (a *Agent) find(ctx context.Context) (*Document, Passphrase, error) {
	a.configs.finding.Lock()
	defer a.configs.finding.Unlock()
	doc, err := a.cfg.Source.Find(ctx)
	p := a.cfg.Source.Passphrase()
	if p.Problem != "" && p.Problem != a.configs.passphraseProblem {
		a.log.Warn("read the passphrase of the disk", "from", p.From, "error", p.Problem)
		a.events.Add(server.EventConfiguration, "passphrase", "refused", p.Problem)
	}
	a.configs.passphraseProblem = p.Problem
	if !p.Text.IsZero() && !p.Text.Equal(a.snapshot().input.Passphrase) {
		a.log.Info("a passphrase of the disk was given", "from", p.From)
		a.update(func(s *snapshot) { s.input.Passphrase = p.Text })
	}
	return doc, p, err
}

// owners is what the places say of the owner.
func (a *Agent) owners() []maintenance.Claim {
	a.configs.finding.Lock()
	defer a.configs.finding.Unlock()
	return a.cfg.Source.Owners()
}

// awaitsPassphrase says that the state volume is opened by a passphrase, and is not open; or that it is to be made so, and none was given yet.
func (s snapshot) awaitsPassphrase() bool {
	for _, v := range s.storage.Status.Volumes {
		switch {
		case v.Name != storage.State:
		case v.Encrypted:
			return v.By == storage.Passphrase && v.Shut && !v.Refused
		default:
			return !v.Mounted && !v.Refused && s.input.Config != nil && s.input.Passphrase.IsZero() &&
				s.input.Config.Machine.Disk.Encryption.Mode == config.EncryptionPassphrase
		}
	}
	return false
}

// triesPassphrase says that a state volume which waits for a passphrase may open by one that the places have: they are asked once, and then it is tried. So a node that
// is given its passphrase opens its disk before it looks for a configuration elsewhere. Given is the generation from which on it is tried, zero before they are asked.
func (a *Agent) triesPassphrase(ctx context.Context, s snapshot, given *uint64) bool {
	if !s.awaitsPassphrase() {
		return false
	}
	if *given == 0 {
		_, _, _ = a.find(ctx) // what else is wrong with them is said when the configuration is looked for
		now := a.snapshot()
		*given = now.generation
		return !now.input.Passphrase.IsZero()
	}
	return s.storage.Generation < *given || s.storage.Doing != ""
}

// askPassphrase reads the passphrase as the places give it now, for who seals the disk anew: one that the node remembers may be about to be replaced. So it does for who
// makes another disk, where the node remembers none.
func (a *Agent) askPassphrase(ctx context.Context) (Passphrase, error) {
	ctx, cancel := context.WithTimeout(ctx, passphraseTime)
	defer cancel()
	for {
		_, p, err := a.find(ctx)
		if !p.Text.IsZero() {
			return p, nil
		}
		var waiting *Waiting
		if p.Problem == "" && errors.As(err, &waiting) && sleep(ctx, waitEvery) {
			continue
		}
		why := first(p.Problem, a.cfg.Source.Where())
		if err != nil {
			why = err.Error()
		}
		return Passphrase{}, fmt.Errorf("%w: the disk is opened by a passphrase, and none is given now by a document of kind DiskPassphrase: %s", server.ErrPrecondition, why)
	}
}
