package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
)

// client asks servers over HTTP, one request a connection.
type client struct {
	http    *http.Client
	timeout time.Duration
}

const (
	// dialTimeout is enough for a connection anywhere.
	dialTimeout = 3 * time.Second
	// maxHeaderBytes bounds the header of an answer.
	maxHeaderBytes = 64 << 10
)

// newClient returns a client that uses no proxy and follows no redirect: a metadata service has neither, and a URL that was pinned leads to one
// place.
func newClient(timeout time.Duration, secure *tls.Config) *client {
	return &client{
		http: &http.Client{
			Transport: &http.Transport{
				DialContext:     (&net.Dialer{Timeout: min(dialTimeout, timeout)}).DialContext,
				TLSClientConfig: secure, DisableCompression: true, MaxResponseHeaderBytes: maxHeaderBytes,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout: timeout,
	}
}

// answer is a server's 200, or its word that it has nothing under the URL.
type answer struct {
	header http.Header
	body   []byte
	// none is set for 404, 204 and a body of nothing or white space, and there is no body then.
	none bool
}

// ask sends one request. The error is of type *trouble unless ctx ended.
func (c *client) ask(ctx context.Context, method, url string, header map[string]string) (*answer, error) {
	at, _, _ := strings.Cut(url, "?")
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(limited, method, url, nil)
	if err != nil {
		return nil, &trouble{reason: at + ": it is no URL"}
	}
	request.Header.Set("User-Agent", "cyvive")
	for name, value := range header {
		request.Header.Set(name, value)
	}
	defer c.http.CloseIdleConnections()
	response, err := c.http.Do(request)
	if err == nil {
		defer response.Body.Close()
		var a *answer
		if a, err = read(response); err == nil {
			// Whoever learns that the connection is being closed may end an answer that it never began.
			if err = limited.Err(); err == nil {
				return a, nil
			}
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var t *trouble
	if !errors.As(err, &t) {
		t = c.connection(err)
	}
	t.reason = at + ": " + t.reason
	return nil, t
}

// read judges an answer by its status, and takes the body of a good one.
func read(response *http.Response) (*answer, error) {
	a := &answer{header: response.Header}
	switch status := response.StatusCode; {
	case status == http.StatusNotFound || status == http.StatusNoContent:
		a.none = true
		return a, nil
	case status >= 300 && status < 400:
		return nil, &trouble{reason: fmt.Sprintf("it answers with a redirect to %.200q, which is not followed", response.Header.Get("Location"))}
	case status != http.StatusOK:
		return nil, &trouble{
			reason: "it answers " + statusText(status), status: status, passing: passing(status),
			after: retryAfter(response.Header.Get("Retry-After"), time.Now()),
		}
	case response.ContentLength > maxRawBytes:
		return nil, tooLarge()
	case response.ContentLength < 0 && len(response.TransferEncoding) == 0:
		return nil, &trouble{reason: "the answer does not say how long it is, so that one that was cut off could not be told from a whole one"}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRawBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxRawBytes {
		return nil, tooLarge()
	}
	if a.none = len(bytes.TrimSpace(body)) == 0; !a.none {
		a.body = body
	}
	return a, nil
}

func tooLarge() *trouble {
	return &trouble{reason: fmt.Sprintf("the answer has more than %d bytes, and a configuration may have %d", maxRawBytes, config.MaxBytes)}
}
