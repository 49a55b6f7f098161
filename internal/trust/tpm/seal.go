package tpm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"github.com/cyvive/cyvive/internal/trust/pcr"
)

// SecretBytes is the size of what is sealed.
const SecretBytes = 32

// Signed are the registers whose values the signer signs; Fixed are those that keep the value of the time of sealing.
var (
	Signed = []int{pcr.Kernel, pcr.Config, pcr.Extensions}
	Fixed  = []int{pcr.SecureBoot}
)

// Sealed is a key that one TPM gives out under one policy. It is no secret.
type Sealed struct {
	// Public and Private are TPM2B structures of the TPM that sealed it.
	Public, Private []byte
	// Parent is the name of that TPM's storage key.
	Parent []byte
	// Signer is whose signatures count.
	Signer *ecdsa.PublicKey
	// Fixed are the registers that must have the values they had.
	Fixed pcr.Values
}

// Seal seals a secret for the signer, with the registers Fixed as they are now. Whether the machine can unseal it again now is not looked at: call
// Unseal before anything depends on it.
func (t *TPM) Seal(secret []byte, signer *ecdsa.PublicKey) (Sealed, error) {
	if len(secret) != SecretBytes {
		return Sealed{}, fmt.Errorf("seal key: it has %d bytes, expected %d", len(secret), SecretBytes)
	}
	fixed, err := t.Values(Fixed...)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal key: %w", err)
	}
	policy, err := policyOf(signer, fixed)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal key: %w", err)
	}
	parent, err := t.storageKey()
	if err != nil {
		return Sealed{}, fmt.Errorf("seal key: %w", err)
	}
	defer t.flush(parent.handle)
	rsp, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: parent.handle, Name: parent.name, Auth: tpm2.HMAC(
			tpm2.TPMAlgSHA256, 16, tpm2.AESEncryption(128, tpm2.EncryptIn), tpm2.Salted(parent.handle, parent.public))},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: secret}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256, AuthPolicy: tpm2.TPM2BDigest{Buffer: policy[:]},
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, AdminWithPolicy: true, NoDA: true},
		}),
	}.Execute(t.transport)
	if err != nil {
		return Sealed{}, explain("seal key", err)
	}
	return Sealed{
		Public: tpm2.Marshal(rsp.OutPublic), Private: tpm2.Marshal(rsp.OutPrivate), Parent: parent.name.Buffer, Signer: signer, Fixed: fixed,
	}, nil
}

// storageKey is the key under which others are sealed, loaded.
type storageKey struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
}

// storageKey makes the key of the TCG's template from the TPM's seed: the same one until the TPM is cleared.
func (t *TPM) storageKey() (storageKey, error) {
	rsp, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(t.transport)
	if err != nil {
		return storageKey{}, explain("make the TPM's storage key", err)
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		t.flush(rsp.ObjectHandle)
		return storageKey{}, fmt.Errorf("make the TPM's storage key: %w", err)
	}
	return storageKey{handle: rsp.ObjectHandle, name: rsp.Name, public: *public}, nil
}

// publicArea is a signer's key as the TPM takes it. The policy holds its hash, so that no bit of it may ever change.
func publicArea(key *ecdsa.PublicKey) (tpm2.TPMTPublic, error) {
	if key.Curve != elliptic.P256() {
		return tpm2.TPMTPublic{}, fmt.Errorf("use signer's key: it is on the curve %s, expected P-256", key.Curve.Params().Name)
	}
	point, err := key.Bytes()
	if err != nil {
		return tpm2.TPMTPublic{}, fmt.Errorf("use signer's key: %w", err)
	}
	half := len(point) / 2 // behind a byte that says that both coordinates follow
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: tpm2.TPMAObject{SignEncrypt: true, UserWithAuth: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: point[1 : 1+half]}, Y: tpm2.TPM2BECCParameter{Buffer: point[1+half:]},
		}),
	}, nil
}

// policyOf computes the policy of a sealed key.
func policyOf(signer *ecdsa.PublicKey, fixed pcr.Values) (pcr.Digest, error) {
	area, err := publicArea(signer)
	if err != nil {
		return pcr.Digest{}, err
	}
	name, err := tpm2.ObjectName(&area)
	if err != nil {
		return pcr.Digest{}, fmt.Errorf("compute policy: %w", err)
	}
	c, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return pcr.Digest{}, fmt.Errorf("compute policy: %w", err)
	}
	err = errors.Join(tpm2.PolicyAuthorize{KeySign: *name}.Update(c), policyPCR(fixed).Update(c))
	if err != nil {
		return pcr.Digest{}, fmt.Errorf("compute policy: %w", err)
	}
	return pcr.Digest(c.Hash().Digest), nil
}

// policyPCR is the command that holds registers to their values; the session is still to be set.
func policyPCR(v pcr.Values) tpm2.PolicyPCR {
	sum := sha256.New()
	for _, n := range v.Numbers() {
		d := v[n]
		sum.Write(d[:])
	}
	return tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: sum.Sum(nil)}, Pcrs: pcr.Selection(v.Numbers())}
}

// tpmSignature is a signature as the TPM takes it: two numbers of 32 bytes.
func tpmSignature(der []byte) (tpm2.TPMTSignature, error) {
	var numbers struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &numbers); err != nil || len(rest) > 0 || !inRange(numbers.R) || !inRange(numbers.S) {
		return tpm2.TPMTSignature{}, errors.New("read signature: it is not two numbers of 256 bits in DER")
	}
	part := func(n *big.Int) tpm2.TPM2BECCParameter {
		return tpm2.TPM2BECCParameter{Buffer: n.FillBytes(make([]byte, 32))}
	}
	return tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
		Hash: tpm2.TPMAlgSHA256, SignatureR: part(numbers.R), SignatureS: part(numbers.S),
	})}, nil
}

func inRange(n *big.Int) bool { return n.Sign() > 0 && n.BitLen() <= 256 }
