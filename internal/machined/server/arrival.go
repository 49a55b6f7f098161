package server

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/cyvive/cyvive/internal/audit"
)

// arrivals is what happens to a call before the gate sees it: gRPC calls a
// unary method's interceptor only once it has read the whole request. What
// never comes that far is limited, ended and recorded here.
type arrivals struct {
	limits    Limits
	now       func() time.Time
	recorder  *recorder
	subjects  *rates
	addresses *rates
	running   *running
}

func newArrivals(l Limits, now func() time.Time, r *recorder) *arrivals {
	return &arrivals{
		limits: l, now: now, recorder: r, running: newRunning(),
		subjects: newRates(l.CallsPerSecond, l.CallsBurst), addresses: newRates(l.UnverifiedPerSecond, l.UnverifiedBurst),
	}
}

// arrival is one call.
type arrival struct {
	method string
	holder string
	start  time.Time
	cancel context.CancelCauseFunc
	timer  *time.Timer
	gated  atomic.Bool
}

type arrivalKey struct{}

// arrivalOf returns the call's arrival, or nil for a call of a test that came
// without a connection.
func arrivalOf(ctx context.Context) *arrival {
	a, _ := ctx.Value(arrivalKey{}).(*arrival)
	return a
}

// arrived ends the time for the request. It may be called more than once.
func (a *arrival) arrived() {
	if a != nil && a.timer != nil {
		a.timer.Stop()
	}
}

// passed notes that the gate has the call, and records it.
func (a *arrival) passed() {
	if a != nil {
		a.gated.Store(true)
	}
}

// tap decides by the head of a request alone. It runs in the goroutine that
// reads the connection, and so must not wait.
func (s *arrivals) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	a := &arrival{method: info.FullMethodName, start: s.now()}
	who, verified := s.holder(ctx)
	limit, rates := s.limits.RunningPerAddress, s.addresses
	if verified {
		limit, rates = s.limits.RunningPerSubject, s.subjects
	}
	if sessionOf(ctx).node {
		limit = s.limits.RunningPerNode
	}
	a.holder = who
	switch {
	case strings.Count(a.method, "/") != 2 || a.method[0] != '/':
		return nil, s.refuse(ctx, a, codes.Unimplemented, fmt.Sprintf("%.100q is not of the form /SERVICE/METHOD", a.method))
	case !rates.allow(who, a.start):
		return nil, s.refuse(ctx, a, codes.ResourceExhausted, "too many calls: slow down")
	case s.running.of(who) >= limit:
		return nil, s.refuse(ctx, a, codes.ResourceExhausted, fmt.Sprintf("%d calls are under way already: end one first", limit))
	}
	ctx, a.cancel = context.WithCancelCause(ctx)
	return context.WithValue(ctx, arrivalKey{}, a), nil
}

// holder is who a call counts for, and whether that is a verified client.
func (s *arrivals) holder(ctx context.Context) (string, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", false
	}
	if info, ok := p.AuthInfo.(session); ok && info.subject != "" {
		return info.subject, true
	}
	return addressOf(p.Addr), false
}

func (s *arrivals) refuse(ctx context.Context, a *arrival, code codes.Code, message string) error {
	s.record(ctx, a, code, message)
	return status.Error(code, message)
}

// record notes a call that did not come to the gate. Even of verified clients
// only so many are written out: it is a flood that gets here.
func (s *arrivals) record(ctx context.Context, a *arrival, code codes.Code, message string) {
	e := audit.Entry{Kind: audit.KindCall, Time: s.now(), Took: s.now().Sub(a.start), Method: a.method, Code: code.String(), Error: message}
	if p, ok := peer.FromContext(ctx); ok {
		e.Peer = p.Addr.String()
		if info, ok := p.AuthInfo.(session); ok {
			e.Subject = info.subject
		}
	}
	s.recorder.unverified(e)
}

// TagRPC implements stats.Handler: the call has a goroutine from here to its
// End.
func (s *arrivals) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	if a := arrivalOf(ctx); a != nil {
		s.running.add(a.holder, 1)
		a.timer = time.AfterFunc(s.limits.RequestTimeout, func() {
			a.cancel(fmt.Errorf("the request did not arrive within %v", s.limits.RequestTimeout))
		})
	}
	return ctx
}

// HandleRPC implements stats.Handler.
func (s *arrivals) HandleRPC(ctx context.Context, event stats.RPCStats) {
	end, ok := event.(*stats.End)
	a := arrivalOf(ctx)
	if !ok || a == nil {
		return
	}
	a.arrived()
	s.running.add(a.holder, -1)
	if !a.gated.Load() {
		st := status.Convert(end.Error)
		message := st.Message()
		if cause := context.Cause(ctx); cause != nil && cause != ctx.Err() {
			message = cause.Error()
		}
		s.record(ctx, a, st.Code(), message)
	}
	a.cancel(nil)
}

// TagConn implements stats.Handler.
func (s *arrivals) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (s *arrivals) HandleConn(context.Context, stats.ConnStats) {}

// timedStream is a stream whose request must arrive, and whose messages the
// client must take, in time. Where the client sends several messages, the time
// of the request is that of the first, and each other has a time of its own.
type timedStream struct {
	grpc.ServerStream
	stall, piece time.Duration
	begun        bool // of the one goroutine that receives
}

// RecvMsg implements grpc.ServerStream.
func (s *timedStream) RecvMsg(m any) error {
	a := arrivalOf(s.Context())
	if a != nil && s.begun {
		timer := time.AfterFunc(s.piece, func() {
			a.cancel(fmt.Errorf("the next message did not arrive within %v", s.piece))
		})
		defer timer.Stop()
	}
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.begun = true
		a.arrived()
	}
	return s.cause(err)
}

// SendMsg implements grpc.ServerStream.
func (s *timedStream) SendMsg(m any) error {
	a := arrivalOf(s.Context())
	if a == nil {
		return s.ServerStream.SendMsg(m)
	}
	timer := time.AfterFunc(s.stall, func() {
		a.cancel(fmt.Errorf("the client did not take a message within %v", s.stall))
	})
	defer timer.Stop()
	return s.cause(s.ServerStream.SendMsg(m))
}

// cause makes an error of one's own time limits say so.
func (s *timedStream) cause(err error) error {
	if cause := context.Cause(s.Context()); err != nil && cause != nil && cause != s.Context().Err() {
		return status.Error(codes.DeadlineExceeded, cause.Error())
	}
	return err
}
