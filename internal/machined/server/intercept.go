package server

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// gate stands before every handler: it verifies the caller, looks the method
// up, and writes one line of audit per call.
type gate struct {
	identity func() Identity
	now      func() time.Time
	rules    map[string]rule // never changed
	log      *slog.Logger
}

// admit decides about one call. The caller is filled as far as it is known,
// also with a refusal.
func (g *gate) admit(ctx context.Context, method string) (caller, *refusal) {
	r, known := g.rules[method]
	authority := g.identity().Clients
	if authority == nil {
		if known && r.maintenance {
			return caller{}, nil
		}
		return caller{}, refuse(ReasonMaintenance, fmt.Sprintf("%s is not available: the node is in maintenance mode, because it has no valid configuration; its health says what is wrong", method))
	}
	c, refused := verify(peerChain(ctx), authority, g.now())
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
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	return info.State.PeerCertificates
}

func (g *gate) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	start := g.now()
	c, refused := g.admit(ctx, info.FullMethod)
	if refused != nil {
		g.audit(ctx, info.FullMethod, c, start, refused)
		return nil, refused
	}
	resp, err := handler(ctx, req)
	err = toStatus(err)
	g.audit(ctx, info.FullMethod, c, start, err)
	return resp, err
}

func (g *gate) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	start := g.now()
	c, refused := g.admit(ss.Context(), info.FullMethod)
	if refused != nil {
		g.audit(ss.Context(), info.FullMethod, c, start, refused)
		return refused
	}
	err := toStatus(handler(srv, ss))
	g.audit(ss.Context(), info.FullMethod, c, start, err)
	return err
}

// audit writes what was called, by whom and how it ended.
func (g *gate) audit(ctx context.Context, method string, c caller, start time.Time, err error) {
	attrs := []slog.Attr{
		slog.String("method", method),
		slog.String("code", status.Code(err).String()),
		slog.Duration("took", g.now().Sub(start)),
		slog.String("subject", c.subject),
		slog.String("roles", join(c.roles)),
	}
	if c.serial != "" {
		attrs = append(attrs, slog.String("serial", c.serial))
	}
	if p, ok := peer.FromContext(ctx); ok {
		attrs = append(attrs, slog.String("peer", p.Addr.String()))
	}
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	g.log.LogAttrs(ctx, level, "api call", attrs...)
}
