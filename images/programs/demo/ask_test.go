package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestAsker has a server that answers, then fails, then closes the kept
// connection, and looks at what is counted.
func TestAsker(t *testing.T) {
	var broken atomic.Bool
	good := handler("replica", "/proc", false, time.Now)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.NotFound(w, r)
			return
		}
		good.ServeHTTP(w, r)
	}))
	defer s.Close()
	a := newAsker(s.URL)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { a.run(ctx); close(done) }()
	defer func() { stop(); <-done }()

	await := func(what string, condition func(asked) bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !condition(a.result()); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, a.result())
			}
		}
	}
	await("answers", func(r asked) bool {
		return r.Fresh.Answers["replica"] > 2 && r.Kept.Answers["replica"] > 2 && r.Connections == 1
	})
	s.CloseClientConnections()
	await("another connection", func(r asked) bool { return r.Connections == 2 })
	broken.Store(true)
	await("failures", func(r asked) bool {
		return r.Fresh.Failures > 0 && r.Kept.Failures > 0 && strings.HasPrefix(r.Fresh.LastError, "404") && !r.Fresh.LastFailure.IsZero() && r.Fresh.Errors[r.Fresh.LastError] > 0
	})
}

func TestResolveAndFetchPages(t *testing.T) {
	h := handler("pod", "/proc", true, time.Now)
	if code, body := visit(t, h, "/resolve?name=localhost"); code != http.StatusOK || !strings.Contains(body, "127.0.0.1") && !strings.Contains(body, "::1") {
		t.Errorf("/resolve: %d %s", code, body)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("from " + r.URL.Path)) }))
	defer s.Close()
	if code, body := visit(t, h, "/fetch?url="+s.URL+"/there"); code != http.StatusOK || body != "from /there" {
		t.Errorf("/fetch: %d %s", code, body)
	}
	s.Close()
	if code, body := visit(t, h, "/fetch?url="+s.URL); code != http.StatusBadGateway || !strings.Contains(body, "connection refused") {
		t.Errorf("/fetch of nobody: %d %s", code, body)
	}
}
