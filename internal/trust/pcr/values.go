package pcr

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// Registers by the Linux TPM PCR Registry.
const (
	// SecureBoot holds whether Secure Boot is on, and whose keys it takes.
	SecureBoot = 7
	// Kernel holds the unified kernel image.
	Kernel = 11
	// Config holds what was added to the image's command line, and credentials.
	Config = 12
	// Extensions holds extensions of the initramfs.
	Extensions = 13
)

// Count is how many registers a TPM of a PC has at least (TCG PC Client Platform TPM Profile 1.05, 4.6).
const Count = 24

// Digest is the value of a register in the bank of SHA-256.
type Digest [sha256.Size]byte

// String is the digest in hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Extended returns the value after an event whose digest is e (TPM 2.0 Library, part 1, 17.2).
func (d Digest) Extended(e Digest) Digest { return sha256.Sum256(append(d[:], e[:]...)) }

// Values are registers by their number.
type Values map[int]Digest

// Numbers returns which registers they are, in order.
func (v Values) Numbers() []int { return slices.Sorted(maps.Keys(v)) }

// Selection is how a TPM is told which registers are meant.
func Selection(numbers []int) tpm2.TPMLPCRSelection {
	list := make([]uint, len(numbers))
	for i, n := range numbers {
		list[i] = uint(n)
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(list...)}}}
}

// Policy returns the digest of the policy that the registers have these values: what TPM2_PolicyPCR alone makes of a session (TPM 2.0 Library, part
// 3, 23.7).
func (v Values) Policy() (Digest, error) {
	all := sha256.New()
	for _, n := range v.Numbers() {
		d := v[n]
		all.Write(d[:])
	}
	c, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return Digest{}, fmt.Errorf("compute policy: %w", err)
	}
	p := tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: all.Sum(nil)}, Pcrs: Selection(v.Numbers())}
	if err := p.Update(c); err != nil {
		return Digest{}, fmt.Errorf("compute policy: %w", err)
	}
	return Digest(c.Hash().Digest), nil
}
