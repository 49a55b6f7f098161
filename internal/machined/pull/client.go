package pull

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Server is one that the node knows.
type Server struct {
	// Host is a name or address, with a port unless that is 443.
	Host string
	// CA signs its certificate, PEM.
	CA string
	// Username and Password are empty for a server that asks for none.
	Username string
	Password interface{ Reveal() string }
}

// Timeouts are how long a server may take. Zero fields take the value of [DefaultTimeouts].
type Timeouts struct {
	// Dial is for a connection, TLS included, Header for the beginning of an answer, Small for the whole of one that is not the release.
	Dial, Header, Small time.Duration
	// Stall is for 64 KiB of a release; FirstPause is the time until the first further try, which each one after it doubles.
	Stall, FirstPause time.Duration
}

// DefaultTimeouts is for servers anywhere. Between two words of progress lie at most five small answers: the caller hears of a pull every two minutes.
func DefaultTimeouts() Timeouts {
	return Timeouts{Dial: 10 * time.Second, Header: 30 * time.Second, Small: 20 * time.Second, Stall: time.Minute, FirstPause: time.Second}
}

func (t Timeouts) withDefaults() Timeouts {
	d := DefaultTimeouts()
	for _, v := range []struct{ have, otherwise *time.Duration }{
		{&t.Dial, &d.Dial}, {&t.Header, &d.Header}, {&t.Small, &d.Small}, {&t.Stall, &d.Stall}, {&t.FirstPause, &d.FirstPause},
	} {
		if *v.have == 0 {
			*v.have = *v.otherwise
		}
	}
	return t
}

// Config is what a Reader is made with. The zero Config knows no server.
type Config struct {
	// Servers are those of the node's configuration.
	Servers []Server
	// Architecture chooses from an artifact that has one release for each.
	Architecture string
	Timeouts     Timeouts
}

const (
	// maxRedirects is how often a server may send the node elsewhere.
	maxRedirects = 5
	// maxHeaderBytes bounds the header of an answer, maxSmallBytes one that is not the release: the specification has registries take manifests
	// of 4 MiB.
	maxHeaderBytes = 64 << 10
	maxSmallBytes  = 4 << 20
)

// Errors of connections, which no further try mends.
var (
	errRedirects   = fmt.Errorf("more than %d redirects", maxRedirects)
	errDowngrade   = errors.New("a redirect from https to http, which is not followed")
	errScheme      = errors.New("a redirect to something else than http or https, which is not followed")
	errLinkLocal   = errors.New("an address of the link (169.254.0.0/16 or fe80::/10), which is not asked")
	errLoopback    = errors.New("an address of the node itself (127.0.0.0/8 or ::1), which is asked only where the source names it")
	errCredentials = errors.New("it would get the password, and is not among upgrade.sources")
	errElsewhere   = errors.New("a redirect to another host of what may hold the password, which is not followed")
	errTooLarge    = fmt.Errorf("more than %d bytes, which no manifest or token has", maxSmallBytes)
)

// lasting tells whether an error of a connection stays when it is tried again.
func lasting(err error) bool {
	for _, e := range []error{errRedirects, errDowngrade, errScheme, errLinkLocal, errLoopback, errCredentials, errElsewhere, errTooLarge} {
		if errors.Is(err, e) {
			return true
		}
	}
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}

// client asks the servers of one pull.
type client struct {
	Config
	http *http.Client
	// onNode says that the source itself is on the node.
	onNode bool
}

func newClient(cfg Config, s Source) *client {
	cfg.Timeouts = cfg.Timeouts.withDefaults()
	c := &client{Config: cfg, onNode: s.onNode()}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext: c.dial, DialTLSContext: c.dialTLS, ResponseHeaderTimeout: cfg.Timeouts.Header,
			MaxResponseHeaderBytes: maxHeaderBytes, DisableCompression: true, MaxIdleConnsPerHost: 1,
		},
		CheckRedirect: checkRedirect,
	}
	return c
}

func (c *client) close() { c.http.CloseIdleConnections() }

func checkRedirect(to *http.Request, via []*http.Request) error {
	to.Header.Del("Referer") // its query is for the server only that it was given for
	if to.URL.Host != via[0].URL.Host {
		to.Header.Del("Authorization")
	}
	switch {
	case len(via) > maxRedirects:
		return errRedirects
	case to.URL.Scheme != "http" && to.URL.Scheme != "https":
		return errScheme
	case to.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return errDowngrade
	case to.Method == http.MethodPost && to.URL.Host != via[0].URL.Host: // its body goes along
		return errElsewhere
	}
	return nil
}

// dial connects, but not to the link's own addresses, and to the node's own only where its caller has named them: whoever is on the way could otherwise have
// its services asked, by a redirect, a name or the place of a registry's tokens.
func (c *client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: c.Timeouts.Dial}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	switch {
	case isLinkLocal(conn.RemoteAddr()):
		return nil, errors.Join(errLinkLocal, conn.Close())
	case !c.onNode && isLoopback(conn.RemoteAddr()):
		return nil, errors.Join(errLoopback, conn.Close())
	}
	return conn, nil
}

func isLoopback(a net.Addr) bool {
	to, err := netip.ParseAddrPort(a.String())
	return err == nil && to.Addr().Unmap().IsLoopback()
}

func isLinkLocal(a net.Addr) bool {
	to, err := netip.ParseAddrPort(a.String())
	return err == nil && to.Addr().Unmap().IsLinkLocalUnicast()
}

// dialTLS judges the certificate of a server that the configuration names, and of no other.
func (c *client) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if known := c.server(address); known != nil {
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AppendCertsFromPEM([]byte(known.CA)) // the configuration has checked it; a pool of none lets nobody in
	} else {
		cfg.InsecureSkipVerify = true // the release is known by its signature; see the package's comment
	}
	conn := tls.Client(raw, cfg)
	ctx, cancel := context.WithTimeout(ctx, c.Timeouts.Dial)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, nil
}

// server is what the configuration has for a host, or nil. Where the port is left out on either side it is that of https.
func (c *client) server(host string) *Server {
	for i, s := range c.Servers {
		if withPort(s.Host) == withPort(host) {
			return &c.Servers[i]
		}
	}
	return nil
}

func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(trimBrackets(host), "443")
}

func trimBrackets(host string) string {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}

// small is the client for manifests and tokens: what comes is bounded, and a password goes to known servers only.
func (c *client) small() *http.Client {
	return &http.Client{Transport: guarded{c}, CheckRedirect: checkRedirect, Timeout: c.Timeouts.Small}
}

// guarded implements http.RoundTripper.
type guarded struct{ c *client }

func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, _, basic := r.BasicAuth(); (basic || r.Method == http.MethodPost) && (r.URL.Scheme != "https" || g.c.server(r.URL.Host) == nil) {
		return nil, fmt.Errorf("%s: %w", r.URL.Host, errCredentials)
	}
	response, err := g.c.http.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = bounded{io.LimitReader(response.Body, maxSmallBytes+1), response.Body, new(int64)}
	return response, nil
}

// bounded is the body of a small answer.
type bounded struct {
	io.Reader
	io.Closer
	n *int64
}

// Read implements io.Reader.
func (b bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if *b.n += int64(n); *b.n > maxSmallBytes {
		return n, errTooLarge
	}
	return n, err
}
