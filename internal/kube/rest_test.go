package kube

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/pki"
)

func TestParseNode(t *testing.T) {
	got, err := parseNode([]byte(`{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}},
		"spec":{"podCIDR":"10.244.0.0/24"},
		"status":{"conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"False","message":"why",
			"lastHeartbeatTime":"2026-03-01T12:00:00Z"}]}}`))
	want := &Node{Message: "why", Heartbeat: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), PodCIDR: netip.MustParsePrefix("10.244.0.0/24"), ControlPlane: true}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("got %v (-want +got):\n%s", err, diff)
	}
	if n, err := parseNode([]byte(`{}`)); err != nil || n.Ready || n.PodCIDR.IsValid() {
		t.Errorf("empty: got %+v, %v", n, err)
	}
	for _, text := range []string{``, `[]`, `{"spec":{"podCIDR":"x"}}`} {
		if _, err := parseNode([]byte(text)); err == nil {
			t.Errorf("%q: got no error", text)
		}
	}
}

func FuzzParseNode(f *testing.F) {
	f.Add([]byte(`{"spec":{"podCIDR":"10.244.0.0/24"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := parseNode(data); (n == nil) != (err != nil) {
			t.Errorf("got %v, %v", n, err)
		}
	})
}

func TestParsePods(t *testing.T) {
	got, err := parsePods([]byte(`{"items":[
		{"status":{"containerStatuses":[
			{"state":{"running":{"startedAt":"2026-03-01T12:00:05Z"}}},
			{"state":{"running":{"startedAt":"2026-03-01T12:00:03Z"}}},
			{"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}},
		{"status":{}}]}`))
	want := []time.Time{time.Date(2026, 3, 1, 12, 0, 3, 0, time.UTC), {}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("got %v (-want +got):\n%s", err, diff)
	}
}

func FuzzParsePods(f *testing.F) {
	f.Add([]byte(`{"items":[{},{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		starts, err := parsePods(data)
		if err != nil && starts != nil {
			t.Errorf("%q: got %v together with %v", data, starts, err)
		}
		if len(starts) > len(data)/2 {
			t.Errorf("%d bytes make %d pods", len(data), len(starts))
		}
	})
}

// server plays an API server that asks for client certificates of the cluster.
func server(t *testing.T, ca *pki.Authority, handler http.HandlerFunc) *restClient {
	t.Helper()
	pair, err := ca.Issue(pki.Request{
		CommonName: "kube-apiserver", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Server: true, Lifetime: time.Hour,
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	c := newRESTClient(time.Now)
	c.endpoint = s.URL
	return c
}

func TestObserveAsksForReadinessNodeAndPods(t *testing.T) {
	ca, err := pki.NewAuthority("kubernetes", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	spec := Spec{NodeName: "node1", CA: ca}
	answers := map[string]string{"/readyz": "ok"}
	var calls []string
	c := server(t, ca, func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Method+" "+r.URL.RequestURI()+" by "+r.TLS.PeerCertificates[0].Subject.CommonName)
		answer, ok := answers[r.URL.Path]
		switch {
		case answer == "fail":
			http.Error(w, "not now", http.StatusInternalServerError)
		case !ok:
			http.NotFound(w, r)
		default:
			_, _ = w.Write([]byte(answer))
		}
	})

	if api, err := c.Observe(t.Context(), spec); err != nil || !api.Ready || api.Node != nil {
		t.Errorf("before kubelet registered: got %+v, %v", api, err)
	}
	answers["/api/v1/nodes/node1"] = `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`
	answers["/api/v1/pods"] = `{"items":[{},{},{}]}`
	calls = nil
	api, err := c.Observe(t.Context(), spec)
	if err != nil || !api.Ready || api.Node == nil || !api.Node.Ready || len(api.PodStarts) != 3 {
		t.Errorf("with a node: got %+v, %v", api, err)
	}
	want := []string{
		"GET /readyz by machined", "GET /api/v1/nodes/node1 by machined",
		"GET /api/v1/pods?fieldSelector=spec.nodeName%3Dnode1%2Cstatus.phase%3DRunning by machined",
		"GET /apis/apps/v1/namespaces/kube-system/deployments/coredns by machined",
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	answers["/apis/apps/v1/namespaces/kube-system/deployments/coredns"] = `{"metadata":{"annotations":{"cyvive.dev/revision":"7"}}}`
	if api, err := c.Observe(t.Context(), spec); err != nil || api.DNSRevision != "7" {
		t.Errorf("with cluster DNS: got %+v, %v", api, err)
	}
	answers["/apis/groupsnapshot.storage.k8s.io/v1/volumegroupsnapshotclasses/zfs"] = `{"metadata":{"annotations":{"cyvive.dev/revision":"8"}}}`
	if api, err := c.Observe(t.Context(), spec); err != nil || api.VolumesRevision != "" {
		t.Errorf("volumes that nobody asked for: got %+v, %v", api, err)
	}
	spec.Volumes = true
	if api, err := c.Observe(t.Context(), spec); err != nil || api.DNSRevision != "7" || api.VolumesRevision != "8" {
		t.Errorf("with volumes: got %+v, %v", api, err)
	}
	answers["/readyz"] = "fail"
	calls = nil
	if api, err := c.Observe(t.Context(), spec); err == nil || api.Ready || !api.Serves || !strings.Contains(err.Error(), "500") || api.Node == nil || !api.Node.Ready {
		t.Errorf("not ready: got %+v, %v", api, err)
	}
	if diff := cmp.Diff(want[:2], calls); diff != "" {
		t.Errorf("calls of a server that is not ready (-want +got):\n%s", diff)
	}
	delete(answers, "/api/v1/nodes/node1")
	if api, err := c.Observe(t.Context(), spec); err == nil || api.Ready || !strings.Contains(err.Error(), "500") || api.Node != nil {
		t.Errorf("not ready, without a node: got %+v, %v", api, err)
	}
	c.endpoint = "https://127.0.0.1:1"
	if api, err := c.Observe(t.Context(), spec); err == nil || api.Ready || api.Node != nil {
		t.Errorf("away: got %+v, %v", api, err)
	}
}

func TestMarkControlPlane(t *testing.T) {
	ca, err := pki.NewAuthority("kubernetes", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var got string
	c := server(t, ca, func(_ http.ResponseWriter, r *http.Request) {
		body := make([]byte, 200)
		n, _ := r.Body.Read(body)
		got = r.Method + " " + r.Header.Get("Content-Type") + " " + string(body[:n])
	})
	if err := c.MarkControlPlane(t.Context(), Spec{NodeName: "node1", CA: ca}); err != nil {
		t.Fatal(err)
	}
	want := `PATCH application/merge-patch+json {"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestAnotherClustersServerIsRefused(t *testing.T) {
	ours, err := pki.NewAuthority("ours", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := pki.NewAuthority("theirs", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := server(t, theirs, func(http.ResponseWriter, *http.Request) { t.Error("the request got through") })
	_, err = c.Observe(context.Background(), Spec{NodeName: "node1", CA: ours})
	if failure := (*tls.CertificateVerificationError)(nil); !errors.As(err, &failure) {
		t.Errorf("got %v, want a certificate error", err)
	}
}

// TestClockThatWentBack: a certificate that was issued by a clock that went too fast is not used once it is right.
func TestClockThatWentBack(t *testing.T) {
	ca, err := pki.NewAuthority("kubernetes", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := server(t, ca, func(http.ResponseWriter, *http.Request) {})
	fast := 8 * time.Hour
	c.now = func() time.Time { return time.Now().Add(fast) }
	spec := Spec{NodeName: "node1", CA: ca}
	if err := c.MarkControlPlane(t.Context(), spec); err == nil {
		t.Error("a certificate of tomorrow is taken")
	}
	fast = 0
	if err := c.MarkControlPlane(t.Context(), spec); err != nil {
		t.Errorf("with the right time: %v", err)
	}
}

func TestAdminKubeconfig(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ca, err := pki.NewAuthority("kubernetes", now)
	if err != nil {
		t.Fatal(err)
	}
	spec := Spec{ClusterName: "demo", Endpoint: "https://demo.example:6443", CA: ca}
	data, err := AdminKubeconfig(spec, "alice", now)
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) string {
		for line := range strings.Lines(string(data)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && key == name {
				return value
			}
		}
		t.Fatalf("no %s in\n%s", name, data)
		return ""
	}
	if got := field("server"); got != `"https://demo.example:6443"` {
		t.Errorf("server: got %s", got)
	}
	if got := field("current-context"); got != `"demo"` {
		t.Errorf("context: got %s", got)
	}
	encoded, err := base64.StdEncoding.DecodeString(field("client-certificate-data"))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pki.ParseCertificate(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if s := certificate.Subject; s.CommonName != "nodectl:alice" || !cmp.Equal(s.Organization, []string{"system:masters"}) {
		t.Errorf("subject: got %v", s)
	}
	if got := certificate.NotAfter.Sub(now); got != AdminLifetime {
		t.Errorf("lifetime: got %s, want %s", got, AdminLifetime)
	}
}

func TestServiceIP(t *testing.T) {
	services := netip.MustParsePrefix("10.96.0.0/12")
	for n, want := range map[int]string{1: "10.96.0.1", 10: "10.96.0.10"} {
		if got := ServiceIP(services, n); got.String() != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}
