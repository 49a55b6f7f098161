package machined

import (
	"errors"
	"fmt"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/storage"
)

// A configuration that has the disk encrypted is not to be a node's first where the disk is not: it would be kept in the clear with its private keys, on volumes
// that stay as they are. On a node that has a configuration already it is refused as a change of what a node cannot change; where a release before took one from a
// source all the same, it changes nothing, and the volumes say that they are otherwise.

// encryptionField is the field that asks for it.
const encryptionField = "Machine.disk.encryption.mode"

var (
	errPlainDisk = errors.New("this node's disk is not encrypted, and would keep the configuration and its private keys in the clear")
	errNoTPM     = errors.New("it needs a TPM 2.0, and this machine has none: turn it on in the firmware's setup")
)

// encryptable says why a first configuration cannot have the disk encrypted as it asks for; nil where it can, where it does not ask for it, and where nothing is
// known yet that speaks against it. The state volume that is encrypted and does not open speaks for it.
func (a *Agent) encryptable(cfg *config.Config) error {
	mode := cfg.Machine.Disk.Encryption.Mode
	if mode == "" || mode == config.EncryptionNone {
		return nil
	}
	s := a.snapshot()
	for _, v := range s.storage.Status.Volumes {
		switch {
		case v.Name != storage.State || v.Encrypted:
		case !s.input.TPM && mode == config.EncryptionTPM && v.Mounted:
			return fmt.Errorf("%s: %w; then make the disk anew (`nodectl reset`, or an installation)", encryptionField, errNoTPM)
		case !s.input.TPM && mode == config.EncryptionTPM:
			return fmt.Errorf("%s: %w, or name something else that opens the disk (kms, passphrase)", encryptionField, errNoTPM)
		case v.Mounted:
			return fmt.Errorf("%s: %w: make it anew (`nodectl reset`, or an installation)", encryptionField, errPlainDisk)
		}
	}
	return nil
}
