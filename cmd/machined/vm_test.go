package main

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mdlayher/vsock"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

// TestVMVsock calls the API over vsock, from the machine to itself: with the same
// certificates, and the same refusals.
func TestVMVsock(t *testing.T) {
	if os.Getenv("CYVIVE_VM") != "1" {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner")
		}
		t.Skip("needs the VM test runner: vsock needs modules of the node's kernel")
	}
	modules, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := modules.Load("vsock_loopback"); err != nil {
		t.Fatal(err)
	}
	listener, err := listenVsock()
	if err != nil {
		t.Fatal(err)
	}
	authority := servertest.Authority(t, "ours")
	servertest.StartOn(t, listener, &servertest.Node{}, authority, nil)
	pair, err := authority.Issue(pki.Request{CommonName: "alice", Organizations: []string{"node:reader"}, Client: true, Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		certificates []tls.Certificate
		want         codes.Code
	}{"reader": {[]tls.Certificate{certificate}, codes.OK}, "nobody": {nil, codes.Unauthenticated}} {
		conn, err := grpc.NewClient("passthrough:///vsock",
			grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", Certificates: c.certificates})),
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return vsock.Dial(vsock.Local, server.Port, nil) }))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = machinev1.NewMachineServiceClient(conn).GetNode(t.Context(), &machinev1.GetNodeRequest{})
		if status.Code(err) != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}
