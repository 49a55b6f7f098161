package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
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

// raw passes messages on as the bytes they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (raw) Name() string                       { return "proto" }

// FuzzAPI calls methods by any name with any bytes, as an administrator with a
// valid certificate. Each call must end with a status of its own, never with a
// lost connection or as a failure of the node, and the next proper call must be
// answered.
func FuzzAPI(f *testing.F) {
	authority := servertest.Authority(f, "api")
	api := servertest.Start(f, &servertest.Node{VersionValue: server.Version{OS: "1.0"}}, authority, nil)
	pair, err := authority.Issue(pki.Request{CommonName: "alice", Organizations: []string{"node:admin"}, Client: true, Lifetime: time.Hour}, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		f.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+api.Address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: authority.Pool(), Certificates: []tls.Certificate{certificate},
	})))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close() })
	methods := slices.Sorted(maps.Keys(server.Rules()))
	f.Add(uint8(0), "", []byte{})
	f.Add(uint8(0), "/node.machine.v1.MachineService/Format", []byte("x"))
	for i := range methods {
		f.Add(uint8(i), "", []byte("\x0a\x04etcd\x10\x01"))
	}
	f.Fuzz(func(t *testing.T, pick uint8, method string, message []byte) {
		if method == "" {
			method = methods[int(pick)%len(methods)]
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		switch code := status.Code(send(ctx, conn, method, message)); code {
		case codes.Unavailable, codes.Unknown, codes.DeadlineExceeded:
			t.Errorf("%s with %q: %v", method, message, code)
		}
		if v, err := machinev1.NewMachineServiceClient(conn).GetVersion(ctx, &machinev1.GetVersionRequest{}); err != nil || v == nil {
			t.Errorf("after %s with %q: %v", method, message, err)
		}
	})
}

// send makes one call with a message as it is, and reads all answers.
func send(ctx context.Context, conn *grpc.ClientConn, method string, message []byte) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodec(raw{}))
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&message); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var answer []byte
		if err := stream.RecvMsg(&answer); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
