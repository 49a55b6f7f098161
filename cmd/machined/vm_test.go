package main

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
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

// requireVM skips a test, for a reason, that does not run in a virtual machine of the test runner; where one was promised that is a failure.
func requireVM(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CYVIVE_VM") == "1" {
		return
	}
	if os.Getenv("REQUIRE_VM") == "1" {
		t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner")
	}
	t.Skip("needs the VM test runner: " + reason)
}

// TestVMVsock calls the API over vsock, from the machine to itself: with the same
// certificates, and the same refusals.
func TestVMVsock(t *testing.T) {
	requireVM(t, "vsock needs modules of the node's kernel")
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

// TestVMKernelClock sets and slews the clock of a virtual machine, never that of the machine that runs the tests.
func TestVMKernelClock(t *testing.T) {
	requireVM(t, "it sets the clock")
	if (kernelClock{}).Kept() {
		t.Error("the clock counts as kept before anybody did so")
	}
	began, before := time.Now(), time.Now().Round(0)
	for _, offset := range []time.Duration{90*time.Minute + 250*time.Millisecond, -2 * time.Hour} {
		if err := (kernelClock{}).Step(offset); err != nil {
			t.Fatal(err)
		}
		before = before.Add(offset)
		if off := time.Now().Round(0).Sub(before.Add(time.Since(began))); off.Abs() > time.Second {
			t.Errorf("after a step by %s the clock is off by %s", offset, off)
		}
	}
	if err := (kernelClock{}).Slew(20*time.Millisecond, time.Millisecond, 64*time.Second); err != nil {
		t.Fatal(err)
	}
	var now unix.Timex
	if _, err := unix.Adjtimex(&now); err != nil || now.Status&unix.STA_UNSYNC != 0 || now.Status&unix.STA_PLL == 0 || now.Constant != 2 || !(kernelClock{}).Kept() {
		t.Errorf("the kernel's loop: status %#x, constant %d, kept %t, %v", now.Status, now.Constant, kernelClock{}.Kept(), err)
	}
}
