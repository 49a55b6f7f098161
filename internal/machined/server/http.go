package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/cyvive/cyvive/internal/audit"
)

// MetricsPath is where Prometheus finds metrics, by GET over HTTP/1.1 on the
// port of the API, with the same client certificates.
const MetricsPath = "/metrics"

// Limits of HTTP. A scraper keeps its connection between scrapes.
const (
	httpIdleTimeout   = 3 * time.Minute
	maxHTTPHeader     = 16 << 10
	scrapeAuditPeriod = time.Hour
	maxScrapers       = 1024
)

// httpServer serves metrics on connections that the handshake hands over.
//
// A scrape is read-only and comes every few seconds, by design: the audit log
// has one entry an hour for each client whose scrapes are let in, and one for
// each that is refused.
type httpServer struct {
	gate     *gate
	arrivals *arrivals
	metrics  *metrics
	server   *http.Server
	conns    handedOver
	started  sync.Once

	mu   sync.Mutex
	seen map[string]time.Time // when a client's scrape was recorded last
}

func newHTTPServer(c Config, g *gate, a *arrivals, table *connections) *httpServer {
	h := &httpServer{
		gate: g, arrivals: a, metrics: &metrics{config: c, table: table}, seen: map[string]time.Time{},
		conns: handedOver{conns: make(chan net.Conn), closed: make(chan struct{})},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+MetricsPath, h.serveMetrics)
	mux.HandleFunc("/", h.serveOther)
	h.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: c.Limits.HandshakeTimeout, ReadTimeout: c.Limits.RequestTimeout, WriteTimeout: c.Limits.RequestTimeout + c.Limits.WriteTimeout,
		IdleTimeout: httpIdleTimeout, MaxHeaderBytes: maxHTTPHeader, ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelWarn),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ConnContext:  func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	return h
}

// start serves what is taken until close. It may be called more than once.
func (h *httpServer) start() {
	h.started.Do(func() { go func() { _ = h.server.Serve(&h.conns) }() })
}

type connKey struct{}

// handedConn is a connection that the handshake hands over, and what that showed.
type handedConn struct {
	net.Conn
	session session
}

// take serves a connection.
func (h *httpServer) take(c handedConn) {
	select {
	case h.conns.conns <- c:
	case <-h.conns.closed:
		_ = c.Close() // the server is ending
	}
}

// close ends all connections.
func (h *httpServer) close() {
	_ = h.conns.Close()
	_ = h.server.Close() // nothing is left to do about an error
}

func (h *httpServer) serveMetrics(w http.ResponseWriter, r *http.Request) {
	start := h.gate.now()
	conn := r.Context().Value(connKey{}).(handedConn)
	s := conn.session
	e := audit.Entry{Kind: audit.KindCall, Time: start, Method: MetricsPath, Peer: r.RemoteAddr, Subject: s.subject}
	holder, rates := s.subject, h.arrivals.subjects
	if holder == "" {
		holder, rates = addressOf(conn.RemoteAddr()), h.arrivals.addresses
	}
	if !rates.allow(holder, start) {
		e.Code, e.Error = codes.ResourceExhausted.String(), "too many calls: slow down"
		h.gate.recorder.unverified(e)
		http.Error(w, e.Error, http.StatusTooManyRequests)
		return
	}
	c, refused := h.gate.judge(MetricsPath, s)
	e.Subject, e.Serial, e.Roles = c.subject, c.serial, join(c.roles)
	if refused != nil {
		h.gate.recorder.refused(e, refused)
		status := http.StatusForbidden
		switch refused.reason.code() {
		case codes.Unauthenticated:
			status = http.StatusUnauthorized
		case codes.Unavailable:
			status = http.StatusServiceUnavailable
		}
		http.Error(w, refused.message, status)
		return
	}
	text, err := h.metrics.text(r.Context())
	e.Code = codes.OK.String()
	if err != nil {
		e.Code, e.Error = codeOf(err).String(), err.Error()
		http.Error(w, err.Error(), http.StatusInternalServerError)
	} else {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(text) // the client may have gone
	}
	if err != nil || h.due(c.subject, start) {
		e.Took = h.gate.now().Sub(start)
		h.gate.recorder.record(e, false)
	}
}

// due tells whether a client's scrape belongs in the audit log.
func (h *httpServer) due(subject string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if last, ok := h.seen[subject]; ok && now.Sub(last) < scrapeAuditPeriod {
		return false
	}
	if len(h.seen) >= maxScrapers {
		clear(h.seen)
	}
	h.seen[subject] = now
	return true
}

// serveOther refuses what is no metrics, after the same judgement.
func (h *httpServer) serveOther(w http.ResponseWriter, r *http.Request) {
	s := r.Context().Value(connKey{}).(handedConn).session
	method := fmt.Sprintf("%.10s %.100s", r.Method, r.URL.Path)
	c, refused := h.gate.judge(method, s)
	if refused == nil {
		refused = refuse(ReasonNoSuchMethod, "there is nothing here") // no rule has such a name
	}
	h.gate.recorder.unverified(audit.Entry{
		Kind: audit.KindCall, Time: h.gate.now(), Method: method, Peer: r.RemoteAddr, Subject: c.subject, Serial: c.serial, Roles: join(c.roles),
		Code: refused.reason.code().String(), Error: refused.message,
	})
	http.Error(w, "over HTTP there is GET "+MetricsPath+" only; the rest is gRPC", http.StatusNotFound)
}

// handedOver is a listener of connections that come from elsewhere.
type handedOver struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (l *handedOver) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, errors.New("accept: the server has ended")
	}
}

// Close implements net.Listener.
func (l *handedOver) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *handedOver) Addr() net.Addr { return &net.TCPAddr{} }
