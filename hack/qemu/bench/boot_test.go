package bench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/vm"
	"github.com/cyvive/cyvive/internal/pki"
)

// TestKernelStart: early lines that come late do not spoil it.
func TestKernelStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	console := vm.OpenConsole(path)
	began := time.Now().Add(-3 * time.Second) // of the kernel
	line := func(at time.Duration) string { return fmt.Sprintf("[%12.6f] words\n", at.Seconds()) }
	text := "firmware\n" + line(0) + line(time.Second) + "[  OK  ] a service\n" + line(time.Since(began))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := kernelStart(t.Context(), console, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if off := got.Sub(began); off < 0 || off > time.Second {
		t.Errorf("got %s after the start, want what the newest line says", off)
	}
}

// apiServer is a Kubernetes API server as far as bench asks.
type apiServer struct {
	unready, podMade, podAnswers bool
	heartbeat                    time.Time
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case len(r.TLS.PeerCertificates) == 0 || r.TLS.PeerCertificates[0].Subject.Organization[0] != "system:masters":
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/readyz" && a.unready, strings.HasSuffix(r.URL.Path, "/proxy/") && a.podMade && !a.podAnswers:
		w.WriteHeader(http.StatusServiceUnavailable)
	case strings.HasPrefix(r.URL.Path, "/api/v1/nodes/n"):
		fmt.Fprintf(w, `{"status":{"conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":%q}]}}`, a.heartbeat.UTC().Format(time.RFC3339))
	case strings.HasSuffix(r.URL.Path, "/proxy/") && !a.podMade:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPost && a.podMade:
		w.WriteHeader(http.StatusConflict)
	case r.Method == http.MethodPost:
		body, _ := io.ReadAll(r.Body)
		a.podMade = string(body) == "manifest" && r.Header.Get("Content-Type") == "application/yaml"
		w.WriteHeader(http.StatusCreated)
	}
}

func TestKube(t *testing.T) {
	authority, err := pki.NewAuthority("kubernetes", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(pki.Request{
		CommonName: "kube-apiserver", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Server: true, Lifetime: time.Hour,
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	api := &apiServer{unready: true}
	server := httptest.NewUnstartedServer(api)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, ClientCAs: authority.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	defer server.Close()
	k, err := newKube(uint16(server.Listener.Addr().(*net.TCPAddr).Port), "n", authority, []byte("manifest"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	ctx, began := t.Context(), time.Now()
	if err := k.apiReady(ctx); !errors.Is(err, errStatus) {
		t.Errorf("API that is not ready: %v", err)
	}
	api.unready, api.heartbeat = false, began.Add(-time.Minute)
	if err := k.apiReady(ctx); err != nil {
		t.Errorf("API: %v", err)
	}
	if err := k.nodeReady(ctx, began); err == nil {
		t.Error("a heartbeat of the boot before passes")
	}
	api.heartbeat = began
	if err := k.nodeReady(ctx, began); err != nil {
		t.Errorf("node: %v", err)
	}
	if err := k.podAnswers(ctx); err == nil || !api.podMade {
		t.Errorf("no pod: %v, made: %t", err, api.podMade)
	}
	if err := k.podAnswers(ctx); !errors.Is(err, errStatus) {
		t.Errorf("a pod that does not answer: %v", err)
	}
	api.podAnswers = true
	if err := k.podAnswers(ctx); err != nil {
		t.Errorf("pod: %v", err)
	}
}
