package machined

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
)

// What is applied while a release is on trial may be in words that only this one knows. When its trial fails, the release before has to be the node that it was: it
// goes back to the newest revision that it can use. It does so for that alone, and by what the record of upgrades says: a release on trial goes itself where it cannot
// use the configuration, and one that stayed is not to choose another than its owner did. The record is read from its file, since the configuration comes before the
// keeper of upgrades, and before or after that has noted that the trial is over. What is stored is one record of the configurations: a power cut leaves the old
// one, from which the next start comes to the same.

// usesOlder goes back to the newest revision that the running release can use, err being why it cannot use the current one. It returns whether it did. The caller
// holds the lock.
func (a *Agent) usesOlder(err error) bool {
	c := &a.configs
	var mistakes config.Errors
	if !errors.As(err, &mistakes) || !a.fellBack() {
		return false
	}
	r := c.store.Record()
	// Where the node's key alone is missing for what is sealed, the release is not the reason.
	if stored, err := c.store.Read(r.Current); err != nil || isUsable(stored.Document) {
		return false
	}
	for _, n := range slices.Backward(r.Past) {
		cfg, err := c.read(n)
		if err == nil {
			_, err = inputOf(cfg)
		}
		if err != nil {
			a.log.Warn("a revision of the configuration is stepped over", "revision", n, "reason", err)
			continue
		}
		reason := fmt.Sprintf("version %s, which runs again after a failed trial, cannot use it: %s", a.cfg.Boot.Version.OS, firstOf(mistakes))
		if err := c.store.FallBack(n, reason); err != nil {
			a.log.Error("store that an older revision of the configuration counts", "revision", n, "error", err)
		}
		a.log.Warn("a revision of the configuration was taken back", "revision", r.Current, "reason", reason, "to", n)
		a.events.Add(server.EventConfiguration, "configuration", "taken back", fmt.Sprintf("revision %d, to revision %d: %s", r.Current, n, reason))
		if err := a.enforce(fmt.Sprintf("revision %d again", n)); err != nil {
			a.log.Error("go back to an older configuration", "error", err)
			return false
		}
		return true
	}
	return false
}

// isUsable says that this release can use documents, were what is sealed in them open.
func isUsable(documents []byte) bool {
	_, err := config.ParseSealed("", documents, config.LeaveSealed)
	return err == nil
}

// firstOf are the first mistakes, on one line.
func firstOf(mistakes config.Errors) string {
	const most = 3
	var out []string
	for _, m := range mistakes[:min(len(mistakes), most)] {
		out = append(out, m.Error())
	}
	if more := len(mistakes) - most; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, "; ")
}

// upgradeRecord is the file of the record of upgrades.
func (a *Agent) upgradeRecord() string { return filepath.Join(a.cfg.StateDir, "upgrade.json") }

// fellBack says that the running release is the one before an upgrade that failed. What cannot be read says nothing.
func (a *Agent) fellBack() bool {
	if a.cfg.Upgrades == nil {
		return false
	}
	data, err := os.ReadFile(a.upgradeRecord())
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	var r upgrade.Record
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		a.log.Error("it cannot be told whether a trial has failed", "error", err)
		return false
	}
	return cameFrom(r, a.cfg.Boot.ID, a.cfg.Boot.Version.RootHash)
}

// cameFrom says that the last trial was of another release and failed, and that the one with this root hash was there before it, and runs now. The record is as that
// trial has left it, or as it was made of that since.
func cameFrom(r upgrade.Record, boot, root string) bool {
	ended := r.Stage == upgrade.Trial || r.Stage == upgrade.Reverting || r.Stage == upgrade.Armed && r.Boot != boot
	switch {
	case root == "" || r.Target.RootHash == root:
		return false // it is on trial itself
	case ended:
		return r.From.RootHash == root
	}
	return r.Last != nil && !r.Last.Succeeded && r.Last.From.RootHash == root
}
