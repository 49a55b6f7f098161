package server_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/cyvive/cyvive/api/proto/event/v1"
	filev1 "github.com/cyvive/cyvive/api/proto/file/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

func TestKernel(t *testing.T) {
	node := &servertest.Node{
		ProcessList: []*kernelv1.Process{{Pid: 1, Name: "init"}},
		MountList:   []*kernelv1.Mount{{Target: "/", Type: "erofs"}},
		CgroupList:  []*kernelv1.Cgroup{{Path: "/system"}},
		StatsValue:  &kernelv1.Stats{Uptime: durationpb.New(time.Minute)},
	}
	client := kernelv1.NewKernelServiceClient(admin(t, node))
	processes, err := client.ListProcesses(t.Context(), &kernelv1.ListProcessesRequest{})
	check(t, &kernelv1.ListProcessesResponse{Processes: node.ProcessList}, processes, err)
	mounts, err := client.ListMounts(t.Context(), &kernelv1.ListMountsRequest{})
	check(t, &kernelv1.ListMountsResponse{Mounts: node.MountList}, mounts, err)
	groups, err := client.ListCgroups(t.Context(), &kernelv1.ListCgroupsRequest{})
	check(t, &kernelv1.ListCgroupsResponse{Cgroups: node.CgroupList}, groups, err)
	stats, err := client.GetStats(t.Context(), &kernelv1.GetStatsRequest{})
	check(t, &kernelv1.GetStatsResponse{Stats: node.StatsValue}, stats, err)

	// A watch sends the first at once, and nothing again until it has changed.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch, err := client.WatchStats(ctx, &kernelv1.WatchStatsRequest{Interval: durationpb.New(time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	first, err := watch.Recv()
	check(t, &kernelv1.WatchStatsResponse{Stats: node.StatsValue}, first, err)
	start := time.Now()
	time.AfterFunc(1500*time.Millisecond, func() {
		node.Change(func(n *servertest.Node) { n.StatsValue = &kernelv1.Stats{Uptime: durationpb.New(time.Hour)} })
	})
	second, err := watch.Recv()
	check(t, &kernelv1.WatchStatsResponse{Stats: &kernelv1.Stats{Uptime: durationpb.New(time.Hour)}}, second, err)
	// An interval of a millisecond is taken for one of a second.
	if took := time.Since(start); took < 1500*time.Millisecond {
		t.Errorf("the second message came after %v", took)
	}
	looks := 0
	for _, c := range node.Calls() {
		if c == "stats" {
			looks++
		}
	}
	if looks > 6 {
		t.Errorf("%d looks in three seconds, want one a second", looks)
	}
}

// TestWatchHealth: a change is sent with its reason.
func TestWatchHealth(t *testing.T) {
	node := &servertest.Node{Checks: []server.Check{{Name: "etcd", Reason: "waiting for storage"}}}
	conn := admin(t, node)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	health, err := machinev1.NewMachineServiceClient(conn).WatchHealth(ctx, &machinev1.WatchHealthRequest{})
	if err != nil {
		t.Fatal(err)
	}
	services, err := servicev1.NewServiceServiceClient(conn).WatchServices(ctx, &servicev1.WatchServicesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := health.Recv()
	check(t, &machinev1.WatchHealthResponse{Health: &machinev1.GetHealthResponse{Checks: []*machinev1.HealthCheck{{Name: "etcd", Reason: "waiting for storage"}}}}, h, err)
	if _, err := services.Recv(); err != nil {
		t.Fatal(err)
	}
	node.Change(func(n *servertest.Node) {
		n.Checks = []server.Check{{Name: "etcd", Healthy: true}}
		n.ServiceList = []server.Service{{Name: "etcd", State: server.ServiceFailed, Reason: "exit code 1"}}
	})
	h, err = health.Recv()
	check(t, &machinev1.WatchHealthResponse{Health: &machinev1.GetHealthResponse{Healthy: true, Checks: []*machinev1.HealthCheck{{Name: "etcd", Healthy: true}}}}, h, err)
	s, err := services.Recv()
	check(t, &servicev1.WatchServicesResponse{Services: []*servicev1.Service{
		{Name: "etcd", State: servicev1.ServiceState_SERVICE_STATE_FAILED, Reason: "exit code 1"},
	}}, s, err)
}

func TestEventsFilesAndSBOM(t *testing.T) {
	at := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	sbom := strings.Repeat("spdx", 20000)
	node := &servertest.Node{
		EventList: []server.Event{{Sequence: 7, Time: at, Kind: server.EventService, Subject: "etcd", State: "failed", Reason: "exit code 1"}},
		FileList:  map[string][]*filev1.File{"/etc": {{Name: "os-release", Kind: filev1.FileKind_FILE_KIND_REGULAR}}},
		FileData:  map[string]string{"/etc/os-release": "ID=cyvive\n"},
		SBOM:      sbom,
	}
	conn := admin(t, node)
	events, err := eventv1.NewEventServiceClient(conn).StreamEvents(t.Context(), &eventv1.StreamEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := receiveAll(t, events)
	if len(got) != 1 {
		t.Fatalf("got %d events, want 1", len(got))
	}
	check(t, &eventv1.StreamEventsResponse{
		Sequence: 7, Time: timestamppb.New(at), Kind: eventv1.EventKind_EVENT_KIND_SERVICE, Subject: "etcd", State: "failed", Reason: "exit code 1",
	}, got[0], nil)
	files := filev1.NewFileServiceClient(conn)
	list, err := files.ListFiles(t.Context(), &filev1.ListFilesRequest{Path: "/etc"})
	check(t, &filev1.ListFilesResponse{Files: node.FileList["/etc"]}, list, err)
	read, err := files.ReadFile(t.Context(), &filev1.ReadFileRequest{Path: "/etc/os-release", OffsetBytes: 3})
	if err != nil {
		t.Fatal(err)
	}
	if pieces := receiveAll(t, read); len(pieces) != 1 || string(pieces[0].GetData()) != "cyvive\n" {
		t.Errorf("file: got %v", pieces)
	}
	stream, err := machinev1.NewMachineServiceClient(conn).GetSBOM(t.Context(), &machinev1.GetSBOMRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var whole strings.Builder
	for _, piece := range receiveAll(t, stream) {
		whole.Write(piece.GetData())
	}
	if whole.String() != sbom {
		t.Errorf("bill of materials: got %d bytes, want %d", whole.Len(), len(sbom))
	}
}

func TestServiceControl(t *testing.T) {
	node := &servertest.Node{ServiceList: []server.Service{{Name: "etcd", State: server.ServiceRunning}}}
	client := servicev1.NewServiceServiceClient(admin(t, node))
	if _, err := client.StopService(t.Context(), &servicev1.StopServiceRequest{Service: "etcd"}); err != nil {
		t.Error(err)
	}
	if _, err := client.StartService(t.Context(), &servicev1.StartServiceRequest{Service: "etcd"}); err != nil {
		t.Error(err)
	}
	if _, err := client.RestartService(t.Context(), &servicev1.RestartServiceRequest{Service: "nosuch"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown service: got %v, want NotFound", err)
	}
	if _, err := client.StopService(t.Context(), &servicev1.StopServiceRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no service: got %v, want InvalidArgument", err)
	}
	if diff := cmp.Diff([]string{"stop etcd", "start etcd", "restart nosuch"}, node.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// web makes a client of HTTP as Prometheus is one: it offers HTTP/2 too.
func web(t *testing.T, roots *pki.Authority, client *tls.Certificate) *http.Client {
	t.Helper()
	c := &tls.Config{RootCAs: roots.Pool()}
	if client != nil {
		c.Certificates = []tls.Certificate{*client}
	}
	transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestMetrics scrapes over the port of gRPC, with the certificates of gRPC.
func TestMetrics(t *testing.T) {
	log, authority := openAudit(t), servertest.Authority(t, "ours")
	node := &servertest.Node{
		VersionValue: server.Version{OS: "0.1.0", KernelRelease: "6.12", Slot: "a"},
		Checks:       []server.Check{{Name: "etcd"}, {Name: "network", Healthy: true}},
		ServiceList:  []server.Service{{Name: "od\"d\\\n\xff", State: server.ServiceRunning, Restarts: 3}},
		CgroupList:   []*kernelv1.Cgroup{{Path: "/system/etcd", MemoryBytes: 4096}, {Path: "/workload/kubepods/pod1/c1", MemoryBytes: 1}},
		StatsValue: &kernelv1.Stats{
			Cpu:    &kernelv1.CPUStats{Processors: 2, User: durationpb.New(1500 * time.Millisecond), Load1: 0.25},
			Memory: &kernelv1.MemoryStats{TotalBytes: 4 << 30}, Disks: []*kernelv1.DiskStats{{Name: "vda", ReadBytes: 512}},
			Interfaces: []*kernelv1.InterfaceStats{{Name: "eth0", SentBytes: 7, SendDrops: 1, ReceiveErrors: 2}},
			Pressures:  []*kernelv1.Pressure{{Resource: "io", SomeTotal: durationpb.New(time.Second)}},
		},
	}
	api := servertest.Start(t, node, authority, log)
	reader := web(t, authority, withRoles(t, authority, "node:reader"))
	url := "https://" + api.Address + server.MetricsPath
	for range 5 {
		if code, body := get(t, reader, url); code != http.StatusOK {
			t.Fatalf("got %d, %s", code, body)
		}
	}
	_, body := get(t, reader, url)
	for _, line := range []string{
		`cyvive_info{version="0.1.0",kernel="6.12",slot="a"} 1`, `cyvive_check_healthy{check="etcd"} 0`, `cyvive_check_healthy{check="network"} 1`,
		`cyvive_service_restarts_total{service="od\"d\\\n` + "\uFFFD" + `"} 3`, `cyvive_cpu_seconds_total{mode="user"} 1.5`, `cyvive_load{minutes="1"} 0.25`, `cyvive_cpus 2`,
		`cyvive_memory_bytes{kind="total"} 4.294967296e+09`, `cyvive_disk_read_bytes_total{disk="vda"} 512`, `cyvive_network_dropped_packets_total{interface="eth0"} 3`,
		`cyvive_pressure_some_seconds_total{resource="io"} 1`, `cyvive_cgroup_memory_bytes{cgroup="/system/etcd"} 4096`, `cyvive_api_connections{verified="true"} 1`,
		"# TYPE cyvive_cpu_seconds_total counter",
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if strings.Contains(body, "pod1") {
		t.Error("the metrics have a control group for each container of a pod")
	}
	if t.Failed() {
		t.Log(body)
	}
	for name, c := range map[string]struct {
		client *tls.Certificate
		code   int
	}{
		"no certificate": {nil, http.StatusUnauthorized}, "another's": {withRoles(t, servertest.Authority(t, "other"), "node:admin"), http.StatusUnauthorized},
		"wrong role": {withRoles(t, authority, "etcd:backup"), http.StatusForbidden}, "no role": {withRoles(t, authority), http.StatusForbidden},
	} {
		if code, body := get(t, web(t, authority, c.client), url); code != c.code || strings.Contains(body, "cyvive_") {
			t.Errorf("%s: got %d and %q, want %d", name, code, body, c.code)
		}
	}
	if code, _ := get(t, reader, "https://"+api.Address+"/nosuch"); code != http.StatusNotFound {
		t.Errorf("another path: got %d", code)
	}
	// A client that names no protocol in its handshake gets them too.
	plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: authority.Pool(), Certificates: []tls.Certificate{*withRoles(t, authority, "node:reader")},
	}}}
	if code, body := get(t, plain, url); code != http.StatusOK || !strings.Contains(body, "cyvive_info") {
		t.Errorf("without ALPN: got %d", code)
	}
	plain.CloseIdleConnections()
	// gRPC goes on beside it.
	if err := call(t, dial(t, api, authority.Pool(), withRoles(t, authority, "node:reader")), machinev1.MachineService_GetNode_FullMethodName); err != nil {
		t.Error(err)
	}
	api.Stop(t)
	// Six scrapes of one client are one entry; what was refused is all there.
	var scrapes, refused int
	for _, e := range recorded(t, log) {
		switch {
		case e.Method == server.MetricsPath && e.Code == "OK":
			scrapes++
		case e.Code != "OK":
			refused++
		}
	}
	if scrapes != 1 || refused != 5 {
		t.Errorf("the log has %d scrapes and %d refusals, want 1 and 5", scrapes, refused)
	}
}

// TestActedIsTold: what acts on the node is told with who called it.
func TestActedIsTold(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	api := servertest.Start(t, &servertest.Node{}, authority, nil)
	conn := dial(t, api, authority.Pool(), withRoles(t, authority, "node:operator"))
	for _, method := range []string{machinev1.MachineService_GetNode_FullMethodName, machinev1.MachineService_Reboot_FullMethodName, servicev1.ServiceService_StopService_FullMethodName} {
		_ = call(t, conn, method) // what is told is looked at
	}
	want := []string{"/node.machine.v1.MachineService/Reboot alice OK", "/node.service.v1.ServiceService/StopService alice InvalidArgument"}
	if diff := cmp.Diff(want, api.Acted()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}
