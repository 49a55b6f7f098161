package server_test

import (
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

// BenchmarkCall is a unary call over TLS, one after the other.
func BenchmarkCall(b *testing.B) {
	authority := servertest.Authority(b, "ours")
	limits := server.Limits{CallsPerSecond: 1 << 20, CallsBurst: 1 << 30}
	api := servertest.StartWithin(b, limits, servertest.Listen(b), &servertest.Node{}, authority, nil)
	client := machinev1.NewMachineServiceClient(benchDial(b, api, authority))
	for b.Loop() {
		if _, err := client.GetNode(b.Context(), &machinev1.GetNodeRequest{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStreamLogs is a log of a thousand lines of 128 bytes.
func BenchmarkStreamLogs(b *testing.B) {
	authority := servertest.Authority(b, "ours")
	node := &servertest.Node{Lines: map[string][]string{"etcd": slices.Repeat([]string{strings.Repeat("x", 128)}, 1000)}}
	limits := server.Limits{CallsPerSecond: 1 << 20, CallsBurst: 1 << 30}
	api := servertest.StartWithin(b, limits, servertest.Listen(b), node, authority, nil)
	client := servicev1.NewServiceServiceClient(benchDial(b, api, authority))
	b.SetBytes(128 * 1000)
	for b.Loop() {
		stream, err := client.StreamLogs(b.Context(), &servicev1.StreamLogsRequest{Service: "etcd"})
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = stream.Recv()
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}

func benchDial(b *testing.B, api *servertest.API, authority *pki.Authority) *grpc.ClientConn {
	b.Helper()
	pair, err := authority.Issue(pki.Request{CommonName: "alice", Organizations: []string{"node:reader"}, Client: true, Lifetime: time.Hour}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	client, err := pair.TLS()
	if err != nil {
		b.Fatal(err)
	}
	c := &tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{client}}
	conn, err := grpc.NewClient("passthrough:///"+api.Address, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}
