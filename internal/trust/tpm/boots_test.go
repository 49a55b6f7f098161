package tpm

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/cyvive/cyvive/internal/trust/pcr"
)

// TestBoots takes a sealed key through boots of the release it was sealed by, of the next one, and of what must not have it.
func TestBoots(t *testing.T) {
	m := newMachine(t)
	key, stranger := newKey(t), newKey(t)
	s := seal(t, m, "secure", key)
	one, two := release(t, "release 1", key), release(t, "release 2", key)

	for _, image := range []string{"release 1", "release 2"} {
		p, _ := start(t, m, "secure", image)
		got, err := p.Unseal(s, []pcr.Signature{one, two})
		if err != nil || !bytes.Equal(got, secret()) {
			t.Errorf("%s: %q, %v", image, got, err)
		}
	}
	for name, c := range map[string]struct {
		firmware, image string
		more            int
		signatures      []pcr.Signature
		is              error
		says            []string
	}{
		"changed image": {
			"secure", "release 1 with another command line", 0, []pcr.Signature{one}, nil,
			[]string{"PCR 11 (the kernel image) is", one.Values[pcr.Kernel].String()},
		},
		"added command line":   {"secure", "release 1", pcr.Config, []pcr.Signature{one}, nil, []string{"PCR 12 (additions to its command line)"}},
		"added extension":      {"secure", "release 1", pcr.Extensions, []pcr.Signature{one}, nil, []string{"PCR 13"}},
		"Secure Boot off":      {"none", "release 1", 0, []pcr.Signature{one}, nil, []string{"PCR 7 (Secure Boot and its keys) is"}},
		"another's release":    {"secure", "release 1", 0, []pcr.Signature{release(t, "release 1", stranger)}, ErrUnsigned, nil},
		"a release, unsigned":  {"secure", "release 1", 0, nil, ErrUnsigned, nil},
		"signature of another": {"secure", "release 3", 0, []pcr.Signature{forged(t, "release 3", key, stranger)}, nil, []string{"signature", "does not match"}},
	} {
		p, _ := start(t, m, c.firmware, c.image)
		if c.more != 0 {
			event(t, p, c.more, "init=/bin/sh")
		}
		got, err := p.Unseal(s, c.signatures)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || len(got) != 0 {
			t.Errorf("%s: got %q, %v; want %v", name, got, err, c.is)
			continue
		}
		for _, text := range c.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v\nwant %q in it", name, err, text)
			}
		}
	}
}

// TestForetell: a release is told before it is started whether it would open what is sealed now, in a boot of another that gives out nothing any more.
func TestForetell(t *testing.T) {
	m := newMachine(t)
	next := release(t, "release 2", newKey(t))
	p, _ := start(t, m, "secure", "release 1")
	if err := p.Cap(); err != nil {
		t.Fatal(err)
	}
	if err := p.Foretell(next); err != nil {
		t.Error(err)
	}
	for _, register := range []int{pcr.Config, pcr.Extensions} {
		p, _ := start(t, m, "secure", "release 1")
		event(t, p, register, "init=/bin/sh")
		var changed *ChangedError
		if err := p.Foretell(next); !errors.As(err, &changed) || len(changed.Changes) != 1 || changed.Changes[0].PCR != register {
			t.Errorf("PCR %d: %v", register, err)
		}
	}
}

// TestTheTPMDecides: where the package's own look at the registers is passed over, the TPM refuses just the same.
func TestTheTPMDecides(t *testing.T) {
	m := newMachine(t)
	key, stranger := newKey(t), newKey(t)
	s := seal(t, m, "secure", key)
	good := release(t, "release 1", key)
	attempt := func(p *TPM, s Sealed, sig pcr.Signature) error {
		parent, err := p.storageKey()
		if err != nil {
			t.Fatal(err)
		}
		defer p.flush(parent.handle)
		object, err := p.load(parent, s)
		if err != nil {
			t.Fatal(err)
		}
		defer p.flush(object.ObjectHandle)
		session, done, err := tpm2.PolicySession(p.transport, tpm2.TPMAlgSHA256, 16, tpm2.Salted(parent.handle, parent.public))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = done() }()
		if err := p.satisfy(session.Handle(), s, sig); err != nil {
			return err
		}
		_, err = tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: object.ObjectHandle, Name: object.Name, Auth: session}}.Execute(p.transport)
		return err
	}
	p, _ := start(t, m, "secure", "release 1")
	if err := attempt(p, s, good); err != nil {
		t.Fatalf("what it should give out: %v", err)
	}
	swapped := s
	swapped.Signer = &stranger.PublicKey
	for name, err := range map[string]error{
		"another signer's key in the token": attempt(p, swapped, release(t, "release 1", stranger)),
		"a forged signature":                attempt(p, s, forged(t, "release 1", key, stranger)),
	} {
		if err == nil {
			t.Errorf("%s: the TPM gave the key out", name)
		}
	}
	for name, boot := range map[string][2]string{"changed image": {"secure", "other"}, "Secure Boot off": {"none", "release 1"}} {
		p, _ := start(t, m, boot[0], boot[1])
		if err := attempt(p, s, good); err == nil {
			t.Errorf("%s: the TPM gave the key out", name)
		}
	}
}

func TestCap(t *testing.T) {
	m := newMachine(t)
	key := newKey(t)
	s, sig := seal(t, m, "secure", key), release(t, "release 1", key)
	p, _ := start(t, m, "secure", "release 1")
	if _, err := p.Unseal(s, []pcr.Signature{sig}); err != nil {
		t.Fatal(err)
	}
	if err := p.Cap(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Unseal(s, []pcr.Signature{sig}); !errors.Is(err, ErrCapped) {
		t.Errorf("after the cap: %v", err)
	}
	// A second one, of an agent that was started again, opens nothing either.
	if err := p.Cap(); err != nil {
		t.Fatal(err)
	}
	var changed *ChangedError
	if _, err := p.Unseal(s, []pcr.Signature{sig}); !errors.As(err, &changed) {
		t.Errorf("after two caps: %v", err)
	}
	p, _ = start(t, m, "secure", "release 1")
	if _, err := p.Unseal(s, []pcr.Signature{sig}); err != nil {
		t.Errorf("the next boot: %v", err)
	}
}

// TestOtherMachine takes the disk elsewhere.
func TestOtherMachine(t *testing.T) {
	key := newKey(t)
	s, sig := seal(t, newMachine(t), "secure", key), release(t, "release 1", key)
	p, _ := start(t, newMachine(t), "secure", "release 1")
	if _, err := p.Unseal(s, []pcr.Signature{sig}); !errors.Is(err, ErrOther) {
		t.Errorf("got %v", err)
	}
	// With the name of the storage key changed to fit, the TPM itself cannot read what another has sealed.
	parent, err := p.storageKey()
	if err != nil {
		t.Fatal(err)
	}
	s.Parent = parent.name.Buffer
	p.flush(parent.handle)
	if _, err := p.Unseal(s, []pcr.Signature{sig}); !errors.Is(err, ErrOther) {
		t.Errorf("with the name changed: %v", err)
	}
}

// TestCleared: a TPM that was cleared is another one.
func TestCleared(t *testing.T) {
	m := newMachine(t)
	key := newKey(t)
	s, sig := seal(t, m, "secure", key), release(t, "release 1", key)
	p, _ := start(t, m, "secure", "release 1")
	clearTPM(t, p)
	if _, err := p.Unseal(s, []pcr.Signature{sig}); !errors.Is(err, ErrOther) {
		t.Errorf("got %v", err)
	}
}
