package tpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/cyvive/cyvive/internal/trust/pcr"
)

// TestNobodyListens: neither sealing nor unsealing shows the secret on the bus.
func TestNobodyListens(t *testing.T) {
	m := newMachine(t)
	key := newKey(t)
	p, b := start(t, m, "secure", "release 1")
	s, err := p.Seal(secret(), &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Unseal(s, []pcr.Signature{release(t, "release 1", key)}); err != nil {
		t.Fatal(err)
	}
	if b.passed.Len() < 1000 || bytes.Contains(b.passed.Bytes(), secret()) || bytes.Contains(b.passed.Bytes(), secret()[:16]) {
		t.Errorf("of %d bytes that passed, some are the secret", b.passed.Len())
	}
}

// TestNothingIsLeft: a TPM without resource manager has room for three objects and three sessions; many keys are sealed and unsealed, also in vain.
func TestNothingIsLeft(t *testing.T) {
	m := newMachine(t)
	key := newKey(t)
	p, _ := start(t, m, "secure", "release 1")
	good, bad := release(t, "release 1", key), forged(t, "release 1", key, newKey(t))
	for range 5 {
		s, err := p.Seal(secret(), &key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Unseal(s, []pcr.Signature{good}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Unseal(s, []pcr.Signature{bad}); err == nil {
			t.Fatal("a forged signature was taken")
		}
		s.Private[len(s.Private)-1] ^= 1
		if _, err := p.Unseal(s, []pcr.Signature{good}); err == nil {
			t.Fatal("a changed key was unsealed")
		}
	}
}

func TestState(t *testing.T) {
	m := newMachine(t)
	p, _ := start(t, m, "secure", "release 1")
	s, err := p.State()
	if err != nil {
		t.Fatal(err)
	}
	if s.Manufacturer != "IBM" || s.LockedOut || s.Tries != 0 || len(s.PCRs) != 16 {
		t.Errorf("state is %+v", s)
	}
	var zero pcr.Digest
	if want := zero.Extended(sha256.Sum256([]byte("secure"))); s.PCRs[pcr.SecureBoot] != want || s.PCRs[0] != zero {
		t.Errorf("PCR 7 is %s, want %s; PCR 0 is %s", s.PCRs[pcr.SecureBoot], want, s.PCRs[0])
	}
}

// TestLockout: a TPM that takes no passwords any more still unseals, since no password is asked for; the state tells.
func TestLockout(t *testing.T) {
	m := newMachine(t)
	key := newKey(t)
	p, _ := start(t, m, "secure", "release 1")
	s, err := p.Seal(secret(), &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	err = lockOut(t, p)
	if err := explain("open another's object", err); !errors.Is(err, ErrLockedOut) {
		t.Errorf("a command that counts: %v", err)
	}
	if state, err := p.State(); err != nil || !state.LockedOut || state.Tries == 0 {
		t.Errorf("state is %+v, %v", state, err)
	}
	if _, err := p.Unseal(s, []pcr.Signature{release(t, "release 1", key)}); err != nil {
		t.Errorf("locked out: %v", err)
	}
}

// TestOwned: somebody else's password on the hierarchy is said so.
func TestOwned(t *testing.T) {
	m := newMachine(t)
	p, _ := start(t, m, "secure", "release 1")
	c := tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("owned")},
	}
	if _, err := c.Execute(p.transport); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Seal(secret(), &newKey(t).PublicKey); !errors.Is(err, ErrOwned) {
		t.Errorf("got %v", err)
	}
}

// TestPolicy holds the computed policy against that of a session of the TPM's.
func TestPolicy(t *testing.T) {
	m := newMachine(t)
	key := newKey(t)
	p, _ := start(t, m, "secure", "release 1")
	sig := release(t, "release 1", key)
	fixed, err := p.Values(Fixed...)
	if err != nil {
		t.Fatal(err)
	}
	signed := policyPCR(sig.Values)
	signed.PolicySession = session(t, p)
	if _, err := signed.Execute(p.transport); err != nil {
		t.Fatal(err)
	}
	if got := digest(t, p, signed.PolicySession.HandleValue()); got != sig.Policy {
		t.Errorf("the TPM computes %s for the signed registers, the signature is over %s", got, sig.Policy)
	}
	whole := session(t, p)
	if err := p.satisfy(whole, Sealed{Signer: &key.PublicKey, Fixed: fixed}, sig); err != nil {
		t.Fatal(err)
	}
	want, err := policyOf(&key.PublicKey, fixed)
	if got := digest(t, p, whole.HandleValue()); err != nil || got != want {
		t.Errorf("the TPM computes %s, policyOf %s, %v", got, want, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "none"), dir} {
		if _, err := Open(path); !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSealRefuses(t *testing.T) {
	p := New(nil)
	if _, err := p.Seal([]byte("short"), &newKey(t).PublicKey); err == nil || !strings.Contains(err.Error(), "5 bytes, expected 32") {
		t.Errorf("got %v", err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policyOf(&other.PublicKey, pcr.Values{7: {}}); err == nil || !strings.Contains(err.Error(), "P-384") {
		t.Errorf("got %v", err)
	}
}

// bare is a TPM whose bank for SHA-256 is off: it answers without registers.
type bare struct{}

func (bare) Send([]byte) ([]byte, error) {
	// Tag, size and code of success; then the counter of changes and two empty lists.
	return append([]byte{0x80, 0x01, 0, 0, 0, 22, 0, 0, 0, 0}, make([]byte, 12)...), nil
}

func (bare) Close() error { return nil }

func TestNoBank(t *testing.T) {
	if _, err := New(bare{}).Seal(secret(), &newKey(t).PublicKey); !errors.Is(err, ErrBank) {
		t.Errorf("got %v", err)
	}
}
