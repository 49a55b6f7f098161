package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/pki"
)

func unverified(err error, leaf *x509.Certificate) error {
	return &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{leaf}, Err: err}
}

func TestExplainConnection(t *testing.T) {
	leaf := &x509.Certificate{DNSNames: []string{"node1"}, IPAddresses: []net.IP{net.IPv4(10, 5, 0, 2)}}
	tests := []struct {
		cause error
		want  string
	}{
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "connection refused: nothing listens there"},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, "no route to the node"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "nosuch", IsNotFound: true}}, `the name "nosuch" is not known`},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, "no answer in time"},
		{context.DeadlineExceeded, "no answer in time"},
		{io.EOF, "closed before anything was said"},
		{os.NewSyscallError("read", syscall.ECONNRESET), "closed before anything was said"},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "does not speak TLS"},
		{unverified(x509.UnknownAuthorityError{}, leaf), `not signed by the authority of context "demo"`},
		{unverified(x509.HostnameError{Certificate: leaf, Host: "x"}, leaf), "made for node1, 10.5.0.2 and not for this address"},
		{unverified(x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired}, leaf), "the clock of this machine or of the node is wrong"},
		{unverified(x509.CertificateInvalidError{Cert: leaf, Reason: x509.NotAuthorizedToSign}, leaf), "cannot be verified"},
		{errors.New("odd"), "connect: odd"},
		{&wrongNodeError{pki.Fingerprint{1}, pki.Fingerprint{2}}, "expected the key SHA256:AQAA"},
		{&wrongNodeError{pki.Fingerprint{1}, pki.Fingerprint{2}}, "got SHA256:AgAA"},
	}
	target := &target{context: "demo"}
	for _, test := range tests {
		for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded} {
			got := target.explain(status.Error(code, "connection error: desc = opaque"), test.cause)
			if got == nil || !strings.Contains(got.Error(), test.want) {
				t.Errorf("%v: %v: got %v, want %q", code, test.cause, got, test.want)
			}
		}
	}
}

func TestExplainStatus(t *testing.T) {
	refused := func(code codes.Code, reason string) error {
		s, err := status.New(code, "the message").WithDetails(&errdetails.ErrorInfo{Reason: reason})
		if err != nil {
			t.Fatal(err)
		}
		return s.Err()
	}
	tests := []struct {
		err  error
		want string
	}{
		{refused(codes.Unauthenticated, "NO_CERTIFICATE"), "the message (leave out --insecure)"},
		{refused(codes.Unauthenticated, "UNKNOWN_AUTHORITY"), "the message (`nodectl context list`"},
		{refused(codes.Unauthenticated, "CERTIFICATE_EXPIRED"), "the message (`nodectl gen client"},
		{refused(codes.PermissionDenied, "WRONG_ROLE"), "the message (`nodectl gen client"},
		{refused(codes.FailedPrecondition, "MAINTENANCE"), "the message (docs/maintenance.md"},
		{refused(codes.Unauthenticated, "OWNER_ONLY"), "the message (--maintenance"},
		{refused(codes.Unauthenticated, "OTHER_OWNER"), "the message (`nodectl owner show"},
		{refused(codes.Unavailable, "CLOSED"), "the message (wait"},
		{refused(codes.Unavailable, "CONFIGURED"), "the message (try again"},
		{refused(codes.Unavailable, "AUTHORITY_CHANGED"), "the message (the configuration names another authority now"},
		{status.Error(codes.DeadlineExceeded, "x"), "--timeout gives it longer"},
		{status.Error(codes.Unimplemented, "x"), "runs another version (x)"},
		{status.Error(codes.Unavailable, "x"), "the connection ended: x"},
		{status.Error(codes.NotFound, "no such service"), "no such service"},
		{errors.New("our own"), "our own"},
	}
	for _, test := range tests {
		if got := (&target{}).explain(test.err, nil); got == nil || !strings.Contains(got.Error(), test.want) {
			t.Errorf("%v: got %v, want %q", test.err, got, test.want)
		}
	}
	for _, cause := range []error{nil, io.EOF} {
		if got := (&target{}).explain(refused(codes.Unavailable, "NOT_READY"), cause).Error(); got != "the message" {
			t.Errorf("a node that answers: got %q", got)
		}
	}
}

// TestFailoverWithoutAnAnswer: that none came does not mean that it was not done.
func TestFailoverWithoutAnAnswer(t *testing.T) {
	for code, want := range map[codes.Code]string{
		codes.DeadlineExceeded: "goes on with it", codes.Canceled: "goes on with it", codes.FailedPrecondition: "replicas were changed", codes.Unavailable: "replicas were changed",
	} {
		if got := goesOn(status.Error(code, "replicas were changed")); !strings.Contains(got.Error(), want) {
			t.Errorf("%v: got %v, want %q", code, got, want)
		}
	}
}

// TestExplainMaintenance: with --maintenance, a refusal means something else.
func TestExplainMaintenance(t *testing.T) {
	for reason, want := range map[string]string{
		"UNKNOWN_AUTHORITY": "leave out --maintenance", "NO_CERTIFICATE": "leave out --maintenance", "CERTIFICATE_EXPIRED": "by the clock that the node's own one shows",
		"OTHER_OWNER": "--owner-key", "CONFIGURED": "leave out --maintenance",
	} {
		s, err := status.New(codes.Unauthenticated, "the message").WithDetails(&errdetails.ErrorInfo{Reason: reason})
		if err != nil {
			t.Fatal(err)
		}
		if got := (&target{maintenance: true}).explain(s.Err(), nil); got == nil || !strings.Contains(got.Error(), "the message (") || !strings.Contains(got.Error(), want) {
			t.Errorf("%s: got %v, want %q", reason, got, want)
		}
	}
}

func TestExitCode(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{usagef("x"), 2},
		{fmt.Errorf("y: %w", usagef("x")), 2},
		{nodesError{failed: 1, total: 1}, 1},
		{nodesError{failed: 2, total: 2}, 1},
		{nodesError{failed: 1, total: 2}, 3},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: got %d, want %d", test.err, got, test.want)
		}
	}
}
