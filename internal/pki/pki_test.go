package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/pki"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func authority(t *testing.T, name string) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(name, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *pki.Authority, r pki.Request) *x509.Certificate {
	t.Helper()
	pair, err := a.Issue(r, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.TLS(); err != nil {
		t.Fatal(err)
	}
	c, err := pki.ParseCertificate(pair.CertificatePEM)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAuthoritySurvivesPEM(t *testing.T) {
	a := authority(t, "demo")
	b, err := pki.ParseAuthority(a.CertificatePEM(), a.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	if !a.Equal(b) || a.String() != "authority demo" {
		t.Errorf("got %v, want %v", b, a)
	}
	if a.Equal(authority(t, "demo")) || a.Equal(nil) {
		t.Error("different authorities are equal")
	}
	issue(t, b, pki.Request{CommonName: "x", Client: true, Lifetime: time.Hour})
}

func TestIssuedCertificates(t *testing.T) {
	a := authority(t, "demo")
	request := pki.Request{
		CommonName: "node1", Organizations: []string{"node:reader"}, DNSNames: []string{"node1"},
		Addresses: []netip.Addr{netip.MustParseAddr("10.5.0.2"), netip.MustParseAddr("::ffff:10.5.0.3")},
		Server:    true, Lifetime: time.Hour,
	}
	c := issue(t, a, request)
	for _, test := range []struct {
		what  string
		roots *pki.Authority
		name  string
		usage x509.ExtKeyUsage
		at    time.Duration
		good  bool
	}{
		{"by name", a, "node1", x509.ExtKeyUsageServerAuth, 0, true},
		{"by address", a, "10.5.0.2", x509.ExtKeyUsageServerAuth, 0, true},
		{"by mapped address", a, "10.5.0.3", x509.ExtKeyUsageServerAuth, 0, true},
		{"half an hour before", a, "node1", x509.ExtKeyUsageServerAuth, -30 * time.Minute, true},
		{"two hours before", a, "node1", x509.ExtKeyUsageServerAuth, -2 * time.Hour, false},
		{"expired", a, "node1", x509.ExtKeyUsageServerAuth, 61 * time.Minute, false},
		{"other name", a, "node2", x509.ExtKeyUsageServerAuth, 0, false},
		{"as a client", a, "node1", x509.ExtKeyUsageClientAuth, 0, false},
		{"other authority", authority(t, "demo"), "node1", x509.ExtKeyUsageServerAuth, 0, false},
	} {
		_, err := c.Verify(x509.VerifyOptions{
			Roots: test.roots.Pool(), DNSName: test.name, CurrentTime: now.Add(test.at),
			KeyUsages: []x509.ExtKeyUsage{test.usage},
		})
		if good := err == nil; good != test.good {
			t.Errorf("%s: got %v, want good %t", test.what, err, test.good)
		}
	}
	if c.IsCA || c.Subject.CommonName != "node1" || !cmp.Equal(c.Subject.Organization, request.Organizations) {
		t.Errorf("subject: got %v (CA %t)", c.Subject, c.IsCA)
	}
	if other := issue(t, a, request); other.SerialNumber.Cmp(c.SerialNumber) == 0 || other.SerialNumber.Sign() <= 0 {
		t.Errorf("serial number %v: want a new positive one", other.SerialNumber)
	}
}

func TestIssueEndsWithItsAuthority(t *testing.T) {
	a := authority(t, "demo")
	c := issue(t, a, pki.Request{CommonName: "x", Client: true, Lifetime: 100 * 365 * 24 * time.Hour})
	if !c.NotAfter.Equal(a.Certificate().NotAfter) {
		t.Errorf("ends %v, want with the authority at %v", c.NotAfter, a.Certificate().NotAfter)
	}
	if _, err := a.Issue(pki.Request{CommonName: "x", Client: true, Lifetime: time.Hour}, now.AddDate(11, 0, 0)); err == nil {
		t.Error("an expired authority issued a certificate")
	}
}

func TestIssueRefuses(t *testing.T) {
	a := authority(t, "demo")
	for what, r := range map[string]pki.Request{
		"no usage":          {CommonName: "x", Lifetime: time.Hour},
		"no lifetime":       {CommonName: "x", Client: true},
		"negative lifetime": {CommonName: "x", Client: true, Lifetime: -time.Hour},
	} {
		if _, err := a.Issue(r, now); err == nil {
			t.Errorf("%s: got no error", what)
		}
		if _, err := pki.SelfSigned(r, now); err == nil {
			t.Errorf("%s, self-signed: got no error", what)
		}
	}
}

func TestSelfSigned(t *testing.T) {
	pair, err := pki.SelfSigned(pki.Request{CommonName: "node", Server: true, Lifetime: time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pki.ParseCertificate(pair.CertificatePEM)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		t.Error(err)
	}
}

func TestParseAuthorityRefuses(t *testing.T) {
	a, b := authority(t, "a"), authority(t, "b")
	leaf, err := a.Issue(pki.Request{CommonName: "x", Client: true, Lifetime: time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct{ certificate, key []byte }{
		"nothing":       {nil, nil},
		"no key":        {a.CertificatePEM(), nil},
		"swapped":       {a.KeyPEM(), a.CertificatePEM()},
		"another's key": {a.CertificatePEM(), b.KeyPEM()},
		"a leaf":        {leaf.CertificatePEM, leaf.KeyPEM},
		"cut off":       {a.CertificatePEM()[:100], a.KeyPEM()},
		"spoilt key":    {a.CertificatePEM(), bytes.Replace(a.KeyPEM(), []byte("M"), []byte("N"), 3)},
	} {
		_, err := pki.ParseAuthority(test.certificate, test.key)
		if err == nil {
			t.Errorf("%s: got no error", what)
			continue
		}
		if strings.Contains(err.Error(), "BEGIN") || len(err.Error()) > 200 {
			t.Errorf("%s: the error shows its input: %v", what, err)
		}
	}
}

func TestParseKeyKnowsItsForms(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for kind, der := range map[string][]byte{"EC PRIVATE KEY": sec1, "RSA PRIVATE KEY": x509.MarshalPKCS1PrivateKey(rsaKey)} {
		data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if _, err := pki.ParseKey(data); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		public, err := pki.PublicKey(data)
		if err != nil || !bytes.HasPrefix(public, []byte("-----BEGIN PUBLIC KEY-----")) {
			t.Errorf("public half of %s: got %q, %v", kind, public, err)
		}
	}
}

func TestNothingPrintsAKey(t *testing.T) {
	a := authority(t, "demo")
	pair, err := a.Issue(pki.Request{CommonName: "x", Client: true, Lifetime: time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}
	secret := pki.Secret("hunter2")
	values := []any{a, pair, &pair, secret, struct{ S pki.Secret }{secret}}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for _, v := range values {
		logger.Info("value", "v", v)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Sprintf(verb, v)
			if strings.Contains(text, "PRIVATE") || strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") ||
				strings.Contains(text, "104 117 110") {
				t.Errorf("%s of %T shows a key: %s", verb, v, text)
			}
		}
	}
	encoded, err := json.Marshal(values[3:])
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{log.String(), string(encoded)} {
		if strings.Contains(text, "PRIVATE") || strings.Contains(text, "hunter2") {
			t.Errorf("shows a key: %s", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	a, err := pki.NewAuthority("demo", now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(a.CertificatePEM(), a.KeyPEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, certificate, key []byte) {
		a, err := pki.ParseAuthority(certificate, key)
		if err == nil && !a.Certificate().IsCA {
			t.Error("accepted a certificate that is no authority's")
		}
	})
}
