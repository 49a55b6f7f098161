package server

import (
	"container/list"
	"crypto/x509"
	"net"
	"net/netip"
	"sync"
	"time"
)

// connections is the table of all open connections, in the order in which they
// came. It closes the oldest of those that are too many.
//
// A connection counts for its address until its client is verified, and for the
// client from then on. So a flood of peers without a certificate can push out
// only others without one, and one client only its own connections, or, where
// several fill the table, those of the one that has most.
type connections struct {
	limits Limits

	mu       sync.Mutex
	open     *list.List // of *conn, oldest first
	verified int
}

func newConnections(l Limits) *connections { return &connections{limits: l, open: list.New()} }

// conn is one connection. Its writes have a deadline each, so that a peer that
// does not read cannot hold what is sent to it for good.
type conn struct {
	net.Conn
	table *connections
	place *list.Element

	// Guarded by table.mu; holder is the address, or the subject if verified.
	holder     string
	verified   bool
	closed     bool
	dispatched bool
	// shaken: its handshake is done, and authority is what vouched for clients
	// then; nil is a node without a configuration.
	shaken    bool
	authority *x509.CertPool
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.table.limits.WriteTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.table.remove(c)
	return c.Conn.Close()
}

// SetDeadline implements net.Conn. gRPC takes its deadline of the handshake back
// also from a connection that it has handed on, which has others by then.
func (c *conn) SetDeadline(t time.Time) error {
	c.table.mu.Lock()
	handedOn := c.dispatched
	c.table.mu.Unlock()
	if handedOn {
		return nil
	}
	return c.Conn.SetDeadline(t)
}

// add takes a new connection into the table.
func (t *connections) add(raw net.Conn) *conn {
	c := &conn{Conn: raw, table: t, holder: addressOf(raw.RemoteAddr())}
	t.mu.Lock()
	c.place = t.open.PushBack(c)
	var victim *conn
	if t.count(false)[c.holder] > t.limits.ConnectionsPerAddress {
		victim = t.oldest(false, c.holder)
	} else if t.open.Len() > t.limits.Connections {
		victim = t.oldest(false, largest(t.count(false)))
	}
	t.mu.Unlock()
	victim.end()
	return c
}

// verify notes whose connection it is, of whom so many may be open.
func (t *connections) verify(c *conn, subject string, most int) {
	t.mu.Lock()
	if c.closed {
		t.mu.Unlock()
		return
	}
	c.holder, c.verified = subject, true
	t.verified++
	var victim *conn
	if t.count(true)[subject] > most {
		victim = t.oldest(true, subject)
	} else if t.verified > t.limits.Connections-t.limits.ReservedConnections {
		victim = t.oldest(true, largest(t.count(true)))
	}
	t.mu.Unlock()
	victim.end()
}

// shake notes that a handshake is done, and returns the identity of the node that
// its connection is of: one that changes meanwhile is either seen here, or
// endOthers finds the connection.
func (t *connections) shake(c *conn, identity func() Identity) Identity {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := identity()
	c.shaken, c.authority = true, id.Clients
	return id
}

// endOthers closes the connections that were made under another authority than
// there is.
func (t *connections) endOthers(identity func() Identity) {
	t.mu.Lock()
	now := identity().Clients
	var ended []*conn
	for e := t.open.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); c.shaken && !c.authority.Equal(now) {
			ended = append(ended, c)
		}
	}
	t.mu.Unlock()
	for _, c := range ended {
		c.end()
	}
}

// dispatch notes that another server than gRPC's has the connection now.
func (t *connections) dispatch(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.dispatched = true
}

func (t *connections) remove(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	t.open.Remove(c.place)
	if c.verified {
		t.verified--
	}
}

// end closes a connection that had to make way, if there is one.
func (c *conn) end() {
	if c != nil {
		_ = c.Close() // nobody is told: its owner sees the end of its reads
	}
}

// count returns how many connections each holder has; t.mu is held.
func (t *connections) count(verified bool) map[string]int {
	n := map[string]int{}
	for e := t.open.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); c.verified == verified {
			n[c.holder]++
		}
	}
	return n
}

// largest returns the holder with the most connections.
func largest(n map[string]int) string {
	var most string
	for holder := range n {
		if n[holder] > n[most] || n[holder] == n[most] && holder < most {
			most = holder
		}
	}
	return most
}

// oldest returns a holder's first connection, or nil; t.mu is held.
func (t *connections) oldest(verified bool, holder string) *conn {
	for e := t.open.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); c.verified == verified && c.holder == holder {
			return c
		}
	}
	return nil
}

// size returns how many connections are open, and how many of them are verified.
func (t *connections) size() (open, verified int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open.Len(), t.verified
}

// addressOf is what the clients of one place have in common: an IPv4 address, an
// IPv6 /64, which is what one client has, or the whole address elsewhere, such as
// the context ID of vsock, without the port.
func addressOf(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ip := tcp.AddrPort().Addr().Unmap()
		if ip.Is6() {
			return netip.PrefixFrom(ip.WithZone(""), 64).Masked().String()
		}
		return ip.String()
	}
	text := a.String()
	if host, _, err := net.SplitHostPort(text); err == nil {
		return host
	}
	return text
}

// listener takes what it accepts into the table.
type listener struct {
	net.Listener
	table *connections
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.table.add(raw), nil
}
