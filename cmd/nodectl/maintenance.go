package main

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
	"github.com/cyvive/cyvive/internal/pki"
)

// ownerLifetime is how long an owner's certificate is valid beyond the later of this machine's time and the node's. It lives in memory for one command; the node's
// clock is known no better than by the certificate that it made for itself, which is up to half a day old.
const ownerLifetime = 24 * time.Hour

// firstContact is the TLS side of a connection to one node that has no configuration: the node is known by its key, and the client by the owner's.
type firstContact struct {
	// want is the node's fingerprint; nil takes any node, and is for looking only.
	want *pki.Fingerprint
	// owner is nil for who has no owner's key, and shows no certificate then.
	owner crypto.Signer
	now   func() time.Time

	mu   sync.Mutex
	node *x509.Certificate
}

// wrongNodeError says that another node answers than was meant.
type wrongNodeError struct{ expected, got pki.Fingerprint }

func (e *wrongNodeError) Error() string {
	return fmt.Sprintf("another node answers there: expected the key %s, got %s", e.expected, e.got)
}

func (c *firstContact) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, // in place of it, verify looks at the key
		VerifyConnection: c.verify, GetClientCertificate: c.certificate,
	}
}

// verify takes the node by its key. It comes before the client's certificate is asked for.
func (c *firstContact) verify(s tls.ConnectionState) error {
	leaf := s.PeerCertificates[0]
	c.mu.Lock()
	c.node = leaf
	c.mu.Unlock()
	if got := pki.CertificateFingerprint(leaf); c.want != nil && got != *c.want {
		return &wrongNodeError{*c.want, got}
	}
	return nil
}

// seen is the node's certificate, nil until a handshake has come so far.
func (c *firstContact) seen() *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node
}

// certificate makes the owner's certificate for this connection. It is valid by the clock of the node, too, which dates its own certificate by it.
func (c *firstContact) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if c.owner == nil {
		return &tls.Certificate{}, nil
	}
	from, until := c.now(), c.now()
	if node := c.seen(); node != nil {
		if node.NotBefore.Before(from) {
			from = node.NotBefore
		}
		if node.NotBefore.After(until) {
			until = node.NotBefore
		}
	}
	made, err := pki.OwnerCertificate(c.owner, pki.OwnerRequest{
		CommonName: "owner", Organizations: []string{adminRole}, NotBefore: from, NotAfter: until.Add(ownerLifetime),
	})
	return &made, err
}

// maintenanceTarget is the one node of --maintenance.
func (a *app) maintenanceTarget() (*target, error) {
	if len(a.nodes) != 1 {
		return nil, usagef("--maintenance is for one node at a time, and each has its own fingerprint: name it with --nodes")
	}
	if a.fingerprint == "" {
		return nil, usagef("--fingerprint is missing: a node without a configuration is known by its key alone. The node's console shows the fingerprint; "+
			"`nodectl discover %s` shows that of whatever answers there, to be compared with it", a.nodes[0])
	}
	want, err := pki.ParseFingerprint(a.fingerprint)
	if err != nil {
		return nil, usagef("--fingerprint: %v", err)
	}
	owner, err := a.loadOwner()
	if err != nil {
		return nil, err
	}
	t := &target{maintenance: true, tls: (&firstContact{want: &want, owner: owner, now: a.now}).config()}
	return t.override(a.nodes)
}

// ownerPath is the file of the owner's key: that of the flag, or the one beside the contexts.
func (a *app) ownerPath() (string, error) {
	if a.ownerKey != "" {
		return a.ownerKey, nil
	}
	path, err := contexts.Path(a.getenv)
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(path), "owner.key"), nil
}

// loadOwner reads the owner's key; nil if none was named and there is none in the usual place.
func (a *app) loadOwner() (crypto.Signer, error) {
	path, err := a.ownerPath()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) && a.ownerKey == "" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read owner's key: %w", err)
	}
	key, err := pki.ParseKey(text)
	if err == nil {
		err = pki.Strong(key.Public())
	}
	if err != nil {
		return nil, fmt.Errorf("read owner's key %s: %w", path, err)
	}
	return key, nil
}
