package sourcetest

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// behaviour answers one request as a platform does. Data is nil if the user gave none. What it returns is why no client should send such a
// request, or empty.
type behaviour func(w http.ResponseWriter, r *http.Request, data []byte) (wrong string)

// Server is a server that a node asks. Its methods may be called concurrently.
type Server struct {
	// URL is where it listens, without a path.
	URL string
	// Certificate is that of https.
	Certificate *tls.Certificate

	t        *testing.T
	behave   behaviour
	mu       sync.Mutex
	data     []byte
	fault    Fault
	requests []string
	wrong    []string
	listener net.Listener
	server   *http.Server
	ended    context.CancelFunc
}

// newServer starts a server; its end, and that of the test, is an error if somebody asked it in a wrong way.
func newServer(t *testing.T, behave behaviour) *Server {
	t.Helper()
	s := &Server{t: t, behave: behave}
	ctx, cancel := context.WithCancel(context.Background())
	s.ended = cancel
	s.server = &http.Server{
		Handler: s, ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog: log.New(io.Discard, "", 0), // of handshakes that are meant to fail
	}
	s.listen("127.0.0.1:0")
	s.URL = "http://" + s.listener.Addr().String()
	t.Cleanup(s.close)
	return s
}

func (s *Server) listen(address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.listener = listener
	s.mu.Unlock()
	if s.Certificate != nil {
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{*s.Certificate}})
	}
	go func() { _ = s.server.Serve(listener) }() // until its listener is closed
}

func (s *Server) close() {
	s.ended()
	_ = s.server.Close() // of no interest at the end of a test
	for _, w := range s.Wrong() {
		s.t.Errorf("the server was asked in a way that its platform does not allow: %s", w)
	}
}

// Put makes the server hold what a user gave the platform; nil takes it away.
func (s *Server) Put(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = data
}

// Requests returns those that came in since the last call, as "METHOD PATH".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.requests
	s.requests = nil
	return all
}

// Wrong returns why requests since the last call should not have been sent.
func (s *Server) Wrong() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.wrong
	s.wrong = nil
	return all
}

// ServeHTTP answers as the platform does, or as its fault has it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	data, fault := s.data, s.fault
	s.mu.Unlock()
	if fault != "" {
		fault.answer(w, r)
		return
	}
	// Each answer says how long it is, as those of the platforms do.
	recorder := httptest.NewRecorder()
	wrong := s.behave(recorder, r, data)
	for name, values := range recorder.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(recorder.Code)
	_, _ = w.Write(recorder.Body.Bytes()) // a client that went away is its own test
	if wrong != "" {
		s.mu.Lock()
		s.wrong = append(s.wrong, r.Method+" "+r.URL.Path+": "+wrong)
		s.mu.Unlock()
	}
}

// Break makes the server fail from now on; the empty fault mends it.
func (s *Server) Break(fault Fault) {
	s.mu.Lock()
	before, listener := s.fault, s.listener
	s.fault = fault
	s.mu.Unlock()
	switch {
	case fault == Down:
		listener.Close()
	case before == Down:
		s.listen(listener.Addr().String())
	}
}
