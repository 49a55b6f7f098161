package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/pki"
)

func derive(t *testing.T, a *pki.Authority, purpose string) *pki.Authority {
	t.Helper()
	derived, err := a.Derive(purpose)
	if err != nil {
		t.Fatal(err)
	}
	return derived
}

// pkcs8 returns a key as PEM.
func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// TestDerivedAuthority: it is the same as often as it is made, another for another purpose or from another authority, and neither of the two vouches for
// what the other has signed, whatever is between.
func TestDerivedAuthority(t *testing.T) {
	a := authority(t, "demo")
	derived := derive(t, a, "kubelet serving")
	if again := derive(t, a, "kubelet serving"); !bytes.Equal(derived.CertificatePEM(), again.CertificatePEM()) || !bytes.Equal(derived.KeyPEM(), again.KeyPEM()) {
		t.Error("made twice, it is another")
	}
	if derived.String() != "authority demo kubelet serving" {
		t.Errorf("it is called %s", derived)
	}
	for what, other := range map[string]*pki.Authority{
		"itself": a, "another purpose": derive(t, a, "kubelet"), "another of the same name": derive(t, authority(t, "demo"), "kubelet serving"),
	} {
		if bytes.Equal(other.KeyPEM(), derived.KeyPEM()) {
			t.Errorf("%s: the key is the same", what)
		}
	}
	of, by := a.Certificate(), derived.Certificate()
	if !by.IsCA || !by.NotBefore.Equal(of.NotBefore) || !by.NotAfter.Equal(of.NotAfter) {
		t.Errorf("an authority: %t, from %v to %v, want that of the other: %v to %v", by.IsCA, by.NotBefore, by.NotAfter, of.NotBefore, of.NotAfter)
	}
	request := pki.Request{CommonName: "x", DNSNames: []string{"x"}, Server: true, Lifetime: time.Hour}
	for _, test := range []struct {
		what        string
		leaf        *x509.Certificate
		root, other *pki.Authority
		good        bool
	}{
		{"its own", issue(t, derived, request), derived, a, true},
		{"for the other", issue(t, derived, request), a, derived, false},
		{"of the other", issue(t, a, request), derived, a, false},
	} {
		_, err := test.leaf.Verify(x509.VerifyOptions{
			Roots: test.root.Pool(), Intermediates: test.other.Pool(), CurrentTime: now, DNSName: "x", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if (err == nil) != test.good {
			t.Errorf("%s: got %v, want good %t", test.what, err, test.good)
		}
	}
}

// TestDerivedKey makes the key again, by the steps of RFC 5869 section 2: nodes of two versions must come to the same.
func TestDerivedKey(t *testing.T) {
	a := authority(t, "demo")
	read := func(a *pki.Authority) []byte {
		key, err := pki.ParseKey(a.KeyPEM())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := key.(*ecdsa.PrivateKey).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	mac := func(key []byte, parts ...string) []byte {
		h := hmac.New(sha256.New, key)
		for _, p := range parts {
			h.Write([]byte(p))
		}
		return h.Sum(nil)
	}
	const info = "cyvive authority: kubelet serving"
	extracted := mac(make([]byte, sha256.Size), string(read(a)))
	first := mac(extracted, info, "\x01")
	second := mac(extracted, string(first), info, "\x02")
	order := elliptic.P256().Params().N
	want := new(big.Int).SetBytes(append(first, second[:16]...))
	want.Mod(want, new(big.Int).Sub(order, big.NewInt(1)))
	want.Add(want, big.NewInt(1))
	if got := read(derive(t, a, "kubelet serving")); !bytes.Equal(got, want.FillBytes(make([]byte, 32))) {
		t.Error("the key is another than by the steps of RFC 5869, and so than in versions before")
	}
}

// TestDerivesFromEveryKind: an authority that somebody brings may have another kind of key, or another form of it.
func TestDerivesFromEveryKind(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	for kind, test := range map[string]struct {
		public, private any
		forms           [][]byte
	}{
		"RSA": {&rsaKey.PublicKey, rsaKey, [][]byte{
			pkcs8(t, rsaKey), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}),
		}},
		"Ed25519": {edKey.Public(), edKey, [][]byte{pkcs8(t, edKey), pkcs8(t, edKey)}},
		"P-384":   {&ecKey.PublicKey, ecKey, [][]byte{pkcs8(t, ecKey), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})}},
	} {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, test.public, test.private)
		if err != nil {
			t.Fatal(err)
		}
		certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		var keys [][]byte
		for _, form := range test.forms {
			a, err := pki.ParseAuthority(certificate, form)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			keys = append(keys, derive(t, a, "kubelet serving").KeyPEM())
		}
		if !bytes.Equal(keys[0], keys[1]) {
			t.Errorf("%s: another form of the key makes another authority", kind)
		}
	}
}
