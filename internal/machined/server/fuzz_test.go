package server_test

import (
	"context"
	"crypto/tls"
	"io"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

// fuzzed is a node's API, and an administrator of it.
type fuzzed struct {
	api    *servertest.API
	client tls.Certificate
	tls    *tls.Config
	conn   *grpc.ClientConn
}

// startFuzzed serves a node whose calls have no limits of rate.
func startFuzzed(f *testing.F) *fuzzed {
	f.Helper()
	authority := servertest.Authority(f, "ours")
	pair, err := authority.Issue(pki.Request{CommonName: "alice", Organizations: []string{"node:admin"}, Client: true, Lifetime: 24 * time.Hour}, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	client, err := pair.TLS()
	if err != nil {
		f.Fatal(err)
	}
	limits := server.Limits{CallsPerSecond: 1 << 20, CallsBurst: 1 << 30, RequestTimeout: time.Second, HandshakeTimeout: time.Second}
	z := &fuzzed{
		api:    servertest.StartWithin(f, limits, servertest.Listen(f), exampleNode(), authority, nil),
		client: client,
		tls:    &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: authority.Pool(), Certificates: []tls.Certificate{client}, NextProtos: []string{"h2"}},
	}
	if z.conn, err = grpc.NewClient("passthrough:///"+z.api.Address, grpc.WithTransportCredentials(credentials.NewTLS(z.tls))); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { z.conn.Close() })
	return z
}

// answers fails the test if the API does not answer a proper call.
func (z *fuzzed) answers(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := machinev1.NewMachineServiceClient(z.conn).GetVersion(ctx, &machinev1.GetVersionRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatalf("the API answers no longer: %v", err)
	}
}

// FuzzCall calls a method, as an administrator, with any bytes for a request.
func FuzzCall(f *testing.F) {
	z := startFuzzed(f)
	methods := slices.DeleteFunc(slices.Sorted(maps.Keys(registered())), func(m string) bool { return server.ForPeers()[m] }) // those have a test of their own
	for i := range methods {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{0x0a, 0x04, 'e', 't', 'c', 'd', 0x10, 0x01, 0x18, 0x05})
	}
	f.Fuzz(func(t *testing.T, method uint8, request []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // some methods follow a log for good
		defer cancel()
		err := callRaw(ctx, z.conn, methods[int(method)%len(methods)], request)
		switch status.Code(err) {
		case codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented, codes.Unknown:
			t.Errorf("%s with %x: %v", methods[int(method)%len(methods)], request, err)
		}
		z.answers(t)
	})
}

// FuzzConnection sends any bytes where a verified client speaks HTTP/2 or, by
// the first argument, HTTP/1.1.
func FuzzConnection(f *testing.F) {
	z := startFuzzed(f)
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, data := range []string{
		"", preface, "GET /metrics HTTP/1.1\r\nHost: node1\r\n\r\n",
		preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00",                                                                     // SETTINGS
		preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", // PING
		preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x05\x00\x00\x00\x01\x82",                             // HEADERS
		preface + "\xff\xff\xff\x00\x00\x00\x00\x00\x01",                                                                     // DATA too large
	} {
		f.Add(false, []byte(data))
		f.Add(true, []byte(data))
	}
	f.Fuzz(func(t *testing.T, http bool, data []byte) {
		config := z.tls.Clone()
		if http {
			config.NextProtos = []string{"http/1.1"}
		}
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", z.api.Address, config)
		if err != nil {
			return // the server speaks no HTTP/1.1
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = conn.Write(data) // the server may have hung up
		_, _ = io.Copy(io.Discard, conn)
		z.answers(t)
	})
}

// exampleNode has a little of everything.
func exampleNode() *servertest.Node {
	return &servertest.Node{
		Checks:        []server.Check{{Name: "etcd", Reason: "no leader"}},
		Records:       []server.Record{{Message: "Linux version"}},
		ServiceList:   []server.Service{{Name: "etcd", State: server.ServiceRunning}},
		Lines:         map[string][]string{"etcd": {"one", "two"}},
		ContainerList: []server.Container{{Namespace: "system", Name: "etcd"}},
		BootList:      []server.Boot{{ID: "b1"}},
		CrashList:     []server.Crash{{FoundBy: "b1"}},
		CrashLines:    map[string][]server.CrashLine{"b1": {{Message: "Kernel panic"}}},
	}
}
