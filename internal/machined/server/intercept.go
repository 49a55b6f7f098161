package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
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
	acted    func(method, subject, code string)

	mu sync.Mutex
	// unconfigured are calls under way that began while the node had no
	// configuration.
	unconfigured map[*arrival]bool
}

// follow has a call end with words when the node gets its configuration, unless
// it has ended before: the caller calls what is returned then.
func (g *gate) follow(a *arrival) (ended func()) {
	if a == nil || g.identity().Clients != nil {
		return func() {}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unconfigured == nil {
		g.unconfigured = map[*arrival]bool{}
	}
	g.unconfigured[a] = true
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.unconfigured, a)
	}
}

// configured ends the calls that are followed.
func (g *gate) configured() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for a := range g.unconfigured {
		a.cancel(refuse(ReasonConfigured, "the node has its configuration now, and maintenance mode has ended: "+
			"connect again, with a certificate of that configuration's authority"))
	}
	g.unconfigured = nil
}

// admit decides about one call. The caller is filled as far as it is known,
// also with a refusal.
func (g *gate) admit(ctx context.Context, method string) (caller, *refusal) {
	return g.judge(method, peerChain(ctx))
}

// judge decides for a peer that showed these certificates.
func (g *gate) judge(method string, chain []*x509.Certificate) (caller, *refusal) {
	r, known := g.rules[method]
	id := g.identity()
	if id.Clients == nil {
		return id.Unconfigured.judge(method, r, known, chain, g.now())
	}
	c, refused := id.verify(chain, g.now())
	if refused != nil {
		return c, refused
	}
	if !known {
		return c, refuse(ReasonNoSuchMethod, fmt.Sprintf("%s is not a method of this node's API: it may be of another version", method))
	}
	if !r.allows(c.roles) {
		return c, refuse(ReasonWrongRole, fmt.Sprintf("%s needs one of the roles %s, and the client certificate %q has %s", method, join(r.roles), c.subject, join(c.roles)))
	}
	return c, nil
}

// peerChain returns the certificates the peer showed in the TLS handshake. A
// connection without TLS has none.
func peerChain(ctx context.Context) []*x509.Certificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(session)
	if !ok {
		return nil
	}
	return info.State.PeerCertificates
}

// subjectOf is the common name of the caller of a method, whom the gate has
// verified; empty in maintenance mode.
func subjectOf(ctx context.Context) string {
	chain := peerChain(ctx)
	if len(chain) == 0 {
		return ""
	}
	return chain[0].Subject.CommonName
}

func (g *gate) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	arrivalOf(ctx).arrived()
	var resp any
	err := g.call(ctx, info.FullMethod, g.rules[info.FullMethod].acts, func() (err error) {
		resp, err = handler(ctx, req)
		return err
	})
	return resp, err
}

func (g *gate) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	timed := &timedStream{ServerStream: ss, stall: g.limits.StallTimeout, piece: g.limits.PieceTimeout}
	return g.call(ss.Context(), info.FullMethod, true, func() error {
		err := handler(srv, timed)
		if ended, ok := errors.AsType[*refusal](context.Cause(ss.Context())); ok {
			return ended
		}
		return err
	})
}

// call lets one call through or not. With begin, the log has it before it is
// done, and not only when it has ended.
func (g *gate) call(ctx context.Context, method string, begin bool, do func() error) error {
	arrivalOf(ctx).passed()
	defer g.follow(arrivalOf(ctx))()
	start := g.now()
	c, refused := g.admit(ctx, method)
	if refused != nil {
		g.recorder.refused(entryOf(ctx, method, c, start), refused)
		return refused
	}
	if begin {
		e := entryOf(ctx, method, c, start)
		e.Kind = audit.KindBegin
		g.recorder.record(e, g.rules[method].acts)
	}
	err := toStatus(do())
	e := entryOf(ctx, method, c, start)
	e.Took = g.now().Sub(start)
	e.Time = e.Time.Add(e.Took)
	e.Code = status.Code(err).String()
	if err != nil {
		e.Error = status.Convert(err).Message()
	}
	if len(c.roles) == 0 { // anybody, on a node without an owner
		g.recorder.unverified(e)
		return err
	}
	g.recorder.record(e, g.rules[method].acts)
	if g.rules[method].acts && g.acted != nil {
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
