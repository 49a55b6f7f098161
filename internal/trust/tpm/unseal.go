package tpm

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/cyvive/cyvive/internal/trust/pcr"
)

// Unseal returns the secret, if the machine has started as the policy demands. Signatures are those of the running release. The error is one of the
// package's, or a ChangedError, wherever it can be told why the TPM would refuse; the TPM decides in any case.
func (t *TPM) Unseal(s Sealed, signatures []pcr.Signature) ([]byte, error) {
	signature, err := t.choose(s, signatures)
	if err != nil {
		return nil, fmt.Errorf("unseal key: %w", err)
	}
	parent, err := t.storageKey()
	if err != nil {
		return nil, fmt.Errorf("unseal key: %w", err)
	}
	defer t.flush(parent.handle)
	if !bytes.Equal(parent.name.Buffer, s.Parent) {
		return nil, fmt.Errorf("unseal key: %w (storage key %x…, expected %x…)", ErrOther, short(parent.name.Buffer), short(s.Parent))
	}
	object, err := t.load(parent, s)
	if err != nil {
		return nil, err
	}
	defer t.flush(object.ObjectHandle)
	session, done, err := tpm2.PolicySession(t.transport, tpm2.TPMAlgSHA256, 16,
		tpm2.AESEncryption(128, tpm2.EncryptOut), tpm2.Salted(parent.handle, parent.public))
	if err != nil {
		return nil, explain("unseal key: begin session", err)
	}
	defer func() { _ = done() }() // as flush
	if err := t.satisfy(session.Handle(), s, signature); err != nil {
		return nil, fmt.Errorf("unseal key: %w", err)
	}
	rsp, err := tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: object.ObjectHandle, Name: object.Name, Auth: session}}.Execute(t.transport)
	if err != nil {
		return nil, explain("unseal key", err)
	}
	if len(rsp.OutData.Buffer) != SecretBytes {
		return nil, fmt.Errorf("unseal key: %d bytes came out, expected %d", len(rsp.OutData.Buffer), SecretBytes)
	}
	return rsp.OutData.Buffer, nil
}

// Foretell says whether a key that is sealed now would come out at the next start, of a release with a signature, as far as it can be told in this boot: the
// registers that the image itself is not measured into have to be as they are signed. It is a ChangedError where one is not. What Seal holds to its value
// it takes as it is.
func (t *TPM) Foretell(s pcr.Signature) error {
	want := pcr.Values{}
	for n, v := range s.Values {
		if n != pcr.Kernel {
			want[n] = v
		}
	}
	now, err := t.Values(want.Numbers()...)
	if err != nil {
		return err
	}
	return compare(want, now)
}

// short is enough of a name for a person to tell two apart: two bytes say which hash it is.
func short(name []byte) []byte { return name[:min(len(name), 10)] }

// choose looks for the signature of the key's signer that allows the registers as they are.
func (t *TPM) choose(s Sealed, signatures []pcr.Signature) (pcr.Signature, error) {
	fixed, err := t.Values(s.Fixed.Numbers()...)
	if err != nil {
		return pcr.Signature{}, err
	}
	if err := compare(s.Fixed, fixed); err != nil {
		return pcr.Signature{}, err
	}
	signer, err := pcr.Fingerprint(s.Signer)
	if err != nil {
		return pcr.Signature{}, err
	}
	var changed error
	for _, sig := range signatures {
		if sig.Key != signer {
			continue
		}
		now, err := t.Values(sig.Values.Numbers()...)
		if err != nil {
			return pcr.Signature{}, err
		}
		if now[pcr.Kernel] == sig.Values[pcr.Kernel].Extended(sha256.Sum256([]byte(capEvent))) {
			return pcr.Signature{}, ErrCapped
		}
		if err := compare(sig.Values, now); err != nil {
			changed = err
			continue
		}
		return sig, sig.Verify(s.Signer)
	}
	if changed != nil {
		return pcr.Signature{}, changed
	}
	return pcr.Signature{}, fmt.Errorf("%w: that is %s", ErrUnsigned, signer)
}

func (t *TPM) load(parent storageKey, s Sealed) (*tpm2.LoadResponse, error) {
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](s.Public)
	if err != nil {
		return nil, fmt.Errorf("unseal key: read its public part: %w", err)
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](s.Private)
	if err != nil {
		return nil, fmt.Errorf("unseal key: read its private part: %w", err)
	}
	rsp, err := tpm2.Load{
		ParentHandle: tpm2.AuthHandle{Handle: parent.handle, Name: parent.name, Auth: tpm2.PasswordAuth(nil)},
		InPublic:     *public, InPrivate: *private,
	}.Execute(t.transport)
	return rsp, explain("unseal key: load it", err)
}

// satisfy takes a session through the policy; see the package comment.
func (t *TPM) satisfy(session tpm2.TPMHandle, s Sealed, signature pcr.Signature) error {
	signed := policyPCR(signature.Values)
	signed.PolicySession = session
	if _, err := signed.Execute(t.transport); err != nil {
		return explain("show signed PCRs", err)
	}
	area, err := publicArea(s.Signer)
	if err != nil {
		return err
	}
	key, err := tpm2.LoadExternal{InPublic: tpm2.New2B(area), Hierarchy: tpm2.TPMRHOwner}.Execute(t.transport)
	if err != nil {
		return explain("load signer's key", err)
	}
	defer t.flush(key.ObjectHandle)
	form, err := tpmSignature(signature.ASN1)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(signature.Policy[:])
	ticket, err := tpm2.VerifySignature{
		KeyHandle: key.ObjectHandle, Digest: tpm2.TPM2BDigest{Buffer: hash[:]}, Signature: form,
	}.Execute(t.transport)
	if err != nil {
		return explain("show signature", err)
	}
	_, err = tpm2.PolicyAuthorize{
		PolicySession: session, ApprovedPolicy: tpm2.TPM2BDigest{Buffer: signature.Policy[:]}, KeySign: key.Name, CheckTicket: ticket.Validation,
	}.Execute(t.transport)
	if err != nil {
		return explain("show signed policy", err)
	}
	fixed := policyPCR(s.Fixed)
	fixed.PolicySession = session
	_, err = fixed.Execute(t.transport)
	return explain("show fixed PCRs", err)
}
