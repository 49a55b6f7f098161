package pcr

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Signature says that a key allows what is sealed for it to be opened while registers have certain values.
type Signature struct {
	// Key is the fingerprint of the key; see Fingerprint.
	Key Digest
	// Values are what was predicted.
	Values Values
	// Policy is that of Values, which the signature is over.
	Policy Digest
	// ASN1 is the signature, a sequence of two numbers (RFC 3279, 2.2.3).
	ASN1 []byte
}

// Fingerprint names a key: the SHA-256 of its uncompressed point (SEC 1, 2.3.3), as systemd does.
func Fingerprint(key *ecdsa.PublicKey) (Digest, error) {
	if key.Curve != elliptic.P256() {
		return Digest{}, fmt.Errorf("name key: it is on the curve %s, expected P-256", key.Curve.Params().Name)
	}
	point, err := key.Bytes()
	if err != nil {
		return Digest{}, fmt.Errorf("name key: %w", err)
	}
	return sha256.Sum256(point), nil
}

// Sign signs the policy of the values. The same input gives the same signature.
func Sign(v Values, key *ecdsa.PrivateKey) (Signature, error) {
	name, err := Fingerprint(&key.PublicKey)
	if err != nil {
		return Signature{}, fmt.Errorf("sign policy: %w", err)
	}
	policy, err := v.Policy()
	if err != nil {
		return Signature{}, fmt.Errorf("sign policy: %w", err)
	}
	// What TPM2_PolicyAuthorize has signed is the hash of policy and reference (TPM 2.0 Library, part 3, 23.16); the reference is empty.
	hash := sha256.Sum256(policy[:])
	asn1, err := key.Sign(nil, hash[:], crypto.SHA256)
	if err != nil {
		return Signature{}, fmt.Errorf("sign policy: %w", err)
	}
	return Signature{Key: name, Values: v, Policy: policy, ASN1: asn1}, nil
}

// Verify checks a signature against a key, and its policy against its values.
func (s Signature) Verify(key *ecdsa.PublicKey) error {
	name, err := Fingerprint(key)
	if err != nil {
		return err
	}
	policy, err := s.Values.Policy()
	hash := sha256.Sum256(s.Policy[:])
	switch {
	case err != nil:
		return err
	case name != s.Key:
		return fmt.Errorf("verify policy: it is signed by key %s, and this is %s", s.Key, name)
	case policy != s.Policy:
		return fmt.Errorf("verify policy: %s is not the policy of the values beside it", s.Policy)
	case !ecdsa.VerifyASN1(key, hash[:], s.ASN1):
		return fmt.Errorf("verify policy: the signature of key %s does not match", s.Key)
	}
	return nil
}

// document is the form of systemd-measure(1), "sign", for the one bank that is used, with the values besides.
type document struct {
	SHA256 []entry `json:"sha256"`
}

type entry struct {
	PCRs   []int             `json:"pcrs"`
	Key    string            `json:"pkfp"`
	Policy string            `json:"pol"`
	Sig    string            `json:"sig"`
	Values map[string]string `json:"values"`
}

// Encode returns signatures as JSON.
func Encode(list []Signature) ([]byte, error) {
	var d document
	for _, s := range list {
		e := entry{
			PCRs: s.Values.Numbers(), Key: s.Key.String(), Policy: s.Policy.String(),
			Sig: base64.StdEncoding.EncodeToString(s.ASN1), Values: map[string]string{},
		}
		for n, v := range s.Values {
			e.Values[strconv.Itoa(n)] = v.String()
		}
		d.SHA256 = append(d.SHA256, e)
	}
	out, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode signed policies: %w", err)
	}
	return out, nil
}

// ErrUnsigned says that an image was built and not signed.
var ErrUnsigned = errors.New("the image has no signed policy")

// Parse reads signatures. It checks their form, and that each policy is that of its values; Verify checks the rest. No signature at all is
// ErrUnsigned.
func Parse(data []byte) ([]Signature, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("parse signed policies: %w", err)
	}
	if len(d.SHA256) == 0 {
		return nil, fmt.Errorf("parse signed policies: %w", ErrUnsigned)
	}
	list := make([]Signature, len(d.SHA256))
	for i, e := range d.SHA256 {
		var err error
		if list[i], err = e.parse(); err != nil {
			return nil, fmt.Errorf("parse signed policies: entry %d: %w", i+1, err)
		}
	}
	return list, nil
}

func (e entry) parse() (Signature, error) {
	s := Signature{Values: Values{}}
	for text, value := range e.Values {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n >= Count || strconv.Itoa(n) != text {
			return s, fmt.Errorf("%q is no number of a PCR", text)
		}
		if s.Values[n], err = ParseDigest(value); err != nil {
			return s, fmt.Errorf("PCR %d: %w", n, err)
		}
	}
	if len(s.Values) == 0 || !slices.Equal(s.Values.Numbers(), e.PCRs) {
		return s, fmt.Errorf("it is for PCRs %v, and has values of %v", e.PCRs, s.Values.Numbers())
	}
	var err error
	if s.Key, err = ParseDigest(e.Key); err != nil {
		return s, fmt.Errorf("key: %w", err)
	}
	if s.Policy, err = ParseDigest(e.Policy); err != nil {
		return s, fmt.Errorf("policy: %w", err)
	}
	if s.ASN1, err = base64.StdEncoding.DecodeString(e.Sig); err != nil {
		return s, fmt.Errorf("signature: %w", err)
	}
	switch policy, err := s.Values.Policy(); {
	case err != nil:
		return s, err
	case policy != s.Policy:
		return s, fmt.Errorf("%s is not the policy of the values beside it", s.Policy)
	}
	return s, nil
}

// ParseDigest reads 64 lower-case hexadecimal digits.
func ParseDigest(text string) (Digest, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != sha256.Size || hex.EncodeToString(b) != text {
		return Digest{}, fmt.Errorf("%.80q is not 64 hexadecimal digits", text)
	}
	return Digest(b), nil
}
