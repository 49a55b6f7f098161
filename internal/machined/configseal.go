package machined

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyvive/cyvive/internal/machined/configstore"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/storage"
)

// Once the node's configuration is on an encrypted volume, nothing has a say that could be put beside the machine while it was off, be it a volume, a server or
// the firmware's tables: what opens the disk, a TPM, a key server or a passphrase, does not know of it. Whoever has the disk cannot read what is on it, but can
// make noise of any part of it, since the encryption does not tell when it was changed (AES-XTS). So it does not count whether a configuration can be read, but
// whether there may ever have been one. The key of the volume data lies on state too, and is made after the first configuration was stored: without it that
// volume is lost.
//
// While the volume is shut all of that has a say, until it opens: late.go.

// sealed says that the state volume is encrypted and open, and had a configuration before this agent opened the store, or may have had one. What came on it since
// does not count: whoever has given that is in the middle of it. The caller holds the lock.
func (a *Agent) sealed() bool {
	c := &a.configs
	switch {
	case !a.enclosed():
		return false
	case c.store == nil:
		return c.problem != ""
	}
	return c.used
}

// isFresh says that a store, which could not be opened at first, has turned out to be one that never had a configuration; and no other is in force.
func (a *Agent) isFresh() bool {
	c := &a.configs
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store != nil && !c.used && c.store.Record().Newest == 0 && a.enclosed() && a.snapshot().input.Config == nil
}

// unread says that it is to be seen yet whether the node is sealed. The caller holds the lock.
func (a *Agent) unread() bool {
	return a.enclosed() && a.configs.store == nil && a.configs.problem == ""
}

// enclosed says that the state volume is encrypted and open.
func (a *Agent) enclosed() bool { return a.snapshot().opened() }

// wasUsed says of a store that was just opened that the state volume had a configuration before, or may have had one.
func (a *Agent) wasUsed(store *configstore.Store) bool {
	return store.Used() || a.cfg.Vault != nil && a.cfg.Vault.Keyed(storage.Data)
}

// noteKept has the volumes made that wait for a configuration to be stored. The caller holds the lock.
func (a *Agent) noteKept() {
	if kept := a.configs.store.Used(); kept != a.snapshot().input.Kept {
		a.update(func(s *snapshot) { s.input.Kept = kept })
	}
}

// errNoneLeft is that of a node which has no configuration that could be read, and is sealed, or was given the one that it had over the API.
var errNoneLeft = errors.New("there was a configuration on the state volume, and none of it can be read; no other place has a say, " +
	"its owner may apply it anew")

// whyNone says why a node that asks no source has no current revision. The caller holds the lock.
func (a *Agent) whyNone() error {
	c := &a.configs
	if c.store == nil {
		return fmt.Errorf("%w: %s", errNoneLeft, c.problem)
	}
	if s := c.store.Record().Staged; s != nil {
		return fmt.Errorf("revision %d of the state volume is staged: it takes effect with the next boot", s.Revision)
	}
	if problems := c.store.Problems(); len(problems) > 0 {
		return fmt.Errorf("%w: %s", errNoneLeft, problems[0])
	}
	return errNoneLeft
}

// lack has the node go on without the configuration that it has stored. One that was found without an encrypted state volume has ended with the coming of that
// (yielded), and what it has made of the network goes with it. The caller holds the lock.
func (a *Agent) lack(err error) {
	a.update(func(s *snapshot) {
		if s.came == inTime && s.input.Config == nil {
			s.input.Lost = true
		}
	})
	a.adopt(nil, err, true)
	a.claim(true)
}

// owner is who owns the node, by what its places say now. What was said by others than those that a TPM knows of counts no more on a node that is sealed, or of
// which that is about to be seen.
func (a *Agent) owner() maintenance.Owner {
	s, claims := a.snapshot(), a.owners()
	if !a.sealed() && s.came != reading {
		return s.owner.After(claims)
	}
	return maintenance.Owner{}.After(slices.DeleteFunc(claims, func(c maintenance.Claim) bool { return !c.Measured }))
}

// askOwners asks the source who owns a node whose stored configuration cannot be used: of some places it knows when it has looked there. What else it finds does
// not count.
func (a *Agent) askOwners(ctx context.Context) {
	if _, _, err := a.find(ctx); err != nil {
		a.log.Debug("ask for the owner of a node whose configuration cannot be used", "error", err)
	}
	a.configs.mu.Lock()
	defer a.configs.mu.Unlock()
	if s := a.snapshot(); s.input.Config == nil && s.came != reading {
		a.claim(true)
	}
}
