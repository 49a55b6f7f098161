package main

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/pki"
)

func newKey(t *testing.T) (crypto.Signer, pki.Fingerprint) {
	t.Helper()
	text, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	print, err := pki.FingerprintOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, print
}

// meet makes a handshake with a node that has a key and a clock, and returns what the client has shown to it.
func meet(t *testing.T, contact *firstContact, key crypto.Signer, clock time.Time) ([]*x509.Certificate, error) {
	t.Helper()
	pair, err := pki.SelfSigned(pki.Request{CommonName: "maintenance", Server: true, Lifetime: time.Hour, Key: key}, clock)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan []*x509.Certificate, 1)
	go func() {
		defer far.Close()
		node := tls.Server(far, &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true,
		})
		_ = node.Handshake() // the client has its own view of that
		shown <- node.ConnectionState().PeerCertificates
	}()
	// What the client has sent arrives although it hangs up then.
	err = tls.Client(near, contact.config()).Handshake()
	near.Close()
	return <-shown, err
}

// TestNothingIsShownToAWrongNode: a node of another key gets neither a certificate nor anything else.
func TestNothingIsShownToAWrongNode(t *testing.T) {
	right, print := newKey(t)
	wrong, other := newKey(t)
	owner, _ := newKey(t)
	contact := &firstContact{want: &print, owner: owner, now: time.Now}
	if shown, err := meet(t, contact, right, time.Now()); err != nil || len(shown) != 2 {
		t.Errorf("the node: %d certificates, %v", len(shown), err)
	}
	shown, err := meet(t, contact, wrong, time.Now())
	mistake, ok := errors.AsType[*wrongNodeError](err)
	if !ok || mistake.expected != print || mistake.got != other || len(shown) > 0 {
		t.Errorf("another node: %d certificates, %v", len(shown), err)
	}
	// Who has no owner's key shows nothing, also to the right node.
	if shown, err := meet(t, &firstContact{want: &print, now: time.Now}, right, time.Now()); err != nil || len(shown) > 0 {
		t.Errorf("without an owner's key: %d certificates, %v", len(shown), err)
	}
}

// TestOwnerGoesByTheNodesClock: whatever the node's clock says, the certificate is valid by it, for as long as the node's own certificate may be old; and by this
// machine's.
func TestOwnerGoesByTheNodesClock(t *testing.T) {
	key, print := newKey(t)
	owner, ownerPrint := newKey(t)
	now := time.Date(2026, 11, 26, 6, 0, 0, 0, time.UTC)
	for _, clock := range []time.Time{now, now.AddDate(-30, 0, 0), now.AddDate(70, 0, 0), now.Add(-time.Minute)} {
		shown, err := meet(t, &firstContact{want: &print, owner: owner, now: func() time.Time { return now }}, key, clock)
		if err != nil || len(shown) != 2 {
			t.Fatalf("at %s: %d certificates, %v", clock, len(shown), err)
		}
		for _, at := range []time.Time{now, clock, clock.Add(recertifyOfNodes)} {
			if at.Before(shown[0].NotBefore) || at.After(shown[0].NotAfter) {
				t.Errorf("the node's clock is at %s: valid from %s to %s, and not at %s", clock, shown[0].NotBefore, shown[0].NotAfter, at)
			}
		}
		if pki.CertificateFingerprint(shown[1]) != ownerPrint {
			t.Error("the owner's key does not come with it")
		}
	}
}

// recertifyOfNodes is how old a node's own certificate may get: recertify of internal/machined.
const recertifyOfNodes = 12 * time.Hour
