package main

import (
	"crypto/ecdsa"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/loader"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/kms"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/tpm"
	"github.com/cyvive/cyvive/internal/trust/volumes"
)

// policyKeys are the keys of whoever signs what releases are measured as.
const policyKeys = "/usr/lib/cyvive/policy-keys.pem"

// hasTPM says that the machine has a TPM 2.0, which the kernel knows of.
func hasTPM() bool {
	_, err := os.Stat(tpm.Device)
	return err == nil
}

// volumesOf makes what opens encrypted volumes, on the machine of a UUID. Without a TPM 2.0, what needs that is refused.
func volumesOf(log *slog.Logger, disk *blockdev.Disk, boot *loader.Loader, slot, machine string) *volumes.Volumes {
	if !hasTPM() {
		log = slog.New(slog.DiscardHandler) // nothing is sealed for anybody here
	}
	return volumes.New(volumes.Config{
		LUKS: luks.Cryptsetup{Program: "/usr/bin/cryptsetup"}, Marks: disk,
		TPM:        func() (*tpm.TPM, error) { return tpm.Open(tpm.Device) },
		Signatures: func() ([]pcr.Signature, error) { return signatures(boot, slot) },
		Signers:    signers(log, policyKeys),
		KeyServer:  kms.Client{}, Machine: machine,
		KeyDir: filepath.Join(stateDir, "keys"), Records: "/run/cyvive/volumes",
		Mapper: luks.MapperDir, Sysfs: "/sys",
	})
}

// signatures are those in the kernel image of the running slot. Whether that is the image which runs is for the TPM to say.
func signatures(boot *loader.Loader, slot string) (list []pcr.Signature, err error) {
	if slot == "" {
		return nil, fmt.Errorf("%w: it was not started from a slot", pcr.ErrUnsigned)
	}
	err = boot.ReadKernel(slot, func(image *io.SectionReader) error {
		list, err = pcr.Attached(image)
		return err
	})
	return list, err
}

// signers reads the keys that the verified root brings. Without them the node works, and seals nothing.
func signers(log *slog.Logger, path string) []*ecdsa.PublicKey {
	data, err := os.ReadFile(path)
	if err == nil {
		var keys []*ecdsa.PublicKey
		if keys, err = pcr.ParseKeys(data); err == nil {
			return keys
		}
	}
	log.Error("read the policy keys: no disk can be encrypted by this release", "path", path, "error", err)
	return nil
}
