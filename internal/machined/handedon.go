package machined

import (
	"bytes"
	"cmp"
	"encoding/pem"
	"fmt"
	"slices"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
)

// handedOn is the key that a configuration needs on another disk, whose state volume is made in a way; nil if it needs none. Where that keeps it less well than this
// node's own does, the error is [server.ErrPrecondition].
func (a *Agent) handedOn(documents []byte, there storage.Encryption) ([]byte, error) {
	if !config.HoldsSealed(documents) {
		return nil, nil
	}
	key, err := a.sealingKey()
	if err != nil {
		return nil, err
	}
	for _, v := range a.snapshot().storage.Status.Volumes {
		if why := keptWorse(v, there); why != "" {
			return nil, fmt.Errorf("%w: the configuration for the other disk has sealed secrets, and this node's key for them would lie there less safe than here: %s, "+
				"or give a configuration without sealed secrets: these can be sealed for the installed node, which then has a key of its own", server.ErrPrecondition, why)
		}
	}
	return key.Text(), nil
}

// keptWorse says how the state volume of another disk would keep a key from fewer people than a volume of this node does, and what to do about it; empty where that is not
// the one which has the key, is not encrypted itself, or opens by nothing that does not open the other. Another mode is always worse in something: each opens for
// somebody for whom the others stay shut.
func keptWorse(v storage.VolumeStatus, there storage.Encryption) string {
	field := func(name, got, want string) string {
		return fmt.Sprintf("Machine.disk.encryption.%s: got %s, want %s, by which volume %s of this node opens", name, got, want, v.Name)
	}
	const reseal = "`nodectl disk reseal`"
	switch {
	case v.Name != storage.State || !v.Encrypted:
		return ""
	case v.By == storage.Plain:
		return fmt.Sprintf("volume %s of this node is encrypted, and its header does not tell what opens it: mend that (%s)", v.Name, reseal)
	case v.By != there.Mode:
		return field("mode", cmp.Or(string(there.Mode), string(config.EncryptionNone)), string(v.By)) + ": give it that"
	case v.By != storage.KMS:
		return ""
	case v.Server.Endpoint != there.Server.Endpoint:
		return field("kms.endpoint", there.Server.Endpoint, cmp.Or(v.Server.Endpoint, "one that cannot be read")) +
			": give it that, or have this node go over to the other server first (" + reseal + ")"
	case !trustsNoMore(there.Server.CA, v.Server.CA):
		return field("kms.ca", "an authority more", "no other than those") + ": give it these, or have this node take the others first (" + reseal + ")"
	}
	return ""
}

// trustsNoMore says that all certificates of one text, PEM, are in another. Who is trusted less is not worse: so it is while an authority takes the place of another.
func trustsNoMore(some, all string) bool {
	known := certificatesOf(all)
	for _, c := range certificatesOf(some) {
		if !slices.ContainsFunc(known, func(k []byte) bool { return bytes.Equal(k, c) }) {
			return false
		}
	}
	return true
}

// certificatesOf are those of a text.
func certificatesOf(text string) (all [][]byte) {
	for b, rest := pem.Decode([]byte(text)); b != nil; b, rest = pem.Decode(rest) {
		all = append(all, b.Bytes)
	}
	return all
}
