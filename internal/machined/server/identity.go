package server

import (
	"crypto/tls"
	"crypto/x509"
)

// Identity is what the server is at one moment: its own certificate, and the
// authority that vouches for its clients. It is immutable once handed over.
type Identity struct {
	// Certificate is presented to clients.
	Certificate *tls.Certificate
	// Clients is the authority of client certificates. Nil is maintenance mode:
	// no client can be verified, and only the methods marked for it answer.
	Clients *x509.CertPool
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
