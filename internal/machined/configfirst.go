package machined

import (
	"context"
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
)

// A machine makes its volumes when its configuration says how, and what is applied over the API is stored on one of them. So the first one that is
// applied says how they are made before it is in force, and is then stored and put in force like any other.

// makingTime is how long a caller waits for the state volume to be made.
const makingTime = 2 * time.Minute

// undecided tells whether there is no state volume until a configuration says how it is made.
func (v configsAPI) undecided() bool {
	return !v.stores() && v.a.snapshot().storage.Status.StateUndecided
}

// firstCheck says what a configuration would do that has nothing to be compared with, and changes nothing.
func (v configsAPI) firstCheck(ctx context.Context, r server.ConfigRequest) (server.ConfigResult, error) {
	_, cfg, err := v.composeFirst(r.ConfigDocument)
	if err != nil {
		return server.ConfigResult{}, err
	}
	if err := v.a.encryptable(cfg); err != nil {
		return server.ConfigResult{}, fmt.Errorf("%w: %w", server.ErrPrecondition, err)
	}
	d := firstDraft(r)
	if _, err := v.a.keepsCaller(ctx, d, cfg); err != nil {
		return server.ConfigResult{}, err
	}
	d.cfg, d.dry = cfg, true
	result := server.ConfigResult{Notes: draft{}.leaveNotes(true)}
	result.Domains, _, err = v.a.previews(ctx, d, cfg)
	return result, err
}

// firstDraft is a draft on a node that keeps no configuration, without documents.
func firstDraft(r server.ConfigRequest) draft {
	return draft{by: r.Mode, leaves: true, caller: callerOf(r)}
}

func (v configsAPI) composeFirst(d server.ConfigDocument) ([]byte, *config.Config, error) {
	v.a.configs.apart.Lock()
	defer v.a.configs.apart.Unlock()
	return compose(nil, d, v.a.unseal)
}

// decide has the volumes made as a configuration says, and waits until the state volume can keep that. If it does not come, how it is to be made is open again.
// Two cannot do so at a time: one would have the volumes that the other asked for.
func (v configsAPI) decide(ctx context.Context, r server.ConfigRequest) error {
	if !v.a.configs.deciding.TryLock() {
		return fmt.Errorf("%w: the volumes are being made as another first configuration says: apply this one when that is stored", server.ErrPrecondition)
	}
	defer v.a.configs.deciding.Unlock()
	if err := v.a.goingDown(); err != nil {
		return err
	}
	_, cfg, err := v.composeFirst(r.ConfigDocument)
	if err != nil {
		return err
	}
	if _, err := inputOf(cfg); err != nil {
		return fmt.Errorf("%w: %w", server.ErrInvalid, err)
	}
	if _, err := v.a.keepsCaller(ctx, firstDraft(r), cfg); err != nil {
		return err
	}
	a := v.a
	if err := a.encryptable(cfg); err != nil {
		return fmt.Errorf("%w: %w", server.ErrPrecondition, err)
	}
	mode := cfg.Machine.Disk.Encryption.Mode
	a.log.Info("the first configuration says how the volumes are made", "encryption", mode)
	a.update(func(s *snapshot) { s.input.Encryption, s.input.KeyServer = mode, cfg.Machine.Disk.Encryption.KMS })
	decided := a.snapshot().generation
	wait, cancel := context.WithTimeout(ctx, makingTime)
	defer cancel()
	for !v.stores() {
		if mounted(a.snapshot(), storage.State) {
			a.configs.changed.Wake() // the configuration's own task opens the store
		}
		over := !sleep(wait, searchEvery)
		// What keeps it from being made (no signer, a TPM that is out of order) does not pass by itself.
		s := a.snapshot()
		if over || s.storage.Generation >= decided && s.storage.Problem != "" && !mounted(s, storage.State) {
			a.update(func(s *snapshot) { s.input.Encryption, s.input.KeyServer = "", nil })
			a.awaitUndecided(ctx)
			return fmt.Errorf("%w: the state volume cannot keep the configuration, which was not taken: %s", server.ErrUnavailable,
				first(stateProblem(s), s.storage.Status.Reason, "it was not looked at"))
		}
	}
	return nil
}

// awaitUndecided gives the loop of the storage time to see that nothing is decided any more, so that the caller may come with another configuration at once.
// A volume that was made all the same is never undecided again.
func (a *Agent) awaitUndecided(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, previewTimeout)
	defer cancel()
	var version uint64
	for {
		s, v, err := a.store.Watch(ctx, version)
		if err != nil || s.storage.Status.StateUndecided || mounted(s, storage.State) {
			return
		}
		version = v
	}
}

func (v configsAPI) stores() bool {
	c := &v.a.configs
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store != nil
}
