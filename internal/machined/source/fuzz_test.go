package source

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/cyvive/cyvive/internal/machined/boot/cmdline"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// FuzzAnswer lets servers of all platforms, and one of a URL, answer every request with the same bytes.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nMetadata-Flavor: Google\r\n\r\na: "))
	f.Add([]byte("HTTP/1.1 429 Slow\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := newClient(time.Second, nil)
		c.http.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				if request, err := http.ReadRequest(bufio.NewReader(far)); err == nil && request != nil {
					_, _ = far.Write(raw) // the client may have seen enough
				}
			}()
			return near, nil
		}
		check := func(doc []byte, err error) {
			if len(doc) > config.MaxBytes || doc != nil && err != nil {
				t.Errorf("%d bytes and %v", len(doc), err)
			}
			if err != nil && strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("an error that a terminal would take for orders: %q", err)
			}
		}
		for _, p := range platforms() {
			doc, err := p.find(t.Context(), c, []string{"http://metadata.example"})
			if doc == nil {
				check(nil, err)
				continue
			}
			check(doc.Data, err)
		}
		if a, err := c.ask(t.Context(), http.MethodGet, "http://a/", nil); err == nil && a.none != (a.body == nil) {
			t.Errorf("it has nothing: %t, and %d bytes", a.none, len(a.body))
		}
	})
}

// FuzzDocument: what a place holds is bounded, and wrapping it in base64 changes nothing.
func FuzzDocument(f *testing.F) {
	f.Add([]byte("apiVersion: cyvive.dev/v1alpha1\n"))
	f.Add([]byte("#cloud-config\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := document("place", data)
		if (doc == nil) == (err == nil) {
			t.Fatalf("got %v and %v", doc, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "place: ") {
			t.Errorf("the error names no place: %v", err)
		}
		if doc != nil && (len(doc.Data) > config.MaxBytes || foreign(doc.Data) != "") {
			t.Errorf("%d bytes are taken, of the form %q", len(doc.Data), foreign(doc.Data))
		}
		_, already := unwrapped(data)
		if already || !bytes.HasPrefix(data, gzipMagic) && !bytes.Contains(data, []byte(group)) {
			return
		}
		again, err2 := document("place", []byte(base64.StdEncoding.EncodeToString(data)))
		if (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(doc.Data, again.Data) {
			t.Errorf("in base64: %v, and without: %v", err2, err)
		}
	})
}

// FuzzOEMStrings: no string is made up, and none is lost behind what the kernel can read.
func FuzzOEMStrings(f *testing.F) {
	f.Add([]byte{11, 5, 0, 11, 1, 'a', 0, 'b', 0, 0, 127, 4, 0, 1, 0, 0})
	f.Add([]byte{1, 4, 0, 0, 0, 0, 11, 200, 0, 0})
	f.Fuzz(func(t *testing.T, table []byte) {
		total := 0
		for _, text := range oemStrings(table) {
			total += len(text) + 1
			if !bytes.Contains(table, append([]byte(text), 0)) {
				t.Errorf("the table has no string %q", text)
			}
		}
		if total > len(table) {
			t.Errorf("strings of %d bytes in a table of %d", total, len(table))
		}
		whole := append([]byte{11, 4, 0, 0, 'x', 0, 0}, table...)
		if got := oemStrings(whole); len(got) == 0 || got[0] != "x" {
			t.Errorf("the first string is lost: %q", got)
		}
	})
}

// FuzzURL: a URL that is taken has a host and a pin, and is one line without what is for the server only.
func FuzzURL(f *testing.F) {
	f.Add("cyvive.config=https://a/?b cyvive.config.spki=" + strings.Repeat("0", 64))
	f.Add("cyvive.config=http://[::1%25eth0]:80/ cyvive.config.sha256=" + strings.Repeat("f", 64))
	f.Fuzz(func(t *testing.T, line string) {
		p, err := parseURL(cmdline.Parse(line))
		if err != nil || p == nil {
			return
		}
		if p.sum == nil && p.key == nil || p.url.Scheme == "http" && p.sum == nil || p.url.Hostname() == "" || strings.Contains(p.at(), "?") {
			t.Errorf("taken: %+v", p)
		}
		request, err := http.NewRequest(http.MethodGet, p.url.String(), nil)
		if err == nil && (request.URL.Scheme != p.url.Scheme || request.URL.Hostname() != p.url.Hostname()) {
			t.Errorf("%s is asked for %s", request.URL, p.url)
		}
	})
}

func TestOEMStrings(t *testing.T) {
	table := []byte{
		1, 6, 0, 0, 11, 4, 'Q', 0, 'd', 0, 0, // another structure, with what looks like one in its formatted part
		11, 5, 1, 0, 2, 'a', '=', '1', 0, 'b', 0, 0,
		3, 4, 2, 0, 0, 0, // without strings
		11, 4, 3, 0, 'c', 0, 0,
		127, 4, 4, 0, 0, 0,
		11, 4, 5, 0, 'z', 0, 0,
	}
	if got := strings.Join(oemStrings(table), " "); got != "a=1 b c" {
		t.Errorf("got %q", got)
	}
	for cut := range table[:30] {
		if got := strings.Join(oemStrings(table[:cut]), " "); !strings.HasPrefix("a=1 b c", got) {
			t.Errorf("cut at %d: got %q", cut, got)
		}
	}
}

// TestOneOEMString: which of two is meant cannot be told.
func TestOneOEMString(t *testing.T) {
	sys := t.TempDir()
	write := func(table string) {
		writeFile(t, sys+"/firmware/dmi/tables/DMI", table)
	}
	write("\x0b\x04\x00\x00dev.cyvive.config=a: 1\x00dev.cyvive.config=b: 2\x00\x00\x7f\x04\x01\x00\x00\x00")
	if doc, err := (oemString{sys}).Find(t.Context()); doc != nil || err == nil || !strings.Contains(err.Error(), "2 OEM strings begin with dev.cyvive.config=, expected one") {
		t.Errorf("got %v, %v", doc, err)
	}
	write("\x0b\x04\x00\x00dev.cyvive.configs=a: 1\x00\x00\x7f\x04\x01\x00\x00\x00")
	if doc, err := (oemString{sys}).Find(t.Context()); doc != nil || err != nil {
		t.Errorf("with another name: got %v, %v", doc, err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(1999, 12, 31, 23, 59, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "301": maxAfter, "4294967295": maxAfter, "4294967296": 0, "-1": 0, "1.5": 0, "soon": 0,
		"Fri, 31 Dec 1999 23:59:59 GMT": 59 * time.Second, "Fri, 31 Dec 1999 23:58:59 GMT": 0, "Sat, 31 Dec 2099 23:59:59 GMT": maxAfter,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// TestOneConnection: no proxy of the environment is used, and no connection stays open.
func TestOneConnection(t *testing.T) {
	states := make(chan http.ConnState, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" || r.Header.Get("X-Forwarded-For") != "" {
			t.Errorf("header %v", r.Header)
		}
		_, _ = w.Write([]byte("a: 1"))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) { states <- state }
	server.Start()
	defer server.Close()
	c := newClient(10*time.Second, nil)
	if c.http.Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy may be used")
	}
	if _, err := c.ask(t.Context(), http.MethodGet, server.URL, nil); err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(20 * time.Second); ; {
		select {
		case state := <-states:
			if state == http.StateClosed {
				return
			}
		case <-deadline:
			t.Fatal("the connection stays open")
		}
	}
}

// TestReasons: what is not of the server's making has no addresses in it, and says whether it passes.
func TestReasons(t *testing.T) {
	c := newClient(7*time.Second, nil)
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, test := range []struct {
		err  error
		want string
	}{
		{dial(&net.DNSError{Err: "no such host", Name: "a", IsNotFound: true}), "there is no such name"},
		{dial(&net.DNSError{Err: "read udp 10.0.0.1:4711->10.0.0.2:53: read: connection refused", Name: "a"}), "the name cannot be looked up"},
		{dial(&net.DNSError{Err: "i/o timeout", Name: "a", IsTimeout: true}), "the name cannot be looked up"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: handshake failure")}, "tls: handshake failure"},
		{errors.New("tls: server selected unsupported protocol version 301"), "tls: server selected unsupported protocol version 301"},
		{errors.New("malformed MIME header line: key: c2VjcmV0"), "the answer is no proper HTTP"},
	} {
		got := c.connection(test.err)
		if got.reason != test.want || !got.passing {
			t.Errorf("%v: got %q, passing %t, want %q", test.err, got.reason, got.passing, test.want)
		}
	}
}
