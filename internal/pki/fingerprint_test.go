package pki_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/pki"
)

// known is a P-256 key, and its fingerprint as OpenSSL makes it:
// openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64.
const (
	knownKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZRgq98YWywpMCIWJVAJtq+nd0WjH
F3qxghqsSAY14cr8le76tlcOM7inPE5vhga7j1BQNeg89/pkpJm+F+VPjw==
-----END PUBLIC KEY-----
`
	knownHex = "deaf09254adfaf7e1025febb962082a7d898a002e7beff0adbe867bdbc4e4a71"
)

func TestParseFingerprint(t *testing.T) {
	raw, err := hex.DecodeString(knownHex)
	if err != nil {
		t.Fatal(err)
	}
	want := pki.Fingerprint(raw)
	text := want.String()
	if len(text) != 50 || !strings.HasPrefix(text, "SHA256:") {
		t.Errorf("text form %q", text)
	}
	var colons []string
	for _, b := range raw {
		colons = append(colons, hex.EncodeToString([]byte{b}))
	}
	der := strings.Join(strings.Split(strings.TrimSpace(knownKey), "\n")[1:3], "")
	for _, good := range []string{
		text, text + "=", "sha256:" + text[7:], "SHA256:" + knownHex, "SHA256:" + strings.ToUpper(knownHex), "SHA256:" + strings.Join(colons, ":"),
		" " + text + "\n", knownKey, "\n" + knownKey + "\n", der,
	} {
		got, err := pki.ParsePublic(good)
		if err != nil || got != want {
			t.Errorf("%q: got %s, %v", good, got, err)
		}
	}
	for _, bad := range []string{
		"", "SHA256", "SHA256:", text[7:], text[:49], text + "A", text + "==", "MD5:" + text[7:], "SHA256:" + knownHex[:63], "SHA256:" + knownHex + "0",
		"SHA256:" + strings.Join(colons[:31], ":"), strings.Replace(text, "SHA256:", "SHA256: ", 1), text[:20] + "\n" + text[20:],
		// The last character has bits that belong to nothing.
		text[:49] + string(text[49]+1),
	} {
		if got, err := pki.ParseFingerprint(bad); err == nil {
			t.Errorf("%q: got %s", bad, got)
		}
	}
}

func TestParsePublic(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct{ text, want string }{
		"nothing":       {"", "expected a fingerprint SHA256:…, or a public key"},
		"weak RSA":      {publicPEM(t, weak.Public()), "an RSA key of 1024 bits"},
		"weak curve":    {publicPEM(t, small.Public()), "an elliptic curve of 224 bits"},
		"a private key": {string(private), `the PEM block is "PRIVATE KEY", expected PUBLIC KEY`},
		"two keys":      {knownKey + knownKey, "more behind the PEM block"},
		"cut off":       {knownKey[:100], "not whole"},
		"other base64":  {base64.StdEncoding.EncodeToString([]byte("text")), "it is none"},
		"a certificate": {string(authority(t, "a").CertificatePEM()), `the PEM block is "CERTIFICATE"`},
	} {
		_, err := pki.ParsePublic(test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", what, err, test.want)
		}
		if err != nil && what == "a private key" && strings.Contains(err.Error(), strings.Split(test.text, "\n")[1]) {
			t.Errorf("%s: the error shows it", what)
		}
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.PublicKey{strong.Public(), edwards} {
		got, err := pki.ParsePublic(publicPEM(t, key))
		want, err2 := pki.FingerprintOf(key)
		if err != nil || err2 != nil || got != want {
			t.Errorf("%T: got %s, %v, want %s, %v", key, got, err, want, err2)
		}
	}
}

func publicPEM(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// TestOwnerCertificate: what an owner shows holds the owner's key, and is signed by it and no other.
func TestOwnerCertificate(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, owner := range []crypto.Signer{rsaKey, edwards, curve} {
		request := pki.OwnerRequest{CommonName: "owner", Organizations: []string{"node:admin"}, NotBefore: now, NotAfter: now.Add(time.Hour)}
		pair, err := pki.OwnerCertificate(owner, request)
		if err != nil {
			t.Fatal(err)
		}
		var chain []*x509.Certificate
		for _, der := range pair.Certificate {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			chain = append(chain, c)
		}
		want, err := pki.FingerprintOf(owner.Public())
		if err != nil {
			t.Fatal(err)
		}
		if len(chain) != 2 || pki.CertificateFingerprint(chain[1]) != want || pki.CertificateFingerprint(chain[0]) == want {
			t.Errorf("%T: %d certificates, the last for %s, want %s", owner, len(chain), pki.CertificateFingerprint(chain[len(chain)-1]), want)
		}
		leaf := chain[0]
		if err := chain[1].CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil {
			t.Errorf("%T: %v", owner, err)
		}
		if !leaf.NotBefore.Equal(now) || !leaf.NotAfter.Equal(now.Add(time.Hour)) || leaf.IsCA || !cmp.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
			t.Errorf("%T: %v to %v, CA %t, usages %v", owner, leaf.NotBefore, leaf.NotAfter, leaf.IsCA, leaf.ExtKeyUsage)
		}
	}
}

// TestOneKeyForManyCertificates: a node is known by its key, whoever vouches for it.
func TestOneKeyForManyCertificates(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request := pki.Request{CommonName: "node", Server: true, Lifetime: time.Hour, Key: key}
	alone, err := pki.SelfSigned(request, now)
	if err != nil {
		t.Fatal(err)
	}
	vouched, err := authority(t, "demo").Issue(request, now)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pki.FingerprintOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range []pki.Pair{alone, vouched} {
		if _, err := pair.TLS(); err != nil {
			t.Error(err)
		}
		c, err := pki.ParseCertificate(pair.CertificatePEM)
		if err != nil || pki.CertificateFingerprint(c) != want {
			t.Errorf("got %v, %v, want a certificate for %s", c, err, want)
		}
	}
}

// FuzzParsePublic: what is taken has one text form, by which it is taken again.
func FuzzParsePublic(f *testing.F) {
	f.Add(knownKey)
	f.Add("SHA256:" + knownHex)
	f.Add("SHA256:" + base64.RawStdEncoding.EncodeToString(make([]byte, sha256.Size)))
	f.Fuzz(func(t *testing.T, text string) {
		got, err := pki.ParsePublic(text)
		if err != nil {
			return
		}
		again, err := pki.ParseFingerprint(got.String())
		if err != nil || again != got {
			t.Errorf("%q is %s, and that is %s, %v", text, got, again, err)
		}
	})
}
