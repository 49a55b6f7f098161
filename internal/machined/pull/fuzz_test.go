package pull

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
)

// FuzzAnswer lets a server answer every request with the same bytes: a web server for a file, and a registry for all that it is asked.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/5\r\n\r\nllo"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, text := range []string{"http://192.0.2.1/f?secret", "oci+http://192.0.2.1/node:1"} {
			s, err := ParseSource(text)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			limits := Timeouts{Dial: time.Second, Header: time.Second, Small: time.Second, Stall: time.Second, FirstPause: time.Nanosecond}
			r, err := NewReader(ctx, Config{Architecture: "amd64", Timeouts: limits}, s, "", func(Progress) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			r.client.http.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
				near, far := net.Pipe()
				go func() {
					defer far.Close()
					if _, err := http.ReadRequest(bufio.NewReader(far)); err == nil {
						_, _ = far.Write(raw)
					}
				}()
				return near, nil
			}
			data, err := io.ReadAll(io.LimitReader(r, 1<<20))
			if err == nil && len(data) > maxFailures*len(raw) {
				t.Errorf("%d bytes came of answers of %d", len(data), len(raw))
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || strings.ContainsFunc(err.Error(), unicode.IsControl)) {
				t.Errorf("the error is %q", err)
			}
			cancel()
			_ = r.Close()
		}
	})
}
