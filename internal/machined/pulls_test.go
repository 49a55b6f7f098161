package machined

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/pull"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
)

// endless is a release after which the server does not stop.
func endless(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(data)
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}
}

// TestPullByTheAPI: what the node fetches goes through the checks of a push, and what the server does wrong is told as such.
func TestPullByTheAPI(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, oldRelease, upgrade.Record{Stage: upgrade.Idle}, func(c *Config) {
		c.Upgrades.PullTimeouts = pull.Timeouts{FirstPause: time.Millisecond, Stall: 2 * time.Second}
	})
	u.source.set(standalone(t))
	u.await("idle, in order", func(s snapshot) bool { return stage(upgrade.Idle)(s) && inOrder(s) })
	good := bundle(t, releaseKey(), "1.1.0")
	stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
	var requests, sent atomic.Int64
	file := func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(counting{w, &sent}, r, "", time.Unix(1000, 0), bytes.NewReader(data))
		}
	}
	huge := append(bundle(t, stranger, "1.1.0"), make([]byte, 32<<20)...)
	var cut atomic.Bool
	mux := http.NewServeMux()
	for path, handler := range map[string]http.HandlerFunc{
		"/good": file(good), "/stranger": file(huge), "/older": file(bundle(t, releaseKey(), "0.9.0")), "/short": file(good[:len(good)-3000]),
		"/page":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<!doctype html><p>Sign in")) },
		"/endless": endless(good),
		"/cut": func(w http.ResponseWriter, r *http.Request) {
			if cut.CompareAndSwap(false, true) {
				w.Header().Set("Last-Modified", time.Unix(1000, 0).UTC().Format(http.TimeFormat))
				_, _ = w.Write(good[:len(good)/2])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			file(good)(w, r)
		},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			handler(w, r)
		})
	}
	web := httptest.NewServer(mux)
	defer web.Close()
	api, ctx := upgradesAPI{u.Agent}, t.Context()
	none := func(server.PullProgress) error { return nil }
	for source, test := range map[string]struct {
		class error
		words string
	}{
		"ftp://host/x":        {server.ErrInvalid, "expected https://"},
		web.URL + "/stranger": {server.ErrDenied, "not signed by a key"},
		web.URL + "/older":    {server.ErrPrecondition, "older than the node's"},
		web.URL + "/short":    {server.ErrInvalid, "not a whole release"},
		web.URL + "/endless":  {server.ErrInvalid, "more comes than belongs to it"},
		web.URL + "/page":     {server.ErrInvalid, `calls it "text/html`},
		web.URL + "/nothing":  {server.ErrNotFound, "it answers 404 Not Found"},
	} {
		if _, err := api.Pull(ctx, server.Pull{Source: source}, none); !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: got %v, want %v with %q", source, err, test.class, test.words)
		}
	}
	if n := sent.Load(); n > 16<<20 {
		t.Errorf("%d bytes were sent to a node that wanted none of it", n)
	}
	if _, err := api.Install(ctx, true, func(int64, int64) error { return nil }); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("something was kept: %v", err)
	}
	var waits []string
	want := server.System{Version: "1.1.0", Slot: "b", RootHash: hash("3")}
	got, err := api.Pull(ctx, server.Pull{Source: web.URL + "/cut"}, func(p server.PullProgress) error {
		if p.Waiting != "" {
			waits = append(waits, p.Waiting)
		}
		return nil
	})
	if got != want || err != nil || len(waits) != 1 || !strings.Contains(waits[0], "cut off; try 2 of 5") {
		t.Fatalf("got %+v, %v, and waited for %q", got, err, waits)
	}
	if got, err := api.Install(ctx, true, func(int64, int64) error { return nil }); got != want || err != nil {
		t.Fatalf("install: %+v, %v", got, err)
	}
	before := requests.Load()
	if _, err := api.Pull(ctx, server.Pull{Source: web.URL + "/good"}, none); !errors.Is(err, server.ErrPrecondition) || requests.Load() != before {
		t.Errorf("while one is armed: %v, after %d requests", err, requests.Load()-before)
	}
	if slices.Contains(u.init.asked(), "reboot") {
		t.Error("a pull reboots")
	}
}

// counting counts what is sent.
type counting struct {
	http.ResponseWriter
	n *atomic.Int64
}

// Write implements io.Writer.
func (c counting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}
