package tpm

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/cyvive/cyvive/internal/trust/pcr"
)

// Refusals, for errors.Is.
var (
	// ErrNone: the machine has no TPM 2.0 that the kernel knows of.
	ErrNone = errors.New("no TPM 2.0")
	// ErrBank: the TPM keeps no registers for SHA-256.
	ErrBank = errors.New("the TPM has no PCRs for SHA-256: turn that bank on in the firmware's setup")
	// ErrOther: the key was sealed by another TPM, or by this one before it was cleared.
	ErrOther = errors.New("sealed by another TPM, or by this one before it was cleared")
	// ErrLockedOut: after wrong passwords the TPM takes none for some time.
	ErrLockedOut = errors.New("the TPM is locked out after wrong passwords")
	// ErrOwned: something has set a password for the TPM's storage hierarchy, which is not known here.
	ErrOwned = errors.New("the TPM's storage hierarchy has a password: clear the TPM in the firmware's setup")
	// ErrCapped: the key was asked for after Cap.
	ErrCapped = errors.New("nothing is unsealed any more in this boot: the volumes were opened")
	// ErrUnsigned: no policy is signed with the key's signer.
	ErrUnsigned = errors.New("the running release is not signed by the key's signer")
)

// ChangedError says that registers are not what they have to be.
type ChangedError struct {
	// Changes are by register.
	Changes []Change
}

// Change is one register that is not what it has to be.
type Change struct {
	PCR       int
	Want, Got pcr.Digest
}

// meanings are what a register says, for people.
var meanings = map[int]string{
	0: "the firmware", 1: "the firmware's settings", 2: "option ROMs", 3: "their settings", 4: "the boot loader", 5: "its settings and the partition table",
	pcr.SecureBoot: "Secure Boot and its keys", pcr.Kernel: "the kernel image", pcr.Config: "additions to its command line",
	pcr.Extensions: "extensions of its initramfs",
}

// Error names every register with what it says, its value and the expected one.
func (e *ChangedError) Error() string {
	var parts []string
	for _, c := range e.Changes {
		name := fmt.Sprintf("PCR %d", c.PCR)
		if m := meanings[c.PCR]; m != "" {
			name += " (" + m + ")"
		}
		parts = append(parts, fmt.Sprintf("%s is %s, expected %s", name, c.Got, c.Want))
	}
	return "the machine did not start as the key demands: " + strings.Join(parts, "; ")
}

// compare returns the registers in which got is not what is wanted, as an error.
func compare(want, got pcr.Values) error {
	e := &ChangedError{}
	for _, n := range want.Numbers() {
		if got[n] != want[n] {
			e.Changes = append(e.Changes, Change{PCR: n, Want: want[n], Got: got[n]})
		}
	}
	if len(e.Changes) == 0 {
		return nil
	}
	return e
}

// explain puts the error of a command to the TPM into words. TPM 2.0 Library, part 2, 6.6 lists the codes.
func explain(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tpm2.TPMRCLockout):
		err = fmt.Errorf("%w: %w", ErrLockedOut, err)
	case errors.Is(err, tpm2.TPMRCIntegrity):
		err = fmt.Errorf("%w: %w", ErrOther, err)
	case errors.Is(err, tpm2.TPMRCAuthFail), errors.Is(err, tpm2.TPMRCBadAuth):
		err = fmt.Errorf("%w: %w", ErrOwned, err)
	case slices.ContainsFunc([]error{fs.ErrNotExist, fs.ErrClosed}, func(e error) bool { return errors.Is(err, e) }):
		err = fmt.Errorf("%w: %w", ErrNone, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
