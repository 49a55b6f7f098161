package pcr

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
)

func publicPEM(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestParseKeys(t *testing.T) {
	one, two := newKey(t, elliptic.P256()), newKey(t, elliptic.P256())
	got, err := ParseKeys([]byte(publicPEM(t, &one.PublicKey) + "\n" + publicPEM(t, &two.PublicKey)))
	if err != nil || len(got) != 2 || !got[0].Equal(&one.PublicKey) || !got[1].Equal(&two.PublicKey) {
		t.Errorf("got %d keys, %v", len(got), err)
	}
	if got, err := ParseKeys([]byte("\n")); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	for name, c := range map[string]struct{ text, says string }{
		"text":          {"a key", "key 1: text outside"},
		"another curve": {publicPEM(t, &newKey(t, elliptic.P384()).PublicKey), "P-384, want P-256"},
		"another kind":  {publicPEM(t, ed25519.NewKeyFromSeed(make([]byte, 32)).Public()), "want ECDSA"},
		"a second":      {publicPEM(t, &one.PublicKey) + "x", "key 2: text outside"},
		"private":       {"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", "type PUBLIC KEY"},
	} {
		if _, err := ParseKeys([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.says)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := ParseKeys(data)
		if err != nil {
			return
		}
		var text bytes.Buffer
		for _, k := range keys {
			text.WriteString(publicPEM(t, k))
		}
		again, err := ParseKeys(text.Bytes())
		if err != nil || len(again) != len(keys) {
			t.Errorf("%q: %d keys, then %d, %v", data, len(keys), len(again), err)
		}
	})
}
