package machined

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/install"
	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/storage"
)

// opening is what opens the sealed secrets of the node's configuration: the key of the state volume or, as with the node's own key, one in memory until that is
// there, on which it is then stored.
type opening struct {
	mu  sync.Mutex
	key *config.SealingKey
	// stored says that it is the state volume's.
	stored bool
}

// sealingKey returns the key. The error is that of a state volume which is there and does not keep it: what was sealed for it would be lost with the next restart.
func (a *Agent) sealingKey() (*config.SealingKey, error) {
	o := &a.opening
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stored || !mounted(a.snapshot(), storage.State) {
		return o.key, nil
	}
	path := filepath.Join(a.cfg.StateDir, install.SealingKeyFile)
	text, err := os.ReadFile(path)
	if err == nil {
		key, err := config.ParseSealingKey(text)
		if err == nil {
			o.key, o.stored = key, true
			return o.key, nil
		}
		a.log.Error("the key on the state volume that opens sealed secrets cannot be used: another takes its place", "path", path, "error", err)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the key that opens sealed secrets: %w", err)
	}
	if err := ledger.ReplaceFile(path, o.key.Text(), 0o600); err != nil {
		return nil, fmt.Errorf("store the key that opens sealed secrets: %w", err)
	}
	o.stored = true
	return o.key, nil
}

// unseal is the [config.Opener] of all configurations that the node takes to use.
func (a *Agent) unseal(text, place string) (string, error) {
	key, err := a.sealingKey()
	if err != nil {
		return "", err
	}
	plain, err := key.Open(text, place)
	if err != nil && a.snapshot().stateClosed() {
		err = fmt.Errorf("%w; the node's own key may be on its state volume, which is not open", err)
	}
	return plain, err
}

// recipient is what secrets are sealed for; empty where what is sealed for it would be lost.
func (a *Agent) recipient() string {
	if a.snapshot().stateClosed() {
		return ""
	}
	key, err := a.sealingKey()
	if err != nil {
		return ""
	}
	return key.Recipient()
}

// stateClosed says that the state volume is not there to be read, and may have another key than that in memory: it is shut, late or out of order. One that is yet
// to be made has none, and a medium has no such volume.
func (s snapshot) stateClosed() bool {
	return !s.input.Medium && !mounted(s, storage.State) && !s.storage.Status.StateUndecided
}
