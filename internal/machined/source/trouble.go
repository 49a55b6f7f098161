package source

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// trouble is why a server gave no answer that serves.
type trouble struct {
	// reason begins with the URL, without its query.
	reason string
	// status is that of an answer which is no success, else 0.
	status int
	// passing says that it should end by itself.
	passing bool
	// after is how long the server wants to be left alone, if it says so.
	after time.Duration
	// unreached says that no connection came about, so that another address may be tried.
	unreached bool
}

func (t *trouble) Error() string { return t.reason }

// passing tells whether a server that answers so may do better later. 410 is Azure's word for it.
func passing(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusGone:
		return true
	}
	return status >= 500
}

func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return strconv.Itoa(status) + " " + text
	}
	return strconv.Itoa(status)
}

// retryAfter reads the field Retry-After (RFC 9110 section 10.2.3), a number of seconds or a date; zero is none.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxAfter)
	}
	if date, err := http.ParseTime(text); err == nil {
		return min(max(date.Sub(now), 0), maxAfter)
	}
	return 0
}

// connection says what became of a connection, in words without addresses and ports of this machine, which differ each time.
func (c *client) connection(err error) *trouble {
	t := &trouble{passing: true}
	var timeout net.Error
	var dns *net.DNSError
	var op *net.OpError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		t.reason = "there is no such name"
	case errors.As(err, &dns):
		t.reason = "the name cannot be looked up"
	case errors.As(err, &timeout) && timeout.Timeout():
		t.reason = "no answer in " + c.timeout.String()
		if t.unreached = errors.As(err, &op) && op.Op == "dial"; t.unreached {
			t.reason = "no connection in " + min(dialTimeout, c.timeout).String()
		}
	case errors.Is(err, errOtherKey):
		t.reason, t.passing = errOtherKey.Error(), false
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		t.reason = "the answer is no TLS"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		t.reason = "the answer was cut off"
	case errors.As(err, &op):
		t.reason, t.unreached = operation(op), op.Op == "dial"
	case strings.HasPrefix(innermost(err).Error(), "tls: "):
		t.reason = innermost(err).Error()
	default:
		// What net/http says of such an answer may be a line of it.
		t.reason = "the answer is no proper HTTP"
	}
	return t
}

func operation(op *net.OpError) string {
	var call *os.SyscallError
	if errors.As(op.Err, &call) {
		return call.Err.Error()
	}
	return op.Err.Error()
}

func innermost(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}
