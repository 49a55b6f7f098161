package pull

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// content is a file that takes several reads and words of progress.
func content() []byte {
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i * 7 / 3)
	}
	return data
}

// web is a server that has one file, and does with each request what the next of its steps says; without steps it answers as it should.
type web struct {
	*httptest.Server
	data []byte
	etag string

	mu       sync.Mutex
	steps    []http.HandlerFunc
	requests []string
}

func newWeb(t *testing.T, start func(*httptest.Server), steps ...http.HandlerFunc) *web {
	t.Helper()
	w := &web{data: content(), etag: `"one"`, steps: steps}
	w.Server = httptest.NewUnstartedServer(w)
	w.Config.ErrorLog = nil
	start(w.Server)
	t.Cleanup(w.Close)
	return w
}

func plain(s *httptest.Server)  { s.Start() }
func secure(s *httptest.Server) { s.StartTLS() }

// ServeHTTP implements http.Handler.
func (w *web) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.requests = append(w.requests, strings.TrimSpace(fmt.Sprint(r.Method, " ", r.URL.RequestURI(), " ", r.Header.Get("Range"), " ", r.Header.Get("If-Range"))))
	var step http.HandlerFunc
	if len(w.steps) > 0 {
		step, w.steps = w.steps[0], w.steps[1:]
	}
	w.mu.Unlock()
	if step != nil {
		step(out, r)
		return
	}
	w.serve(out, r)
}

// serve answers as documented: with ranges, and by If-Range.
func (w *web) serve(out http.ResponseWriter, r *http.Request) {
	out.Header().Set("ETag", w.etag)
	out.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(w.data))
}

// cut answers as it should, until so many bytes are out.
func (w *web) cut(after int) http.HandlerFunc {
	return func(out http.ResponseWriter, r *http.Request) {
		w.serve(&cutWriter{out, after}, r)
	}
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

func status(code int, header ...string) http.HandlerFunc {
	return func(out http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			out.Header().Set(header[i], header[i+1])
		}
		out.WriteHeader(code)
	}
}

func (w *web) asked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests
}

func quick() Timeouts {
	return Timeouts{Dial: 5 * time.Second, Header: 2 * time.Second, Small: 5 * time.Second, Stall: 400 * time.Millisecond, FirstPause: time.Millisecond}
}

// fetched is what came of a pull.
type fetched struct {
	data  []byte
	err   error
	waits []string
	last  Progress
}

func fetch(t *testing.T, ctx context.Context, cfg Config, source, sum string) fetched {
	t.Helper()
	if cfg.Timeouts == (Timeouts{}) {
		cfg.Timeouts = quick()
	}
	s, err := ParseSource(source)
	if err != nil {
		t.Fatal(err)
	}
	var f fetched
	r, err := NewReader(ctx, cfg, s, sum, func(p Progress) error {
		if p.Waiting != "" {
			f.waits = append(f.waits, p.Waiting)
		}
		if p.Bytes < f.last.Bytes {
			t.Errorf("it goes back from %d bytes to %d", f.last.Bytes, p.Bytes)
		}
		f.last = p
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f.data, f.err = io.ReadAll(r)
	if got := r.Err(); !errors.Is(got, f.err) && f.err != got {
		t.Errorf("Err is %v, and Read said %v", got, f.err)
	}
	return f
}

func TestWebFile(t *testing.T) {
	w := newWeb(t, plain)
	sum := sha256.Sum256(w.data)
	f := fetch(t, t.Context(), Config{}, w.URL+"/r.cyvive?token=hunter2", hex.EncodeToString(sum[:]))
	if f.err != nil || !bytes.Equal(f.data, w.data) || len(f.waits) > 0 {
		t.Errorf("%d bytes, %v, waits %q", len(f.data), f.err, f.waits)
	}
	if want := (Progress{Bytes: int64(len(w.data)), TotalBytes: int64(len(w.data))}); f.last != want {
		t.Errorf("the last progress is %+v, want %+v", f.last, want)
	}
	if d := cmp.Diff([]string{"GET /r.cyvive?token=hunter2"}, w.asked()); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
	f = fetch(t, t.Context(), Config{}, w.URL+"/r.cyvive?token=hunter2", strings.Repeat("0", 64))
	if !errors.Is(f.err, ErrUnfit) || !strings.Contains(f.err.Error(), hex.EncodeToString(sum[:])) || strings.Contains(f.err.Error(), "hunter2") {
		t.Errorf("of another SHA-256: %v", f.err)
	}
}

// TestGoesOn: whatever happens to a connection, the file is whole in the end, and nothing is fetched twice that need not be.
func TestGoesOn(t *testing.T) {
	noRanges := func(w *web) http.HandlerFunc {
		return func(out http.ResponseWriter, _ *http.Request) { _, _ = out.Write(w.data) }
	}
	for name, test := range map[string]struct {
		steps func(*web) []http.HandlerFunc
		want  []string // the requests
		wait  string
	}{
		"cut twice": {
			func(w *web) []http.HandlerFunc { return []http.HandlerFunc{w.cut(1 << 20), w.cut(1 << 20)} },
			[]string{"GET /f", `GET /f bytes=1048576- "one"`, `GET /f bytes=2097152- "one"`}, "the answer was cut off; try 2 of 5 in 1ms",
		},
		"no ranges": {
			func(w *web) []http.HandlerFunc { return []http.HandlerFunc{w.cut(2 << 20), noRangesOf(w)} },
			[]string{"GET /f", `GET /f bytes=2097152- "one"`}, "the answer was cut off",
		},
		"busy at first": {
			func(*web) []http.HandlerFunc {
				return []http.HandlerFunc{status(503), status(429, "Retry-After", "0"), status(502)}
			},
			[]string{"GET /f", "GET /f", "GET /f", "GET /f"}, "it answers 503 Service Unavailable; try 2 of 5 in 1ms",
		},
		"hangs": {
			func(w *web) []http.HandlerFunc {
				return []http.HandlerFunc{func(out http.ResponseWriter, r *http.Request) {
					out.Header().Set("Content-Length", fmt.Sprint(len(w.data)))
					out.Header().Set("ETag", w.etag)
					_, _ = out.Write(w.data[:1<<20])
					out.(http.Flusher).Flush()
					<-r.Context().Done()
				}}
			},
			[]string{"GET /f", `GET /f bytes=1048576- "one"`}, "less than 65536 bytes came in 400ms",
		},
		"redirected": {
			func(*web) []http.HandlerFunc { return []http.HandlerFunc{status(302, "Location", "/g?x=1")} },
			[]string{"GET /f", "GET /g?x=1"}, "",
		},
		"a length of its own": {noRangesStep(noRanges), []string{"GET /f"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWeb(t, plain)
			w.steps = test.steps(w)
			f := fetch(t, t.Context(), Config{}, w.URL+"/f", "")
			if f.err != nil || !bytes.Equal(f.data, w.data) {
				t.Fatalf("%d bytes of %d, %v", len(f.data), len(w.data), f.err)
			}
			if d := cmp.Diff(test.want, w.asked()); d != "" {
				t.Errorf("requests (-want +got):\n%s", d)
			}
			if (len(f.waits) == 0) != (test.wait == "") || !strings.Contains(strings.Join(f.waits, "\n"), test.wait) {
				t.Errorf("it waits for %q, want %q", f.waits, test.wait)
			}
		})
	}
}

// noRangesOf answers with the whole file, whatever is asked for.
func noRangesOf(w *web) http.HandlerFunc {
	return func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("ETag", w.etag)
		out.Header().Set("Content-Length", fmt.Sprint(len(w.data)))
		_, _ = out.Write(w.data)
	}
}

func noRangesStep(of func(*web) http.HandlerFunc) func(*web) []http.HandlerFunc {
	return func(w *web) []http.HandlerFunc { return []http.HandlerFunc{of(w)} }
}

// TestGivesUp: each way in which a server gives no release, with the class and the words for it.
func TestGivesUp(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	repeat := func(step http.HandlerFunc) []http.HandlerFunc {
		return []http.HandlerFunc{step, step, step, step, step, step, step, step}
	}
	dribble := func(out http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = out.Write([]byte("x"))
			out.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}
	ranged := func(value string) http.HandlerFunc {
		return func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Range", value)
			out.WriteHeader(http.StatusPartialContent)
			_, _ = out.Write([]byte("rest"))
		}
	}
	for name, test := range map[string]struct {
		steps func(*web) []http.HandlerFunc
		class error
		words string
		tries int
	}{
		"nothing there": {func(*web) []http.HandlerFunc { return repeat(status(404)) }, ErrNone, "it answers 404 Not Found", 1},
		"forbidden":     {func(*web) []http.HandlerFunc { return repeat(status(403)) }, ErrRefused, "it answers 403 Forbidden", 1},
		"wants a name": {
			func(*web) []http.HandlerFunc { return repeat(status(401, "WWW-Authenticate", `Basic realm="x"`)) }, ErrRefused, "it wants to know who asks", 1,
		},
		"always busy": {func(*web) []http.HandlerFunc { return repeat(status(503)) }, ErrServer, "given up after 5 tries: cannot be fetched now: it answers 503", 5},
		"a loop": {
			func(*web) []http.HandlerFunc { return repeat(status(302, "Location", "/f")) }, ErrServer, "more than 5 redirects", 6,
		},
		"a redirect to a file": {
			func(*web) []http.HandlerFunc { return repeat(status(302, "Location", "file:///etc/shadow")) }, ErrServer, "something else than http or https", 1,
		},
		"slow": {func(*web) []http.HandlerFunc { return repeat(dribble) }, ErrServer, "given up after 5 tries: cannot be fetched now: less than 65536 bytes came in 400ms", 5},
		"the wrong length": {
			func(w *web) []http.HandlerFunc {
				return []http.HandlerFunc{func(out http.ResponseWriter, _ *http.Request) {
					out.Header().Set("Content-Length", fmt.Sprint(len(w.data)+1000))
					out.Header().Set("ETag", w.etag)
					_, _ = out.Write(w.data)
				}}
			},
			ErrServer, "it says now that the file ends before byte 3145728", 2,
		},
		"another file meanwhile": {
			func(w *web) []http.HandlerFunc {
				return []http.HandlerFunc{w.cut(1 << 20), func(out http.ResponseWriter, r *http.Request) {
					w.etag = `"two"`
					w.serve(out, r)
				}}
			},
			ErrServer, "the file has changed while it was fetched; begin again", 2,
		},
		"another range": {
			func(w *web) []http.HandlerFunc {
				return []http.HandlerFunc{w.cut(1 << 20), ranged("bytes 0-3/3145728")}
			},
			ErrServer, `it was asked for the file from byte 1048576 on, and sends "bytes 0-3/3145728"`, 2,
		},
		"another length": {
			func(w *web) []http.HandlerFunc {
				return []http.HandlerFunc{w.cut(1 << 20), ranged("bytes 1048576-1048579/1048580")}
			},
			ErrServer, "the file has changed", 2,
		},
		"compressed": {
			func(*web) []http.HandlerFunc { return repeat(status(200, "Content-Encoding", "gzip")) }, ErrServer, `encoded as "gzip"`, 1,
		},
		"no HTTP": {
			func(*web) []http.HandlerFunc {
				return repeat(func(out http.ResponseWriter, _ *http.Request) {
					conn, _, err := out.(http.Hijacker).Hijack()
					if err == nil {
						_, _ = conn.Write([]byte("SSH-2.0-OpenSSH\r\n"))
						conn.Close()
					}
				})
			},
			ErrServer, "the answer is no proper HTTP", 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWeb(t, plain)
			w.steps = test.steps(w)
			f := fetch(t, t.Context(), Config{}, w.URL+"/f?secret", "")
			if !errors.Is(f.err, test.class) || !strings.Contains(f.err.Error(), test.words) || strings.Contains(f.err.Error(), "secret") {
				t.Errorf("got %v, want %v with %q", f.err, test.class, test.words)
			}
			if got := len(w.asked()); got != test.tries {
				t.Errorf("%d requests, want %d", got, test.tries)
			}
		})
	}
	f := fetch(t, t.Context(), Config{}, "http://"+nobody.Addr().String()+"/f", "")
	if !errors.Is(f.err, ErrServer) || !strings.Contains(f.err.Error(), "given up after 5 tries") || !strings.Contains(f.err.Error(), "connection refused") || len(f.waits) != 4 {
		t.Errorf("of nobody: %v, waits %q", f.err, f.waits)
	}
}

// TestTellsOfSlowPulls: a server that is slow, but not too slow, is told of before there is a mebibyte: a caller that hears nothing gives up.
func TestTellsOfSlowPulls(t *testing.T) {
	t.Parallel()
	const pieces = 6
	w := newWeb(t, plain, func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Content-Length", fmt.Sprint(pieces*stallBytes))
		for range pieces {
			_, _ = out.Write(make([]byte, stallBytes))
			out.(http.Flusher).Flush()
			time.Sleep(150 * time.Millisecond)
		}
	})
	s, err := ParseSource(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	timeouts := quick()
	timeouts.Stall = time.Second
	var told []int64
	r, err := NewReader(t.Context(), Config{Timeouts: timeouts}, s, "", func(p Progress) error {
		told = append(told, p.Bytes)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); err != nil || len(told) < 2 || told[0] == 0 || told[0] == pieces*stallBytes {
		t.Errorf("told of %d bytes, %v", told, err)
	}
}

// TestTellsWhileItSkips: a server without ranges sends again what is there already, and the caller hears of that; one that cannot be told ends the pull.
func TestTellsWhileItSkips(t *testing.T) {
	t.Parallel()
	const pieces, before = 14, 12
	lost := errors.New("the client has hung up")
	for _, tell := range []error{nil, lost} {
		w := newWeb(t, plain)
		w.data = w.data[:pieces*stallBytes]
		w.steps = []http.HandlerFunc{w.cut(before * stallBytes), func(out http.ResponseWriter, r *http.Request) {
			out.Header().Set("ETag", w.etag)
			out.Header().Set("Content-Length", fmt.Sprint(len(w.data)))
			for piece := range pieces {
				_, _ = out.Write(w.data[piece*stallBytes:][:stallBytes])
				out.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		}}
		s, err := ParseSource(w.URL)
		if err != nil {
			t.Fatal(err)
		}
		timeouts := quick()
		timeouts.Stall = time.Second
		var again []string
		r, err := NewReader(t.Context(), Config{Timeouts: timeouts}, s, "", func(p Progress) error {
			if !strings.HasPrefix(p.Waiting, "the server begins anew: of the 786432 bytes that are there already, ") {
				return nil
			}
			again = append(again, p.Waiting)
			return tell
		})
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if !errors.Is(err, tell) || len(again) == 0 || tell == nil && !bytes.Equal(data, w.data) {
			t.Errorf("with %v: %d bytes, %v, told %q", tell, len(data), err, again)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCaller: who hangs up, or cannot be told, ends the pull at once.
func TestCaller(t *testing.T) {
	w := newWeb(t, plain, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if f := fetch(t, ctx, Config{}, w.URL, ""); !errors.Is(f.err, context.Canceled) {
		t.Errorf("cancelled: %v", f.err)
	}
	s, err := ParseSource(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	lost := errors.New("the client has hung up")
	r, err := NewReader(t.Context(), Config{Timeouts: quick()}, s, "", func(Progress) error { return lost })
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); !errors.Is(err, lost) {
		t.Errorf("a caller that cannot be told: %v", err)
	}
}

func authorityOf(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

type password string

func (p password) Reveal() string { return string(p) }

// TestCertificates: a stranger's is not judged; that of a server of the configuration is, and then it gets the password, which nobody else gets.
func TestCertificates(t *testing.T) {
	w, other := newWeb(t, secure), newWeb(t, secure)
	if f := fetch(t, t.Context(), Config{}, w.URL, ""); f.err != nil {
		t.Errorf("an unknown server: %v", f.err)
	}
	host := strings.TrimPrefix(w.URL, "https://")
	known := func(ca string) Config {
		return Config{Servers: []Server{{Host: host, CA: ca, Username: "node", Password: password("hunter2")}}}
	}
	if f := fetch(t, t.Context(), known(authorityOf(w.Server)), w.URL, ""); f.err != nil {
		t.Errorf("a known server: %v", f.err)
	}
	// httptest's servers share a certificate, so the stranger's authority is one that has signed nothing.
	if f := fetch(t, t.Context(), known(strangersAuthority(t)), w.URL, ""); !errors.Is(f.err, ErrServer) || !strings.Contains(f.err.Error(), "another has signed it") {
		t.Errorf("a known server of another authority: %v", f.err)
	}
	var got []string
	take := func(out http.ResponseWriter, r *http.Request) {
		name, secret, _ := r.BasicAuth()
		if got = append(got, r.Host+" "+name+" "+secret); name == "" {
			status(401, "WWW-Authenticate", `Basic realm="releases"`)(out, r)
			return
		}
		http.Redirect(out, r, other.URL+"/elsewhere", http.StatusFound)
	}
	w.steps = []http.HandlerFunc{take, take}
	other.steps = []http.HandlerFunc{func(out http.ResponseWriter, r *http.Request) {
		got = append(got, "elsewhere "+r.Header.Get("Authorization")+r.Header.Get("Referer"))
		other.serve(out, r)
	}}
	f := fetch(t, t.Context(), known(authorityOf(w.Server)), w.URL+"/f", "")
	if d := cmp.Diff([]string{host + "  ", host + " node hunter2", "elsewhere "}, got); d != "" || f.err != nil {
		t.Errorf("%v (-want +got):\n%s", f.err, d)
	}
	// A redirect to plain HTTP is not followed, and over plain HTTP no password is given.
	http1 := newWeb(t, plain)
	w.steps = []http.HandlerFunc{status(307, "Location", http1.URL)}
	if f := fetch(t, t.Context(), Config{}, w.URL, ""); !errors.Is(f.err, ErrServer) || !strings.Contains(f.err.Error(), "from https to http") {
		t.Errorf("a redirect to http: %v", f.err)
	}
	http1.steps = []http.HandlerFunc{status(401, "WWW-Authenticate", `Basic realm="releases"`)}
	cfg := Config{Servers: []Server{{Host: strings.TrimPrefix(http1.URL, "http://"), CA: authorityOf(w.Server), Username: "node", Password: password("hunter2")}}}
	if f := fetch(t, t.Context(), cfg, http1.URL, ""); !errors.Is(f.err, ErrRefused) || len(http1.asked()) != 1 {
		t.Errorf("a password over plain HTTP: %v after %q", f.err, http1.asked())
	}
	if f := fetch(t, t.Context(), Config{}, strings.Replace(http1.URL, "http:", "https:", 1), ""); !errors.Is(f.err, ErrServer) || !strings.Contains(f.err.Error(), "does not speak TLS") {
		t.Errorf("https of a server of http: %v", f.err)
	}
}

func TestLinkLocal(t *testing.T) {
	for text, want := range map[string]bool{"169.254.169.254:80": true, "[fe80::1%eth0]:80": true, "[::ffff:169.254.0.1]:80": true, "127.0.0.1:80": false, "[fd00::1]:80": false} {
		a, err := net.ResolveTCPAddr("tcp", text)
		if err != nil {
			t.Fatal(err)
		}
		if got := isLinkLocal(a); got != want {
			t.Errorf("%s: got %t", text, got)
		}
	}
}

// TestLoopback: nobody but the caller sends the node to its own services.
func TestLoopback(t *testing.T) {
	w := newWeb(t, plain)
	at := strings.TrimPrefix(w.URL, "http://")
	for text, want := range map[string]error{
		"http://releases.example/f": errLoopback, "oci://releases.example/a:1": errLoopback, "http://10.5.0.9/f": errLoopback,
		w.URL: nil, "oci+http://" + at + "/a:1": nil, "https://localhost/f": nil, "http://[::1]:80/f": nil,
	} {
		s, err := ParseSource(text)
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(Config{}, s)
		conn, err := c.dial(t.Context(), "tcp", at)
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", text, err, want)
		}
		if err == nil {
			conn.Close()
		} else if !lasting(err) {
			t.Errorf("%s: it would be tried again", text)
		}
	}
}
