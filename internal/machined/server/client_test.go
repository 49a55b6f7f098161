package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

// certificate issues a client certificate, changed by the options.
func certificate(t *testing.T, a *pki.Authority, now time.Time, r pki.Request) *tls.Certificate {
	t.Helper()
	if r.CommonName == "" {
		r.CommonName = "alice"
	}
	if r.Lifetime == 0 {
		r.Lifetime = time.Hour
	}
	pair, err := a.Issue(r, now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

func withRoles(t *testing.T, a *pki.Authority, roles ...string) *tls.Certificate {
	t.Helper()
	return certificate(t, a, time.Now(), pki.Request{Organizations: roles, Client: true})
}

// dial connects with a client certificate, or none. A nil pool does not verify
// the server.
func dial(t *testing.T, api *servertest.API, servers *x509.CertPool, client *tls.Certificate) *grpc.ClientConn {
	t.Helper()
	c := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: servers, InsecureSkipVerify: servers == nil}
	if client != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return client, nil }
	}
	conn, err := grpc.NewClient("passthrough:///"+api.Address, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// call invokes any method with an empty request and drops the responses; of a
// watch, which does not end, it takes the first. All methods are called as streams, which a server does not tell from unary ones.
func call(t *testing.T, conn *grpc.ClientConn, method string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(&emptypb.Empty{}); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if strings.Contains(method, "/Watch") {
			return nil
		}
	}
}

// reason is the reason in the ErrorInfo of a refused call.
func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}
