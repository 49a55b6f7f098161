package kms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	pb "github.com/cyvive/cyvive/api/proto/sidero/kms"
)

// ErrServer says that a key server does not answer, refuses, or gives out something else than was sealed. It may do better later.
var ErrServer = errors.New("the key server")

const (
	// callTimeout bounds one call, with the connection that it needs. The reference implementation takes a second.
	callTimeout = 10 * time.Second
	// maxAnswerBytes bounds an answer, and the header of one.
	maxAnswerBytes = 16 << 10
	// maxReasonRunes is how much is shown of what a server says.
	maxReasonRunes = 300
)

// Caller asks key servers. Client implements it.
type Caller interface {
	Seal(ctx context.Context, s Server, machine string, data []byte) ([]byte, error)
	Unseal(ctx context.Context, s Server, machine string, data []byte) ([]byte, error)
}

// Client asks key servers over the network, each time over a connection of its own: it is used once in a boot. Its methods may be called concurrently.
type Client struct {
	// Timeout bounds one call; zero is ten seconds.
	Timeout time.Duration
}

// Seal has a server encrypt data for a machine. Errors of the server and of the way to it are ErrServer.
func (c Client) Seal(ctx context.Context, s Server, machine string, data []byte) ([]byte, error) {
	return c.call(ctx, s, "seal a key", func(ctx context.Context, k pb.KMSServiceClient) (*pb.Response, error) {
		return k.Seal(ctx, &pb.Request{NodeUuid: machine, Data: data})
	})
}

// Unseal has a server decrypt what it has encrypted for a machine. Whether it has is not known from the answer.
func (c Client) Unseal(ctx context.Context, s Server, machine string, data []byte) ([]byte, error) {
	return c.call(ctx, s, "unseal a key", func(ctx context.Context, k pb.KMSServiceClient) (*pb.Response, error) {
		return k.Unseal(ctx, &pb.Request{NodeUuid: machine, Data: data})
	})
}

func (c Client) call(ctx context.Context, s Server, what string, do func(context.Context, pb.KMSServiceClient) (*pb.Response, error)) ([]byte, error) {
	conn, err := dial(s)
	if err != nil {
		return nil, fmt.Errorf("ask key server to %s: %w", what, err)
	}
	defer conn.Close()
	timeout := c.Timeout
	if timeout == 0 {
		timeout = callTimeout
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := do(bounded, pb.NewKMSServiceClient(conn))
	switch {
	case err == nil:
		return resp.GetData(), nil
	case ended(ctx) != nil:
		return nil, fmt.Errorf("ask key server %s to %s: %w", s, what, ended(ctx))
	}
	return nil, fmt.Errorf("%w %s was asked to %s: %s", ErrServer, s, what, explain(err, timeout))
}

// ended is the error of a context that has ended, also where its deadline has passed and its own timer has not fired yet: that of a call may fire first.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// dial makes a connection that is opened with the first call. Only the server's own certificate counts, under the authorities that are given.
func dial(s Server) (*grpc.ClientConn, error) {
	address, host, err := s.address()
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: x509.NewCertPool(), NextProtos: []string{"h2"}}
	if !cfg.RootCAs.AppendCertsFromPEM([]byte(s.CA)) {
		return nil, fmt.Errorf("the authority of %s is no certificate in PEM", s)
	}
	if s.Certificate != "" {
		pair, err := tls.X509KeyPair([]byte(s.Certificate), []byte(s.Key))
		if err != nil {
			return nil, fmt.Errorf("the node's certificate for %s: %w", s, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	// passthrough: the dialler resolves the name, and asks for no SRV or TXT records beside the address.
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(cfg)), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithUserAgent("cyvive"), grpc.WithMaxHeaderListSize(maxAnswerBytes), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s, err)
	}
	return conn, nil
}

// explain says in words what became of a call. What the server says is shown as a text of its own, and cut.
func explain(err error, timeout time.Duration) string {
	s := status.Convert(err)
	switch s.Code() {
	case codes.Unavailable:
		return "it cannot be reached: " + inner(s.Message())
	case codes.DeadlineExceeded:
		return fmt.Sprintf("no answer within %s", timeout)
	case codes.Unimplemented:
		return "it is no key server of this kind (sidero.kms.KMSService): " + shown(s.Message())
	case codes.PermissionDenied, codes.Unauthenticated, codes.NotFound:
		return fmt.Sprintf("it refuses this machine (%s): %s", s.Code(), shown(s.Message()))
	}
	return fmt.Sprintf("it answers with an error (%s): %s", s.Code(), shown(s.Message()))
}

// inner returns what went wrong with a connection, which gRPC wraps as a quoted text (ConnectionError of its internal/transport).
func inner(message string) string {
	if _, quoted, ok := strings.Cut(message, "desc = "); ok {
		if text, err := strconv.Unquote(strings.TrimSpace(quoted)); err == nil {
			message = text
		}
	}
	for _, before := range []string{"transport: Error while dialing: ", "transport: authentication handshake failed: "} {
		message = strings.TrimPrefix(message, before)
	}
	return shown(message)
}

// shown is a text of others, for a line of a console.
func shown(text string) string {
	runes := []rune(text)
	if len(runes) > maxReasonRunes {
		runes = append(runes[:maxReasonRunes:maxReasonRunes], '…')
	}
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	return string(runes)
}
