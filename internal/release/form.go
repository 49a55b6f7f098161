package release

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Form is one kind of signed file: a manifest in a DSSE envelope, and behind it the parts that the manifest names. Releases are one kind, and
// extensions (internal/extension) another.
type Form struct {
	// Name is what such a file is called in errors, such as release.
	Name string
	// PayloadType names what an envelope holds. It is signed along, so that the manifest of one kind is none of another.
	PayloadType string
	// Envelope is the name of the first file.
	Envelope string
	// Malformed is the error for what is no such file.
	Malformed error
}

// one is the name with its article.
func (f Form) one() string {
	if strings.ContainsAny(f.Name[:1], "aeiou") {
		return "an " + f.Name
	}
	return "a " + f.Name
}

// form is that of releases.
var form = Form{Name: "release", PayloadType: payloadType, Envelope: envelopeName, Malformed: ErrMalformed}

// envelope is a DSSE envelope (github.com/secure-systems-lab/dsse, envelope.md 1.0).
type envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     string      `json:"payload"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// encode is the pre-authentication encoding: what is signed.
func encode(kind string, payload []byte) []byte {
	return append(fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(kind), kind, len(payload)), payload...)
}

// Sign returns the envelope of a payload.
func (f Form) Sign(payload []byte, key ed25519.PrivateKey) ([]byte, error) {
	out, err := json.MarshalIndent(envelope{
		PayloadType: f.PayloadType, Payload: base64.StdEncoding.EncodeToString(payload),
		Signatures: []signature{{
			KeyID: KeyID(key.Public().(ed25519.PublicKey)),
			Sig:   base64.StdEncoding.EncodeToString(ed25519.Sign(key, encode(f.PayloadType, payload))),
		}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	return append(out, '\n'), nil
}

// Verify returns the payload of an envelope that one of the keys has signed; nothing else has looked at it. The error is Malformed or ErrUntrusted.
func (f Form) Verify(data []byte, keys []ed25519.PublicKey) ([]byte, error) {
	var e envelope
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return nil, fmt.Errorf("read envelope: %w: %w", f.Malformed, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read envelope: %w: there is something behind it", f.Malformed)
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read envelope: %w: %w", f.Malformed, err)
	case e.PayloadType != f.PayloadType:
		return nil, fmt.Errorf("read envelope: %w: its payload is %q, want %q", f.Malformed, e.PayloadType, f.PayloadType)
	}
	if err := f.trusted(e, payload, keys); err != nil {
		return nil, fmt.Errorf("verify %s: %w", f.Name, err)
	}
	return payload, nil
}

// trusted looks for a signature of one of the keys.
func (f Form) trusted(e envelope, payload []byte, keys []ed25519.PublicKey) error {
	if len(e.Signatures) == 0 {
		return fmt.Errorf("%w: it has no signature", ErrUntrusted)
	}
	signed := encode(e.PayloadType, payload)
	var others []string
	for _, s := range e.Signatures {
		sig, err := base64.StdEncoding.DecodeString(s.Sig)
		if err != nil {
			return fmt.Errorf("%w: signature of key %.16q: %w", f.Malformed, s.KeyID, err)
		}
		known := false
		for _, k := range keys {
			known = known || KeyID(k) == s.KeyID
			if ed25519.Verify(k, signed, sig) {
				return nil
			}
		}
		if known {
			return fmt.Errorf("%w: the signature of key %s does not match", ErrUntrusted, s.KeyID)
		}
		others = append(others, fmt.Sprintf("%.16q", s.KeyID))
	}
	return fmt.Errorf("%w: it is signed by key %s; trusted are %s", ErrUntrusted, strings.Join(others, ", "), keyIDs(keys))
}

// Write writes a file of this kind. Each part is opened when its turn comes, and must have the size and the hash that are given for it. The bytes
// depend on nothing else.
func (f Form) Write(w io.Writer, envelope []byte, files []File, open func(name string) (io.ReadCloser, error)) error {
	t := tar.NewWriter(w)
	put := func(name string, size int64, from io.Reader) error {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		_, err := io.Copy(t, from)
		return err
	}
	if err := put(f.Envelope, int64(len(envelope)), bytes.NewReader(envelope)); err != nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	for _, part := range files {
		if err := writePart(put, part, open); err != nil {
			return fmt.Errorf("write %s: %s: %w", f.Name, part.Name, err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	return nil
}

func writePart(put func(string, int64, io.Reader) error, f File, open func(string) (io.ReadCloser, error)) error {
	in, err := open(f.Name)
	if err != nil {
		return err
	}
	defer in.Close()
	sum := sha256.New()
	if err := put(f.Name, f.Bytes, io.TeeReader(in, sum)); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("its SHA-256 is %s, the manifest says %s", got, f.SHA256)
	}
	return nil
}
