package tpm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/tpmtest"
)

// event extends a register as firmware or boot loader do.
func event(t *testing.T, p *TPM, register int, data string) {
	t.Helper()
	tpmtest.Extend(t, p.transport, register, data)
}

// start boots a release on the machine: firmware with some Secure Boot, then the kernel image of a name.
func start(t *testing.T, m machine, firmware, image string) (*TPM, *bus) {
	t.Helper()
	p, b := m.boot()
	event(t, p, pcr.SecureBoot, firmware)
	event(t, p, pcr.Kernel, image)
	return p, b
}

// release is what the signer says of an image of that name.
func release(t *testing.T, image string, key *ecdsa.PrivateKey) pcr.Signature {
	t.Helper()
	var zero pcr.Digest
	s, err := pcr.Sign(pcr.Values{pcr.Kernel: zero.Extended(sha256.Sum256([]byte(image))), pcr.Config: zero, pcr.Extensions: zero}, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func secret() []byte { return []byte("a secret of thirty-two bytes....") }

// seal boots a release and seals the secret there.
func seal(t *testing.T, m machine, firmware string, key *ecdsa.PrivateKey) Sealed {
	t.Helper()
	p, _ := start(t, m, firmware, "release 1")
	s, err := p.Seal(secret(), &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// forged is a signature of one key in the name of another.
func forged(t *testing.T, image string, name, by *ecdsa.PrivateKey) pcr.Signature {
	t.Helper()
	s := release(t, image, by)
	var err error
	if s.Key, err = pcr.Fingerprint(&name.PublicKey); err != nil {
		t.Fatal(err)
	}
	return s
}

// session begins one that ends with the test.
func session(t *testing.T, p *TPM) tpm2.TPMHandle {
	t.Helper()
	s, done, err := tpm2.PolicySession(p.transport, tpm2.TPMAlgSHA256, 16)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = done() })
	return s.Handle()
}

func digest(t *testing.T, p *TPM, session uint32) pcr.Digest {
	t.Helper()
	rsp, err := tpm2.PolicyGetDigest{PolicySession: tpm2.TPMHandle(session)}.Execute(p.transport)
	if err != nil {
		t.Fatal(err)
	}
	return pcr.Digest(rsp.PolicyDigest.Buffer)
}

func clearTPM(t *testing.T, p *TPM) {
	t.Helper()
	c := tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}
	if _, err := c.Execute(p.transport); err != nil {
		t.Fatal(err)
	}
}

// lockOut guesses at an object that has a password until the TPM takes no more guesses.
func lockOut(t *testing.T, p *TPM) error {
	t.Helper()
	parent, err := p.storageKey()
	if err != nil {
		t.Fatal(err)
	}
	defer p.flush(parent.handle)
	auth := tpm2.AuthHandle{Handle: parent.handle, Name: parent.name, Auth: tpm2.PasswordAuth(nil)}
	made, err := tpm2.Create{
		ParentHandle: auth,
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			UserAuth: tpm2.TPM2BAuth{Buffer: []byte("password")}, Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: []byte("x")}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, UserWithAuth: true},
		}),
	}.Execute(p.transport)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tpm2.Load{ParentHandle: auth, InPublic: made.OutPublic, InPrivate: made.OutPrivate}.Execute(p.transport)
	if err != nil {
		t.Fatal(err)
	}
	defer p.flush(loaded.ObjectHandle)
	for range 100 {
		_, err = tpm2.Unseal{ItemHandle: tpm2.AuthHandle{
			Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: tpm2.PasswordAuth([]byte("guess")),
		}}.Execute(p.transport)
		if errors.Is(err, tpm2.TPMRCLockout) {
			break
		}
	}
	return err
}
