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
	"net/url"
	"os"
	"strconv"
	"time"
)

// trouble is why a server did not give what it was asked for.
type trouble struct {
	// class is one of the package's errors.
	class error
	// reason is for a person, and names neither URL nor addresses of this machine.
	reason string
	// passing says that it may be otherwise soon, after is for how long the server wants to be left alone.
	passing bool
	after   time.Duration
}

func (t *trouble) Error() string { return t.class.Error() + ": " + t.reason }
func (t *trouble) Unwrap() error { return t.class }

func troublef(class error, format string, args ...any) *trouble {
	return &trouble{class: class, reason: fmt.Sprintf(format, args...)}
}

// errStalled ends an answer that brings nothing more.
var errStalled = errors.New("too slow")

// maxAfter bounds the time that a server can ask the node to stay away.
const maxAfter = 30 * time.Second

// statusTrouble judges an answer that is no success.
func statusTrouble(r *http.Response) *trouble {
	text := strconv.Itoa(r.StatusCode)
	if words := http.StatusText(r.StatusCode); words != "" {
		text += " " + words
	}
	t := troublef(ErrServer, "it answers %s", text)
	switch r.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		t.class = ErrNone
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusUnavailableForLegalReasons:
		t.class = ErrRefused
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		t.passing = true
		if seconds, err := strconv.ParseUint(r.Header.Get("Retry-After"), 10, 32); err == nil {
			t.after = min(time.Duration(seconds)*time.Second, maxAfter)
		}
	}
	return t
}

// connectionTrouble says what became of a connection. What net/http says may hold the URL with its query, so only known errors are told.
func (c *client) connectionTrouble(err error) *trouble {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	var known *trouble
	if errors.As(err, &known) {
		return known
	}
	t := &trouble{class: ErrServer, passing: !lasting(err)}
	var dns *net.DNSError
	var timeout net.Error
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case !t.passing && errors.As(err, &certificate):
		t.reason = "its certificate is not one of the authority in upgrade.sources: " + certificateText(certificate)
	case !t.passing:
		t.reason = err.Error()
	case errors.Is(err, errStalled):
		t.reason = fmt.Sprintf("less than %d bytes came in %s", stallBytes, c.Timeouts.Stall)
	case errors.As(err, &dns) && dns.IsNotFound:
		t.reason, t.passing = "there is no host of this name", false
	case errors.As(err, &dns):
		t.reason = "the name of its host cannot be looked up"
	case errors.As(err, &op) && op.Op == "dial" && op.Timeout():
		t.reason = "no connection in " + c.Timeouts.Dial.String()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		t.reason = "no answer in " + c.Timeouts.Header.String()
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		t.reason, t.passing = "it does not speak TLS; is it http?", false
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		t.reason = "the answer was cut off"
	case errors.As(err, &op):
		t.reason = "the connection failed: " + operation(op)
	default:
		t.reason = "the answer is no proper HTTP"
	}
	return t
}

func certificateText(err *tls.CertificateVerificationError) string {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err.Err, &invalid) && invalid.Reason == x509.Expired:
		return "it is not valid at this time, by the node's clock"
	case errors.As(err.Err, &x509.HostnameError{}):
		return "it is for another host"
	}
	return "another has signed it"
}

func operation(op *net.OpError) string {
	var call *os.SyscallError
	if errors.As(op.Err, &call) {
		return call.Err.Error()
	}
	return op.Err.Error()
}
