// Package kmstest runs key servers for tests, over TLS, which behave as the reference implementation does (package sidero.kms of api/proto says how): keys by
// the machine's UUID, and random bytes for whom or what they do not know.
package kmstest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	pb "github.com/cyvive/cyvive/api/proto/sidero/kms"
	"github.com/cyvive/cyvive/internal/pki"
)

// keyBytes is the size of what is sealed; nothing else is taken.
const keyBytes = 32

// Manner is how a server answers.
type Manner struct {
	// Delay is what it takes for it, and Error what it answers with then; nil is an answer in order.
	Delay time.Duration
	Error error
	// Answer, where it is not nil, is in the place of every answer.
	Answer []byte
}

// Server is a key server. It ends with its test. Its methods may be called concurrently.
type Server struct {
	pb.UnimplementedKMSServiceServer
	t           testing.TB
	authority   *pki.Authority
	certificate tls.Certificate
	clients     *pki.Authority
	address     string

	mu     sync.Mutex
	key    []byte
	manner Manner
	asked  []string
	server *grpc.Server
}

// New starts a server on a free port of 127.0.0.1. Its certificate is for that address, and for others by which it is reached. Where clients are given, it asks
// for a certificate of theirs.
func New(t testing.TB, clients *pki.Authority, reached ...netip.Addr) *Server {
	t.Helper()
	authority, err := pki.NewAuthority("key server", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(pki.Request{
		CommonName: "key server", Addresses: append([]netip.Addr{netip.MustParseAddr("127.0.0.1")}, reached...), Server: true, Lifetime: 24 * time.Hour,
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, authority: authority, clients: clients, address: "127.0.0.1:0"}
	if s.certificate, err = pair.TLS(); err != nil {
		t.Fatal(err)
	}
	s.ChangeKey()
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Address is host and port.
func (s *Server) Address() string { return s.address }

// CA is the authority of the server's certificate, PEM.
func (s *Server) CA() string { return string(s.authority.CertificatePEM()) }

// Start has the server answer, at the same address after Stop.
func (s *Server) Start() {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{s.certificate}}
	if s.clients != nil {
		cfg.ClientCAs, cfg.ClientAuth = s.clients.Pool(), tls.RequireAndVerifyClientCert
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = listener.Addr().String()
	s.server = grpc.NewServer(grpc.Creds(credentials.NewTLS(cfg)))
	pb.RegisterKMSServiceServer(s.server, s)
	go func(server *grpc.Server) { _ = server.Serve(listener) }(s.server) // Stop ends it
}

// Stop has nothing listen any more.
func (s *Server) Stop() {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	server.Stop()
}

// Behave has the server answer in a manner from now on.
func (s *Server) Behave(m Manner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manner = m
}

// ChangeKey has the server forget the key that it seals with.
func (s *Server) ChangeKey() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = make([]byte, keyBytes)
	_, _ = rand.Read(s.key)
}

// Asked returns the calls so far, as the method and the machine's UUID.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Seal implements the service.
func (s *Server) Seal(ctx context.Context, r *pb.Request) (*pb.Response, error) {
	return s.answer(ctx, "Seal", r, func(a cipher.AEAD) ([]byte, error) {
		if len(r.GetData()) != keyBytes {
			return nil, status.Error(codes.InvalidArgument, "incorrect length")
		}
		return a.Seal(nil, nil, r.GetData(), nil), nil
	})
}

// Unseal implements the service.
func (s *Server) Unseal(ctx context.Context, r *pb.Request) (*pb.Response, error) {
	return s.answer(ctx, "Unseal", r, func(a cipher.AEAD) ([]byte, error) {
		if len(r.GetData()) != keyBytes+a.Overhead() {
			return nil, status.Error(codes.InvalidArgument, "incorrect length")
		}
		out, err := a.Open(nil, nil, r.GetData(), nil)
		if err != nil {
			out = make([]byte, keyBytes)
			_, _ = rand.Read(out)
		}
		return out, nil
	})
}

func (s *Server) answer(ctx context.Context, method string, r *pb.Request, do func(cipher.AEAD) ([]byte, error)) (*pb.Response, error) {
	s.mu.Lock()
	s.asked = append(s.asked, method+" "+r.GetNodeUuid())
	manner, sum := s.manner, hmac.New(sha256.New, s.key)
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(manner.Delay):
	}
	if manner.Error != nil || manner.Answer != nil {
		return &pb.Response{Data: manner.Answer}, manner.Error
	}
	sum.Write([]byte(r.GetNodeUuid()))
	block, err := aes.NewCipher(sum.Sum(nil))
	if err != nil {
		return nil, err
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	data, err := do(a)
	return &pb.Response{Data: data}, err
}
