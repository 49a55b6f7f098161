package servertest

import (
	"context"
	"crypto"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
)

// API is a node API that serves on a loopback port until the test ends.
type API struct {
	Address string // 127.0.0.1:PORT
	Server  *server.Server

	// Fingerprint is that of the node's key, whoever signs for it.
	Fingerprint pki.Fingerprint

	key      crypto.Signer
	identity atomic.Pointer[server.Identity]
	clock    atomic.Int64 // added to the real time
	mu       sync.Mutex
	acted    []string
	stop     context.CancelFunc
	done     chan error
}

// Authority makes an authority, valid now.
func Authority(tb testing.TB, name string) *pki.Authority {
	tb.Helper()
	a, err := pki.NewAuthority(name, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// Start serves a node. A nil authority is maintenance mode. Log, the audit
// log, may be nil.
func Start(tb testing.TB, n *Node, authority *pki.Authority, log server.Audit) *API {
	tb.Helper()
	return StartOn(tb, Listen(tb), n, authority, log)
}

// Listen takes a free loopback port.
func Listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// StartOn is Start on a listener, which it closes.
func StartOn(tb testing.TB, l net.Listener, n *Node, authority *pki.Authority, log server.Audit) *API {
	tb.Helper()
	return StartWithin(tb, server.Limits{}, l, n, authority, log)
}

// StartWithin is StartOn with limits of the test's own.
func StartWithin(tb testing.TB, limits server.Limits, l net.Listener, n *Node, authority *pki.Authority, log server.Audit) *API {
	tb.Helper()
	return start(tb, l, authority, func(c *server.Config) {
		n.serve(c)
		c.Audit, c.Limits = log, limits
	})
}

// Recipient is what nodes say that secrets are sealed for.
const Recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"

// serve has the node answer for everything.
func (n *Node) serve(c *server.Config) {
	c.Machine, c.Dmesg, c.Services, c.Logs, c.Containers, c.Boots, c.Crashes, c.Kube = n, Dmesg{n}, n, Logs{n}, n, n, n, n
	c.Kernel, c.Inventory, c.Events, c.Files, c.Upgrades, c.Configs, c.Disks = n, n, Events{n}, Files{n}, n, Configs{n}, n
	c.Extensions, c.Installs, c.Resets, c.Pools, c.Datasets, c.Snapshots = ExtensionsOf{n}, Installs{n}, Resets{n}, PoolsOf{n}, DatasetsOf{n}, SnapshotsOf{n}
	c.Replication, c.PastLogs = ReplicationOf{n}, Logs{n}
	c.Recipient = func() string { return Recipient }
	c.SBOM = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(n.SBOM)), nil }
}

// start serves what is set in the configuration.
func start(tb testing.TB, l net.Listener, authority *pki.Authority, set func(*server.Config)) *API {
	tb.Helper()
	a := &API{Address: l.Addr().String(), done: make(chan error, 1)}
	a.makeKey(tb)
	a.SetAuthority(tb, authority)
	c := server.Config{
		Identity: func() server.Identity { return *a.identity.Load() },
		Acted:    a.act,
		Now:      func() time.Time { return time.Now().Add(time.Duration(a.clock.Load())) },
	}
	set(&c)
	s := server.New(c)
	a.Server = s
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	go func() { a.done <- s.Serve(ctx, l) }()
	tb.Cleanup(func() { a.Stop(tb) })
	return a
}

// StartPeer serves nothing but what is for nodes that jobs name.
func StartPeer(tb testing.TB, authority *pki.Authority, log server.Audit, peers func() []server.Peer, calls server.PeerCalls) *API {
	tb.Helper()
	n := &Node{}
	return start(tb, Listen(tb), authority, func(c *server.Config) {
		n.serve(c)
		c.Audit, c.Peers, c.PeerCalls = log, peers, calls
	})
}

func (a *API) act(method, subject, code string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acted = append(a.acted, method+" "+subject+" "+code)
}

// Acted returns the calls that acted on the node: method, caller and status.
func (a *API) Acted() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.acted)
}

// Stop ends the server. It may be called more than once.
func (a *API) Stop(tb testing.TB) {
	tb.Helper()
	a.stop()
	if err := <-a.done; err != nil {
		tb.Errorf("serve: %v", err)
	}
	a.done <- nil
}

func (a *API) makeKey(tb testing.TB) {
	tb.Helper()
	text, err := pki.NewKey()
	if err != nil {
		tb.Fatal(err)
	}
	if a.key, err = pki.ParseKey(text); err != nil {
		tb.Fatal(err)
	}
	if a.Fingerprint, err = pki.FingerprintOf(a.key.Public()); err != nil {
		tb.Fatal(err)
	}
}

// SetUnconfigured has the node be without a configuration, by its own clock and
// with a self-signed certificate.
func (a *API) SetUnconfigured(tb testing.TB, u server.Unconfigured) {
	tb.Helper()
	a.SetAuthority(tb, nil)
	identity := *a.identity.Load()
	identity.Unconfigured = u
	a.identity.Store(&identity)
}

// SetAuthority gives the server another identity: a certificate of this
// authority, or a self-signed one and maintenance mode without an owner if it is nil.
func (a *API) SetAuthority(tb testing.TB, authority *pki.Authority) {
	tb.Helper()
	request := pki.Request{
		CommonName: "node1", DNSNames: []string{"localhost"}, Key: a.key,
		Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Server: true, Lifetime: time.Hour,
	}
	issue := pki.SelfSigned
	if authority != nil {
		issue = authority.Issue
	}
	now := time.Now()
	if authority == nil {
		now = now.Add(time.Duration(a.clock.Load()))
	}
	pair, err := issue(request, now)
	if err != nil {
		tb.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		tb.Fatal(err)
	}
	identity := &server.Identity{Certificate: &certificate, Unconfigured: server.Unconfigured{Audience: server.AudienceAnybody}}
	if authority != nil {
		identity.Clients = authority.Pool()
	}
	before := a.identity.Swap(identity)
	if before != nil && !before.Clients.Equal(identity.Clients) {
		a.Server.AuthorityChanged()
	}
}

// Advance moves the node's clock.
func (a *API) Advance(d time.Duration) { a.clock.Add(int64(d)) }
