package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	eventv1 "github.com/cyvive/cyvive/api/proto/event/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
)

// testAPI asks the node for all that needs a real kernel under it.
func testAPI(t *testing.T, s *suite) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, context.Context, *suite)
	}{
		{"kernel", testKernel}, {"events", testEvents}, {"metrics", testMetrics}, {"files", testFiles}, {"materials", testMaterials},
		{"idle-connections", testIdleConnections}, {"services", testServiceControl},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, testContext(t, 6*time.Minute), s) })
	}
}

func testKernel(t *testing.T, ctx context.Context, s *suite) {
	var processes kernelv1.ListProcessesResponse
	ask(t, ctx, s, &processes, "get", "processes")
	for name, cgroup := range map[string]string{"init": "/init", "machined": "/system/machined", "etcd": "/system/etcd", "kubelet": "/workload/plane/kubelet"} {
		if !slices.ContainsFunc(processes.GetProcesses(), func(p *kernelv1.Process) bool {
			return p.GetName() == name && strings.HasPrefix(p.GetCgroup(), cgroup) && p.GetResidentBytes() > 0
		}) {
			t.Errorf("processes: no %s in %s", name, cgroup)
		}
	}
	if slices.ContainsFunc(processes.GetProcesses(), func(p *kernelv1.Process) bool { return p.GetName() == "kthreadd" }) {
		t.Error("processes: the kernel's threads are among them")
	}
	var mounts kernelv1.ListMountsResponse
	ask(t, ctx, s, &mounts, "get", "mounts")
	if !slices.ContainsFunc(mounts.GetMounts(), func(m *kernelv1.Mount) bool {
		return m.GetTarget() == "/" && m.GetType() == "erofs" && m.GetSizeBytes() > 0 && strings.HasPrefix(m.GetOptions(), "ro")
	}) {
		t.Errorf("mounts: no read-only EROFS at /: %v", mounts.GetMounts())
	}
	var groups kernelv1.ListCgroupsResponse
	ask(t, ctx, s, &groups, "get", "cgroups")
	if !slices.ContainsFunc(groups.GetCgroups(), func(g *kernelv1.Cgroup) bool {
		return g.GetPath() == "/system/etcd" && g.GetMemoryBytes() > 1<<20 && g.GetCpuTime().AsDuration() > 0 && g.GetTasks() > 0
	}) {
		t.Error("control groups: /system/etcd uses nothing, or is not there")
	}
	var stats kernelv1.GetStatsResponse
	ask(t, ctx, s, &stats, "get", "stats")
	if got := stats.GetStats(); got.GetUptime().AsDuration() < 10*time.Second || got.GetCpu().GetProcessors() != 2 ||
		got.GetMemory().GetTotalBytes() < 3<<30 || len(got.GetDisks()) == 0 || len(got.GetInterfaces()) < 2 || len(got.GetPressures()) != 3 {
		t.Errorf("stats: got %v", got)
	}
	if out := s.nodectl(t, ctx, "dashboard", "--timeout", "60s"); !strings.Contains(out, "   READY   ") || !strings.Contains(out, "kube-apiserver") {
		t.Errorf("dashboard: got\n%s", out)
	}
}

// listEvents returns the events that the node remembers.
func listEvents(t *testing.T, ctx context.Context, s *suite) []*eventv1.StreamEventsResponse {
	t.Helper()
	var events []*eventv1.StreamEventsResponse
	for line := range strings.Lines(s.nodectl(t, ctx, "events", "--output", "json")) {
		e := &eventv1.StreamEventsResponse{}
		if err := protojson.Unmarshal([]byte(line), e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func testEvents(t *testing.T, ctx context.Context, s *suite) {
	events := listEvents(t, ctx, s)
	for _, want := range []struct {
		kind           eventv1.EventKind
		subject, state string
	}{
		{eventv1.EventKind_EVENT_KIND_AGENT, "agent", "started"}, {eventv1.EventKind_EVENT_KIND_CONFIGURATION, "configuration", "accepted"},
		{eventv1.EventKind_EVENT_KIND_HEALTH, "etcd", "ready"}, {eventv1.EventKind_EVENT_KIND_MILESTONE, "node-ready", "reached"},
		{eventv1.EventKind_EVENT_KIND_SERVICE, "etcd", "running"},
	} {
		if !slices.ContainsFunc(events, func(e *eventv1.StreamEventsResponse) bool {
			return e.GetKind() == want.kind && e.GetSubject() == want.subject && e.GetState() == want.state && e.GetTime() != nil
		}) {
			t.Errorf("no event %v in %d events", want, len(events))
		}
	}
	// A part that was not ready said why.
	if !slices.ContainsFunc(events, func(e *eventv1.StreamEventsResponse) bool {
		return e.GetSubject() == "node" && e.GetState() == "not ready" && e.GetReason() != ""
	}) {
		t.Error("no event says why the node was not ready")
	}
}

// webClient is a client of HTTP with the administrator's certificate.
func webClient(t *testing.T, s *suite) (*http.Client, string) {
	t.Helper()
	config, node := clientOf(t, s.Tools().Contexts)
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, node
}

func testMetrics(t *testing.T, _ context.Context, s *suite) {
	client, node := webClient(t, s)
	resp, err := client.Get("https://" + node + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %s, %v", resp.Status, err)
	}
	for _, line := range []string{`cyvive_check_healthy{check="etcd"} 1`, `cyvive_service_running{service="kubelet"} 1`, `cyvive_cgroup_memory_bytes{cgroup="/system/etcd"} `} {
		if !strings.Contains(string(body), "\n"+line) {
			t.Errorf("the metrics lack %s:\n%s", line, body)
		}
	}
}

func testFiles(t *testing.T, ctx context.Context, s *suite) {
	if out := s.nodectl(t, ctx, "files", "list", "/usr/lib/cyvive"); !strings.Contains(out, "release.json") {
		t.Errorf("list: got %s", out)
	}
	var release struct{ Version string }
	if err := json.Unmarshal([]byte(s.nodectl(t, ctx, "files", "read", "/usr/lib/cyvive/release.json")), &release); err != nil || release.Version == "" {
		t.Errorf("release: %v, version %q", err, release.Version)
	}
	if out := s.nodectl(t, ctx, "files", "read", "/proc/meminfo"); !strings.Contains(out, "MemTotal:") {
		t.Errorf("meminfo: got %q", out)
	}
	for _, path := range []string{
		"/state/machine-id", "/state/boots.jsonl", "/run/cyvive/secrets", "/var/etcd/member/wal", "/proc/1/environ", "/proc/self/mem", "/proc/1/root/state/boots.jsonl",
		"/proc/kcore", "/dev/vda", "/etc/../state/boots.jsonl", "/run/cyvive/init.sock", "/var/plane", "/sys/kernel/debug/tracing/trace",
	} {
		if out, err := s.Tools().Nodectl(ctx, "files", "read", path); err == nil {
			t.Errorf("%s was read: %.100q", path, out)
		}
	}
}

func testMaterials(t *testing.T, ctx context.Context, s *suite) {
	var document struct {
		SPDXVersion string `json:"spdxVersion"`
		Packages    []any  `json:"packages"`
	}
	if err := json.Unmarshal([]byte(s.nodectl(t, ctx, "sbom")), &document); err != nil || document.SPDXVersion != "SPDX-2.3" || len(document.Packages) < 50 {
		t.Errorf("sbom: %v, %s with %d packages", err, document.SPDXVersion, len(document.Packages))
	}
	var version machinev1.GetVersionResponse
	ask(t, ctx, s, &version, "version")
	if len(version.GetComponents()) < 5 {
		t.Errorf("version: %d components, want all of the image", len(version.GetComponents()))
	}
	for _, c := range version.GetComponents() {
		if c.GetName() == "" || c.GetVersion() == "" || c.GetSource() == "" {
			t.Errorf("version: component %v is not whole", c)
		}
	}
}

// testIdleConnections holds up to a hundred connections open, and calls meanwhile.
func testIdleConnections(t *testing.T, ctx context.Context, s *suite) {
	_, node := webClient(t, s)
	var dialer net.Dialer
	// QEMU accepts two or three a second, and after ten seconds the node closes one that says nothing (HandshakeTimeout of internal/machined/server): what is
	// opened later than that is not there beside the first.
	opened := 0
	for began := time.Now(); opened < 100 && time.Since(began) < 10*time.Second; opened++ {
		conn, err := dialer.DialContext(ctx, "tcp", node)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	start := time.Now()
	var health machinev1.GetHealthResponse
	ask(t, ctx, s, &health, "health")
	t.Logf("health answered in %s beside %d idle connections", time.Since(start).Round(time.Millisecond), opened)
}

// testServiceControl stops, starts and restarts services.
func testServiceControl(t *testing.T, ctx context.Context, s *suite) {
	const name = "kube-scheduler"
	s.nodectl(t, ctx, "service", "stop", name)
	eventually(t, ctx, "health says that it was stopped", func(ctx context.Context) error {
		var health machinev1.GetHealthResponse
		out, err := s.Tools().Nodectl(ctx, "get", "health", "--output", "json")
		if err == nil {
			err = protojson.Unmarshal([]byte(out), &health)
		}
		if err != nil || health.GetHealthy() || !strings.Contains(out, name+" was stopped on request") {
			return fmt.Errorf("got %v, %v", &health, err)
		}
		return nil
	})
	// Longer than the loop takes to see that a container is missing.
	select {
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	case <-time.After(15 * time.Second):
	}
	if got := service(t, ctx, s, name); got.GetState() != servicev1.ServiceState_SERVICE_STATE_STOPPED || got.GetReason() == "" {
		t.Errorf("after 15 s: got %v, want it stopped, with the reason", got)
	}
	s.nodectl(t, ctx, "service", "start", name)
	running := func(name string, not uint32) {
		t.Helper()
		eventually(t, ctx, name+" runs", func(ctx context.Context) error {
			var list servicev1.ListServicesResponse
			ask(t, ctx, s, &list, "service", "list")
			for _, got := range list.GetServices() {
				if got.GetName() == name && got.GetState() == servicev1.ServiceState_SERVICE_STATE_RUNNING && got.GetPid() != not {
					return nil
				}
			}
			return fmt.Errorf("got %v", list.GetServices())
		})
	}
	running(name, 0)
	kubelet := service(t, ctx, s, "kubelet")
	s.nodectl(t, ctx, "service", "restart", "kubelet")
	running("kubelet", kubelet.GetPid())
	for _, name := range []string{"machined", "containerd", "kubelet"} {
		if _, err := s.Tools().Nodectl(ctx, "service", "stop", name); err == nil {
			t.Errorf("%s could be stopped", name)
		}
	}
	s.restartAgent(t, ctx)
}

// restartAgent restarts the machine agent, and waits until the new one has the node in order.
func (s *suite) restartAgent(t *testing.T, ctx context.Context) {
	t.Helper()
	agent := service(t, ctx, s, "machined")
	s.nodectl(t, ctx, "service", "restart", "machined")
	eventually(t, ctx, "the agent is another", func(ctx context.Context) error {
		out, err := s.Tools().Nodectl(ctx, "service", "list", "--output", "json")
		var list servicev1.ListServicesResponse
		if err == nil {
			err = protojson.Unmarshal([]byte(out), &list)
		}
		if err != nil {
			return err
		}
		for _, got := range list.GetServices() {
			if got.GetName() == "machined" && got.GetPid() != agent.GetPid() && got.GetPid() != 0 {
				return nil
			}
		}
		return errors.New("it is the same still")
	})
	if err := s.AwaitHealthy(ctx); err != nil {
		t.Error(err)
	}
}

// service returns one service of the node.
func service(t *testing.T, ctx context.Context, s *suite, name string) *servicev1.Service {
	t.Helper()
	var list servicev1.ListServicesResponse
	ask(t, ctx, s, &list, "service", "list")
	for _, one := range list.GetServices() {
		if one.GetName() == name {
			return one
		}
	}
	t.Fatalf("there is no service %s in %v", name, list.GetServices())
	return nil
}
