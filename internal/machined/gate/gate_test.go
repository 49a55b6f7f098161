package gate

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
)

type cluster map[string]error

func (c cluster) ServiceAnswers(_ context.Context, target string) error { return c["service "+target] }
func (c cluster) DeploymentAvailable(_ context.Context, target string) error {
	return c["deployment "+target]
}

func (c cluster) NodeCondition(ctx context.Context, kind string) error {
	if kind == "Slow" {
		<-ctx.Done()
		return ctx.Err()
	}
	return c["condition "+kind]
}

func TestLook(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/bad":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer web.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	of := cluster{"service a/b:80": errors.New("503 Service Unavailable"), "deployment a/b": errors.New("not available")}
	tests := []struct {
		kind   config.GateKind
		target string
		want   string // empty: it holds
	}{
		{config.GateHTTP, web.URL + "/good?x", ""},
		{config.GateHTTP, web.URL + "/bad?secret", "/bad: it answers 503 Service Unavailable"},
		{config.GateHTTP, web.URL + "/moved", "it answers 302 Found"},
		{config.GateHTTP, "http://" + nobody.Addr().String(), "connection refused"},
		{config.GateHTTP, "http://" + silent.Addr().String(), "no answer in 5s"},
		{config.GateTCP, silent.Addr().String(), ""},
		{config.GateTCP, nobody.Addr().String(), "connect to " + nobody.Addr().String() + ": connection refused"},
		{config.GateService, "a/b:80", "a/b:80: 503 Service Unavailable"},
		{config.GateService, "a/c:80", ""},
		{config.GateDeployment, "a/b", "a/b: not available"},
		{config.GateCondition, "Ready", ""},
		{config.GateCondition, "Slow", "Slow: no answer in 5s"},
		{"exec", "/bin/true", `does not know the kind "exec"`},
	}
	var gates []config.Gate
	for _, test := range tests {
		gates = append(gates, config.Gate{Name: "x", Kind: test.kind, Target: test.target})
	}
	began := time.Now()
	for i, r := range Look(t.Context(), gates, of, "") {
		test := tests[i]
		if r.Gate != gates[i] || (r.Reason == "") != (test.want == "") || !strings.Contains(r.Reason, test.want) || strings.Contains(r.Reason, "secret") {
			t.Errorf("%s %s: got %q, want %q", test.kind, test.target, r.Reason, test.want)
		}
	}
	if took := time.Since(began); took > 2*Timeout {
		t.Errorf("it took %s: the gates were looked at one after the other", took)
	}
	if got := Look(t.Context(), gates[7:8], nil, "waiting for the node to be Ready"); got[0].Reason != "waiting for the node to be Ready" {
		t.Errorf("without a cluster: %q", got[0].Reason)
	}
}

// TestReasonsAreBounded: what a server or a pod answers with is neither written to the disk in any length nor sent to a terminal as it is.
func TestReasonsAreBounded(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = conn.Write([]byte("HTTP/1.1 503 its own words\r\nContent-Length: 0\r\n\r\n"))
			conn.Close()
		}
	}))
	defer web.Close()
	of := cluster{"service a/b:80": errors.New("503: \x1b[2J\n" + strings.Repeat("ü", 9000))}
	got := Look(t.Context(), []config.Gate{{Kind: config.GateHTTP, Target: web.URL}, {Kind: config.GateService, Target: "a/b:80"}}, of, "")
	if want := "GET " + web.URL + ": it answers 503 Service Unavailable"; got[0].Reason != want {
		t.Errorf("a server's own words: got %q, want %q", got[0].Reason, want)
	}
	if r := got[1].Reason; len(r) > maxReasonBytes+len("…") || strings.ContainsAny(r, "\x1b\n\ufffd") || !strings.HasPrefix(r, "a/b:80: 503:  [2J ") {
		t.Errorf("a pod's: %d bytes, %.40q", len(r), r)
	}
}
