package server

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	"github.com/cyvive/cyvive/internal/audit"
)

// session is what is known of a connection after its TLS handshake.
type session struct {
	credentials.TLSInfo
	// subject is the common name of a certificate that was valid then (its serial
	// number, if it has no name), else empty. Limits go by it; what a call may do is decided with each call.
	subject string
	// node: the client is one that a job named then.
	node bool
	// authority is what vouched for clients then; nil is a node without a configuration.
	authority *x509.CertPool
}

// handshakes are the TLS credentials of the server. Failed handshakes get into
// the audit log; connections of verified clients are known as such in the table.
type handshakes struct {
	credentials.TransportCredentials
	config   *tls.Config
	identity func() Identity
	now      func() time.Time
	recorder *recorder
	table    *connections
	http     *httpServer
	peers    func() []Peer
	nodes    *peerServer
}

// ServerHandshake implements credentials.TransportCredentials.
func (h handshakes) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure := tls.Server(raw, h.config)
	if err := secure.Handshake(); err != nil { // gRPC has set a deadline
		h.recorder.unverified(audit.Entry{
			Kind: audit.KindHandshake, Time: h.now(), Peer: raw.RemoteAddr().String(), Code: codes.Unauthenticated.String(), Error: err.Error(),
		})
		return nil, nil, err
	}
	s := session{TLSInfo: credentials.TLSInfo{
		State: secure.ConnectionState(), CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}}
	id := h.table.shake(raw.(*conn), h.identity)
	s.authority = id.Clients
	if c, ok := h.node(id, s); ok {
		s.subject, s.node = "node "+cmp.Or(c.subject, "serial "+c.serial), true
		h.table.verify(raw.(*conn), s.subject, h.table.limits.ConnectionsPerNode)
		h.nodes.take(handedConn{secure, s})
		return nil, nil, credentials.ErrConnDispatched
	}
	if c, refused := id.verify(s.State.PeerCertificates, h.now()); refused == nil {
		s.subject = cmp.Or(c.subject, "serial "+c.serial)
		h.table.verify(raw.(*conn), s.subject, h.table.limits.ConnectionsPerSubject)
	}
	// A client that names no protocol speaks HTTP/1.1: gRPC always names its own.
	if s.State.NegotiatedProtocol != "h2" {
		h.table.dispatch(raw.(*conn))
		h.http.take(handedConn{secure, s})
		return nil, nil, credentials.ErrConnDispatched
	}
	return secure, s, nil
}

// node says whether a job names the client.
func (h handshakes) node(id Identity, s session) (caller, bool) {
	if id.Clients == nil || s.State.NegotiatedProtocol != "h2" {
		return caller{}, false
	}
	c, _, refused := verifyPeer("", s.State.PeerCertificates, id.Clients, h.peers(), h.now())
	return c, refused == nil
}

// Clone implements credentials.TransportCredentials.
func (h handshakes) Clone() credentials.TransportCredentials {
	h.TransportCredentials = h.TransportCredentials.Clone()
	return h
}
