package server

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/cyvive/cyvive/internal/pki"
)

// Identity is what the server is at one moment: its own certificate, and who
// vouches for its clients. It is immutable once handed over.
type Identity struct {
	// Certificate is presented to clients; its Leaf is set.
	Certificate *tls.Certificate
	// Clients is the authority of client certificates. Nil is a node without a
	// configuration, which Unconfigured is about.
	Clients      *x509.CertPool
	Unconfigured Unconfigured
}

// Unconfigured says whom a node without a configuration answers. The zero value
// is nobody.
type Unconfigured struct {
	Audience Audience
	// Reason is why nobody is answered, in words.
	Reason string
	// Owner is the fingerprint of the owner's key, Source where it was found, and
	// Conflicts are places that say something else.
	Owner     pki.Fingerprint
	Source    string
	Conflicts []string
}

// Audience is who is answered.
type Audience int

// The audiences. What each may ask is in the authorisation table.
const (
	AudienceNobody Audience = iota
	// AudienceOwner is whoever holds a certificate that the owner's key has signed.
	AudienceOwner
	// AudienceAnybody is for a node that has no owner.
	AudienceAnybody
)

// verify checks a chain by what vouches for clients at this moment.
func (i Identity) verify(chain []*x509.Certificate, now time.Time) (caller, *refusal) {
	if i.Clients != nil {
		return verify(chain, i.Clients, now)
	}
	return i.Unconfigured.verify(chain, now)
}

// tlsConfig makes the server's side of the handshake. Certificates of clients
// are not verified here but with each call, see the package comment; session
// tickets are off, so that every connection proves possession of a key anew.
func tlsConfig(identity func() Identity) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequestClientCert,
		SessionTicketsDisabled: true,
		// The first that the client offers too. Clients of gRPC offer h2 alone;
		// others, such as Prometheus and curl, offer both and get HTTP/1.1.
		NextProtos: []string{"http/1.1", "h2"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return identity().Certificate, nil
		},
	}
}
