package kms_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/trust/kms"
	"github.com/cyvive/cyvive/internal/trust/kmstest"
	"github.com/cyvive/cyvive/internal/trust/wrap"
)

const (
	machine = "0a1b2c3d-1111-2222-3333-444455556666"
	other   = "0a1b2c3d-9999-2222-3333-444455556666"
)

func at(s *kmstest.Server) kms.Server {
	return kms.Server{Endpoint: "https://" + s.Address(), CA: s.CA()}
}

func binding() wrap.Binding { return wrap.Binding{Volume: "state", UUID: "11", Machine: machine} }

func key() []byte { return bytes.Repeat([]byte{5}, wrap.SecretBytes) }

func seal(t *testing.T, s *kmstest.Server) kms.Token {
	t.Helper()
	token, err := kms.Seal(t.Context(), kms.Client{}, at(s), binding(), key())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestServer: what a server has sealed opens as long as it answers, with its key and for this machine, and nothing else does.
func TestServer(t *testing.T) {
	s := kmstest.New(t, nil)
	token := seal(t, s)
	if got := s.Asked(); !slices.Equal(got, []string{"Seal " + machine, "Unseal " + machine}) {
		t.Errorf("the server was asked %q", got)
	}
	open := func() error {
		got, err := token.Open(t.Context(), kms.Client{Timeout: 2 * time.Second})
		if err == nil && !bytes.Equal(got, key()) {
			t.Errorf("it opened another key")
		}
		return err
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		do   func() (undo func())
		says string
	}{
		"gone": {func() func() { s.Stop(); return s.Start }, "it cannot be reached: dial tcp 127.0.0.1:"},
		"slow": {func() func() {
			s.Behave(kmstest.Manner{Delay: 5 * time.Second})
			return func() { s.Behave(kmstest.Manner{}) }
		}, "no answer within 2s"},
		"refuses": {func() func() {
			s.Behave(kmstest.Manner{Error: status.Error(codes.PermissionDenied, "not\nyours")})
			return func() { s.Behave(kmstest.Manner{}) }
		}, "it refuses this machine (PermissionDenied): not?yours"},
		"fails": {func() func() {
			s.Behave(kmstest.Manner{Error: status.Error(codes.Internal, strings.Repeat("x", 4000))})
			return func() { s.Behave(kmstest.Manner{}) }
		}, "it answers with an error (Internal): xxxx"},
		"garbage": {func() func() {
			s.Behave(kmstest.Manner{Answer: bytes.Repeat([]byte{1}, 32)})
			return func() { s.Behave(kmstest.Manner{}) }
		}, "gives out another key than it was asked to seal"},
		"another length": {func() func() {
			s.Behave(kmstest.Manner{Answer: []byte("no key")})
			return func() { s.Behave(kmstest.Manner{}) }
		}, "it answers with 6 bytes, expected 32"},
		"too long": {func() func() {
			s.Behave(kmstest.Manner{Answer: make([]byte, 1<<20)})
			return func() { s.Behave(kmstest.Manner{}) }
		}, "it answers with an error (ResourceExhausted)"},
	} {
		undo := c.do()
		err := open()
		undo()
		if !errors.Is(err, kms.ErrServer) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "https://"+s.Address()) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.says)
		}
		if err != nil && (len(err.Error()) > 700 || strings.ContainsAny(err.Error(), "\n\r\x1b")) {
			t.Errorf("%s: the error is no line of a console: %q", name, err)
		}
		if err := open(); err != nil {
			t.Errorf("%s, and in order again: %v", name, err)
		}
	}
	s.ChangeKey()
	if err := open(); !errors.Is(err, kms.ErrServer) || !strings.Contains(err.Error(), "another key") {
		t.Errorf("with another key: %v", err)
	}
}

// TestTokenIsBound: a token that was changed, or of another machine, opens nothing, though the server answers.
func TestTokenIsBound(t *testing.T) {
	token := seal(t, kmstest.New(t, nil))
	flip := func(b []byte) []byte {
		out := bytes.Clone(b)
		out[len(out)/2] ^= 1
		return out
	}
	for name, change := range map[string]func(*kms.Token){
		"sealed":          func(t *kms.Token) { t.Sealed = flip(t.Sealed) },
		"half":            func(t *kms.Token) { t.Half = flip(t.Half) },
		"wrapped":         func(t *kms.Token) { t.Wrapped = flip(t.Wrapped) },
		"another machine": func(t *kms.Token) { t.Machine = other },
		"another volume":  func(t *kms.Token) { t.Volume = "data" },
	} {
		changed := token
		change(&changed)
		if got, err := changed.Open(t.Context(), kms.Client{}); !errors.Is(err, kms.ErrServer) || got != nil {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

// TestServerIsJudged: another authority, another name, no TLS, and what is no key server are told apart, and nothing of the key is sent to any of them.
func TestServerIsJudged(t *testing.T) {
	s, stranger := kmstest.New(t, nil), kmstest.New(t, nil)
	_, port, err := net.SplitHostPort(s.Address())
	if err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	web := httptest.NewUnstartedServer(http.NotFoundHandler())
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()
	webCA := web.Certificate() // it signs itself
	for name, c := range map[string]struct {
		server kms.Server
		says   string
	}{
		"another authority": {kms.Server{Endpoint: "https://" + s.Address(), CA: stranger.CA()}, "certificate signed by unknown authority"},
		"another name":      {kms.Server{Endpoint: "https://localhost:" + port, CA: s.CA()}, "wanted to match localhost"},
		"no TLS":            {kms.Server{Endpoint: "https://" + plain.Listener.Addr().String(), CA: s.CA()}, "it cannot be reached: tls: "},
		"a web server":      {kms.Server{Endpoint: "https://" + web.Listener.Addr().String(), CA: pem(webCA.Raw)}, "key server of this kind"},
	} {
		_, err := kms.Client{}.Seal(t.Context(), c.server, machine, key())
		if !errors.Is(err, kms.ErrServer) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.says)
		}
	}
	for name, bad := range map[string]kms.Server{
		"no authority": {Endpoint: "https://" + s.Address()}, "no certificate": {Endpoint: "https://" + s.Address(), CA: s.CA(), Certificate: "x", Key: "y"},
		"no https": {Endpoint: "http://" + s.Address(), CA: s.CA()}, "no host": {Endpoint: "https://:4050", CA: s.CA()},
		"a path": {Endpoint: "https://" + s.Address() + "/kms", CA: s.CA()}, "a user": {Endpoint: "https://me@" + s.Address(), CA: s.CA()},
	} {
		if _, err := (kms.Client{}).Seal(t.Context(), bad, machine, key()); err == nil || errors.Is(err, kms.ErrServer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(s.Asked()) > 0 || len(stranger.Asked()) > 0 {
		t.Errorf("the servers were asked: %q, %q", s.Asked(), stranger.Asked())
	}
}

// TestClientCertificate: a server that asks for a certificate gets the node's, and says so to a node without.
func TestClientCertificate(t *testing.T) {
	clients, err := pki.NewAuthority("nodes", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := clients.Issue(pki.Request{CommonName: "node1", Client: true, Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := kmstest.New(t, clients)
	server := at(s)
	if _, err := kms.Seal(t.Context(), kms.Client{}, server, binding(), key()); !errors.Is(err, kms.ErrServer) {
		t.Errorf("without one: %v", err)
	}
	server.Certificate, server.Key = string(pair.CertificatePEM), string(pair.KeyPEM)
	token, err := kms.Seal(t.Context(), kms.Client{}, server, binding(), key())
	if err != nil {
		t.Fatal(err)
	}
	text, err := token.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if token, err = kms.ParseToken(text); err != nil {
		t.Fatal(err)
	}
	if got, err := token.Open(t.Context(), kms.Client{}); err != nil || !bytes.Equal(got, key()) {
		t.Errorf("opened %x, %v", got, err)
	}
}

// TestSealIsTried: a server that would not give the key out again seals nothing, and one that hands back what it was given did not encrypt it.
func TestSealIsTried(t *testing.T) {
	s := kmstest.New(t, nil)
	for name, c := range map[string]struct {
		manner kmstest.Manner
		says   string
	}{
		"the same for all": {kmstest.Manner{Answer: bytes.Repeat([]byte{7}, 60)}, "something else than it was asked to seal"},
		"too long":         {kmstest.Manner{Answer: make([]byte, 5000)}, "answers with 5000 bytes"},
	} {
		s.Behave(c.manner)
		if _, err := kms.Seal(t.Context(), kms.Client{}, at(s), binding(), key()); !errors.Is(err, kms.ErrServer) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := kms.Seal(t.Context(), echo{}, kms.Server{Endpoint: "https://echo"}, binding(), key()); err == nil || !strings.Contains(err.Error(), "did not encrypt") {
		t.Errorf("an echo: %v", err)
	}
}

// echo answers with what it is given.
type echo struct{}

func (echo) Seal(_ context.Context, _ kms.Server, _ string, data []byte) ([]byte, error) {
	return data, nil
}
func (echo) Unseal(_ context.Context, _ kms.Server, _ string, data []byte) ([]byte, error) {
	return data, nil
}

// TestServerNeverHasTheKey: neither what the server is given nor the header holds the key, and each alone opens nothing.
func TestServerNeverHasTheKey(t *testing.T) {
	s := kmstest.New(t, nil)
	heard := &listener{Caller: kms.Client{}}
	token, err := kms.Seal(t.Context(), heard, at(s), binding(), key())
	if err != nil {
		t.Fatal(err)
	}
	text, err := token.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range append(heard.parts, text) {
		if bytes.Contains(part, key()) {
			t.Errorf("the key is in %x", part)
		}
	}
	for _, secret := range heard.parts {
		if len(secret) != wrap.SecretBytes {
			continue
		}
		if _, err := wrap.Unwrap(secret, make([]byte, wrap.SecretBytes), token.Context(kms.TokenType), token.Wrapped); !errors.Is(err, wrap.ErrOther) {
			t.Errorf("the server's half alone: %v", err)
		}
	}
}

// listener hears all that passes between node and server.
type listener struct {
	kms.Caller
	parts [][]byte
}

func (l *listener) Seal(ctx context.Context, s kms.Server, machine string, data []byte) ([]byte, error) {
	out, err := l.Caller.Seal(ctx, s, machine, data)
	l.parts = append(l.parts, bytes.Clone(data), bytes.Clone(out))
	return out, err
}

func (l *listener) Unseal(ctx context.Context, s kms.Server, machine string, data []byte) ([]byte, error) {
	out, err := l.Caller.Unseal(ctx, s, machine, data)
	l.parts = append(l.parts, bytes.Clone(data), bytes.Clone(out))
	return out, err
}

// TestEnds: a call ends with its context, and that is no fault of the server's.
func TestEnds(t *testing.T) {
	s := kmstest.New(t, nil)
	s.Behave(kmstest.Manner{Delay: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (kms.Client{}).Seal(ctx, at(s), machine, key()); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kms.ErrServer) {
		t.Errorf("got %v", err)
	}
}
