// Package conntrack stands in for github.com/mwitkow/go-conntrack in the programs
// of the image (see replace in images/go.mod). CoreDNS links it by way of
// Prometheus's HTTP client, which dials through it.
//
// The original counts and traces connections. Its trace is a page of
// golang.org/x/net/trace, made by html/template, which calls methods by name, so
// that the linker must keep every exported method of every type: CoreDNS takes
// 55 MB with it and 35 MB without.
package conntrack

import (
	"context"
	"net"
)

// DialContext is how http.Transport dials.
type DialContext = func(ctx context.Context, network, address string) (net.Conn, error)

type dialer struct{ dial DialContext }

// Option is an option of NewDialContextFunc.
type Option func(*dialer)

// DialWithDialContextFunc has dial make the connections.
func DialWithDialContextFunc(dial DialContext) Option { return func(d *dialer) { d.dial = dial } }

// DialWithTracing does nothing: there are no traces.
func DialWithTracing() Option { return func(*dialer) {} }

// DialWithName does nothing: there are no counters to name.
func DialWithName(string) Option { return func(*dialer) {} }

// NewDialContextFunc returns the function of DialWithDialContextFunc, or that of a
// net.Dialer.
func NewDialContextFunc(options ...Option) DialContext {
	d := dialer{dial: (&net.Dialer{}).DialContext}
	for _, o := range options {
		o(&d)
	}
	return d.dial
}
