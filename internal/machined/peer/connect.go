package peer

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// Target is another node's API, and by what it is known.
type Target struct {
	// Address is host:port.
	Address string
	// Identity is a name or address that its certificate has to have.
	Identity string
	// Authority vouches for the certificate.
	Authority *x509.CertPool
	// Certificate is what this node shows; it is asked for with each connection.
	Certificate func() *tls.Certificate
}

const (
	// Windows for streams to this node: as much may be on its way. 4 MiB are those of 10 Gbit/s over 3 ms, or 1 Gbit/s over 30.
	streamWindowBytes = 4 << 20
	connWindowBytes   = 8 << 20
	// maxAnswerBytes is more than the largest message that a node sends, a part of a listing or of a stream.
	maxAnswerBytes = 1 << 20
	// maxHeaderBytes is more than what comes before an answer and behind it, where an error's text and its Fault are.
	maxHeaderBytes = 64 << 10
	// A node that is gone is noticed after both together.
	keepaliveInterval = 30 * time.Second
	keepaliveTimeout  = 20 * time.Second
)

// Connect returns a connection, which is made with the first call, and made again when it breaks. It has to be closed.
func Connect(t Target) (*grpc.ClientConn, error) {
	secure := &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: t.Authority, ServerName: t.Identity,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.Certificate(), nil },
	}
	conn, err := grpc.NewClient("passthrough:///"+t.Address,
		grpc.WithTransportCredentials(credentials.NewTLS(secure)),
		grpc.WithInitialWindowSize(streamWindowBytes), grpc.WithInitialConnWindowSize(connWindowBytes),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)), grpc.WithMaxHeaderListSize(maxHeaderBytes),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveInterval, Timeout: keepaliveTimeout}),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, fmt.Errorf("connect to node %s: %w", t.Address, err)
	}
	return conn, nil
}
