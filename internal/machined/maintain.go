package machined

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage"
)

// nodeKey is the key by which the node is known, whoever signs for it: the state volume's, or one in memory until that is there.
type nodeKey struct {
	pem    []byte
	signer crypto.Signer
	print  pki.Fingerprint
	stored bool
}

func newNodeKey() (nodeKey, error) {
	text, err := pki.NewKey()
	if err != nil {
		return nodeKey{}, err
	}
	return parseNodeKey(text)
}

func parseNodeKey(text []byte) (nodeKey, error) {
	signer, err := pki.ParseKey(text)
	if err != nil {
		return nodeKey{}, err
	}
	if err := pki.Strong(signer.Public()); err != nil {
		return nodeKey{}, err
	}
	print, err := pki.FingerprintOf(signer.Public())
	return nodeKey{pem: text, signer: signer, print: print}, err
}

// keyFile is the node's key on the state volume.
const keyFile = "identity.key"

// keepKey takes the key that the state volume has, or stores the one in memory there, so that it outlives a restart. Without success the node goes on with the
// one it has: who looks for it by that may still find it.
func (a *Agent) keepKey() error {
	path := filepath.Join(a.cfg.StateDir, keyFile)
	text, err := os.ReadFile(path)
	if err == nil {
		var key nodeKey
		if key, err = parseNodeKey(text); err == nil {
			a.key = key
			a.key.stored = true
			return nil
		}
		a.log.Error("the node's key on the state volume cannot be used: the node becomes another one", "path", path, "error", err)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the node's key: %w", err)
	}
	if err := ledger.ReplaceFile(path, a.key.pem, 0o600); err != nil {
		return fmt.Errorf("store the node's key: %w", err)
	}
	a.key.stored = true
	return nil
}

// unconfigured says whom the server answers while the node has no configuration. What keeps it from answering is for the console, not for strangers.
func (s snapshot) unconfigured() server.Unconfigured {
	u := server.Unconfigured{Owner: s.owner.Key, Source: s.owner.From, Conflicts: s.owner.Conflicts}
	switch s.mode {
	case maintenance.Owned:
		u.Audience = server.AudienceOwner
	case maintenance.Open:
		u.Audience = server.AudienceAnybody
	case maintenance.Closed:
		u.Reason = "it is not known whether it has an owner, and its console says why"
	default:
		u.Reason = "it is still looking for its configuration"
	}
	return u
}

// stateShut says why the state volume, which is encrypted, does not open; empty if it is not shut.
func (s snapshot) stateShut() string {
	for _, v := range s.storage.Status.Volumes {
		if v.Name == storage.State && v.Shut {
			return v.Reason
		}
	}
	return ""
}

// tellMode shows on the console what a person in front of the machine needs to know, each time that it differs.
func (a *Agent) tellMode(s snapshot, addresses []netip.Addr) {
	if s.mode != a.toldMode {
		a.log.Info("whom the node answers", "mode", s.mode.String(), "owner_from", s.owner.From, "fingerprint", a.key.print.String())
		a.events.Add(server.EventAgent, "maintenance", s.mode.String(), s.owner.From)
		a.toldMode = s.mode
	}
	lines := maintenance.Notice{
		Mode: s.mode, Reason: s.configProblem, Shut: s.stateShut(), Addresses: addresses, Fingerprint: a.key.print, InMemory: !a.key.stored, Owner: s.owner,
		Medium: s.input.Medium,
	}.Lines()
	if slices.Equal(lines, a.shown) || a.cfg.Console == nil {
		return
	}
	a.shown = lines
	if lines == nil {
		lines = []string{"MAINTENANCE MODE HAS ENDED: this node has its configuration"}
	}
	for _, line := range lines {
		_, _ = fmt.Fprintln(a.cfg.Console, line) // nobody is there to be told
	}
}
