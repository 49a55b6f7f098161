package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/audit"
)

// gate stands before every handler: it verifies the caller, looks the method
// up, and has each call recorded.
type gate struct {
	identity func() Identity
	now      func() time.Time
	rules    map[string]rule // never changed
	recorder *recorder
	limits   Limits
	peers    func() []Peer
	acted    func(method, subject, code string)

	mu sync.Mutex
	// running are calls under way, with what vouched for clients when they began:
	// nil is a node without a configuration.
	running map[*arrival]*x509.CertPool
}

// follow has a call end with words when the authority of clients changes, unless
// it has ended before: the caller calls what is returned then.
func (g *gate) follow(a *arrival) (ended func()) {
	if a == nil {
		return func() {}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running == nil {
		g.running = map[*arrival]*x509.CertPool{}
	}
	g.running[a] = g.identity().Clients
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.running, a)
	}
}

// authorityChanged ends the calls that began under another authority than there
// is now. A call that is between follow and admit is judged by the new one.
func (g *gate) authorityChanged() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.identity().Clients
	for a, began := range g.running {
		if !began.Equal(now) {
			a.cancel(refuseChanged(began))
			delete(g.running, a)
		}
	}
}

// refuseChanged is about what began under an authority that is not the node's now.
func refuseChanged(began *x509.CertPool) *refusal {
	if began == nil {
		return refuse(ReasonConfigured, "the node has its configuration now, and maintenance mode has ended: "+
			"connect again, with a certificate of that configuration's authority")
	}
	return refuse(ReasonAuthorityChanged, "the authority of the node's API has changed, and with it whom the node answers: "+
		"connect again, with a certificate of the new one")
}

// endedBy is why the gate has ended a call, or else the call's own error.
func endedBy(ctx context.Context, err error) error {
	if ended, ok := errors.AsType[*refusal](context.Cause(ctx)); ok {
		return ended
	}
	return err
}

// admit decides about one call. The caller is filled as far as it is known,
// also with a refusal.
func (g *gate) admit(ctx context.Context, method string) (caller, *refusal) {
	return g.judge(method, sessionOf(ctx))
}

// judge decides for a peer by what its handshake showed. Whom the node would
// answer is refused too on a connection of another authority: that is closed in
// a moment, and would take the answer with it, which may be that of a change.
func (g *gate) judge(method string, s session) (caller, *refusal) {
	id := g.identity()
	c, refused := g.judgeBy(id, method, s.State.PeerCertificates)
	if refused == nil && !s.authority.Equal(id.Clients) {
		refused = refuseChanged(s.authority)
	}
	return c, refused
}

// judgeBy decides for a peer that showed these certificates.
func (g *gate) judgeBy(id Identity, method string, chain []*x509.Certificate) (caller, *refusal) {
	r, known := g.rules[method]
	if id.Clients == nil {
		return id.Unconfigured.judge(method, r, known, chain, g.now())
	}
	if r.peer {
		c, _, refused := verifyPeer(method, chain, id.Clients, g.peers(), g.now())
		return c, refused
	}
	c, refused := id.verify(chain, g.now())
	if refused != nil {
		return c, refused
	}
	if !known {
		return c, refuse(ReasonNoSuchMethod, fmt.Sprintf("%s is not a method of this node's API: it may be of another version", method))
	}
	if !r.allows(c.roles) {
		return c, refuseWrongRole(method, r.roles, c)
	}
	return c, nil
}

// sessionOf returns what the TLS handshake showed. A connection without TLS has
// the zero session.
func sessionOf(ctx context.Context) session {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return session{}
	}
	s, _ := p.AuthInfo.(session)
	return s
}

// subjectOf is the common name of the caller of a method, whom the gate has
// verified; empty in maintenance mode.
func subjectOf(ctx context.Context) string {
	chain := sessionOf(ctx).State.PeerCertificates
	if len(chain) == 0 {
		return ""
	}
	return chain[0].Subject.CommonName
}

// addressesOf are the node's address by which a call came, and that of the caller.
// What is no TCP has none.
func addressesOf(ctx context.Context) (local, remote netip.Addr) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.Addr{}, netip.Addr{}
	}
	of := func(a net.Addr) netip.Addr {
		tcp, ok := a.(*net.TCPAddr)
		if !ok {
			return netip.Addr{}
		}
		return tcp.AddrPort().Addr().Unmap()
	}
	return of(p.LocalAddr), of(p.Addr)
}

type callerKey struct{}

// has tells whether the caller of a unary method, as the gate has verified him,
// has a role.
func has(ctx context.Context, role ClientRole) bool {
	c, _ := ctx.Value(callerKey{}).(caller)
	return slices.Contains(c.roles, role)
}

// MayLose tells whether the caller of a unary method may decide so that something is
// destroyed, as a rollback does. Who came by no gate may.
func MayLose(ctx context.Context) bool {
	_, gated := ctx.Value(callerKey{}).(caller)
	return !gated || has(ctx, RoleAdmin)
}

func (g *gate) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	arrivalOf(ctx).arrived()
	var resp any
	err := g.call(ctx, info.FullMethod, g.rules[info.FullMethod].acts, func(c caller) (err error) {
		ctx := context.WithValue(ctx, callerKey{}, c)
		if resp, err = handler(ctx, req); err != nil {
			return endedBy(ctx, err)
		}
		return nil
	})
	return resp, err
}

func (g *gate) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	timed := &timedStream{ServerStream: ss, stall: g.limits.StallTimeout, piece: g.limits.PieceTimeout}
	return g.call(ss.Context(), info.FullMethod, true, func(caller) error {
		return endedBy(ss.Context(), handler(srv, timed))
	})
}

// call lets one call through or not. With begin, the log has it before it is
// done, and not only when it has ended. What nodes repeat is counted there.
func (g *gate) call(ctx context.Context, method string, begin bool, do func(caller) error) error {
	arrivalOf(ctx).passed()
	defer g.follow(arrivalOf(ctx))()
	start := g.now()
	c, refused := g.admit(ctx, method)
	if refused != nil {
		g.recorder.refused(entryOf(ctx, method, c, start), refused)
		return refused
	}
	rule := g.rules[method]
	again := rule.peer && !rule.acts && !g.recorder.first(entryOf(ctx, method, c, start))
	if begin && !again {
		e := entryOf(ctx, method, c, start)
		e.Kind = audit.KindBegin
		g.recorder.record(e, rule.acts)
	}
	err := toStatus(do(c))
	e := entryOf(ctx, method, c, start)
	e.Took = g.now().Sub(start)
	e.Time = e.Time.Add(e.Took)
	e.Code = status.Code(err).String()
	if err != nil {
		e.Error = status.Convert(err).Message()
	}
	switch {
	case len(c.roles) == 0: // anybody, on a node without an owner
		g.recorder.unverified(e)
		return err
	case again && err == nil:
		g.recorder.repeated(e)
		return nil
	}
	g.recorder.record(e, rule.acts)
	if rule.acts && g.acted != nil {
		g.acted(method, c.subject, e.Code)
	}
	return err
}

// entryOf is what the audit log says of a call before its end is known.
func entryOf(ctx context.Context, method string, c caller, start time.Time) audit.Entry {
	e := audit.Entry{Kind: audit.KindCall, Time: start, Method: method, Subject: c.subject, Serial: c.serial, Roles: join(c.roles)}
	if p, ok := peer.FromContext(ctx); ok {
		e.Peer = p.Addr.String()
	}
	return e
}
