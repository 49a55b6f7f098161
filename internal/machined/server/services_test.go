package server_test

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	containerv1 "github.com/cyvive/cyvive/api/proto/container/v1"
	kubev1 "github.com/cyvive/cyvive/api/proto/kube/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
)

// admin starts a node's API and connects as an administrator.
func admin(t *testing.T, n *servertest.Node) *grpc.ClientConn {
	t.Helper()
	authority := servertest.Authority(t, "ours")
	api := servertest.Start(t, n, authority, nil)
	return dial(t, api, authority.Pool(), withRoles(t, authority, "node:admin"))
}

// check compares a response.
func check(t *testing.T, want, got proto.Message, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
}

func TestMachine(t *testing.T) {
	at := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	node := &servertest.Node{
		VersionValue: server.Version{OS: "0.1.0", KernelRelease: "6.12.1", RootHash: "ab", Slot: "b"},
		Checks:       []server.Check{{Name: "network", Healthy: true, Since: at}, {Name: "etcd", Reason: "no leader"}},
		NodeValue: server.Node{
			Hostname: "node1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")},
			Role: server.RoleControlPlane, ClusterName: "demo", BootID: "b1", BootedAt: at,
		},
	}
	client := machinev1.NewMachineServiceClient(admin(t, node))
	health, err := client.GetHealth(t.Context(), &machinev1.GetHealthRequest{})
	check(t, &machinev1.GetHealthResponse{Checks: []*machinev1.HealthCheck{
		{Name: "network", Healthy: true, Since: timestamppb.New(at)}, {Name: "etcd", Reason: "no leader"},
	}}, health, err)
	n, err := client.GetNode(t.Context(), &machinev1.GetNodeRequest{})
	check(t, &machinev1.GetNodeResponse{
		Hostname: "node1", Addresses: []string{"10.5.0.2/24"}, Version: "0.1.0", KernelRelease: "6.12.1",
		Role: machinev1.NodeRole_NODE_ROLE_CONTROL_PLANE, ClusterName: "demo", Reason: "etcd: no leader", BootId: "b1", BootedAt: timestamppb.New(at),
	}, n, err)
	node.Change(func(n *servertest.Node) {
		n.Checks = []server.Check{{Name: "network", Healthy: true}, {Name: "time", Reason: "no answer", Aside: true}}
	})
	health, err = client.GetHealth(t.Context(), &machinev1.GetHealthRequest{})
	if n, nodeErr := client.GetNode(t.Context(), &machinev1.GetNodeRequest{}); err != nil || nodeErr != nil || health.GetHealthy() || !n.GetReady() || n.GetReason() != "" {
		t.Errorf("without what is aside: got %v, %v and %v, %v, want it ready and not healthy", health, err, n, nodeErr)
	}
	node.Change(func(n *servertest.Node) {
		n.Checks = []server.Check{{Name: "snapshots", Reason: "no room", Again: at.Add(5 * time.Minute)}, {Name: "network", Healthy: true, Again: at}}
	})
	health, err = client.GetHealth(t.Context(), &machinev1.GetHealthRequest{})
	check(t, &machinev1.GetHealthResponse{Checks: []*machinev1.HealthCheck{
		{Name: "snapshots", Reason: "no room; tried again at 2026-11-23T04:05:00Z"}, {Name: "network", Healthy: true},
	}}, health, err)
	node.Change(func(n *servertest.Node) { n.Checks = nil })
	if health, err = client.GetHealth(t.Context(), &machinev1.GetHealthRequest{}); err != nil || health.GetHealthy() {
		t.Errorf("health without a check: got %v, %v, want it not healthy", health, err)
	}
	reboot, err := client.Reboot(t.Context(), &machinev1.RebootRequest{})
	check(t, &machinev1.RebootResponse{BootId: "b1"}, reboot, err)
	shutdown, err := client.Shutdown(t.Context(), &machinev1.ShutdownRequest{})
	check(t, &machinev1.ShutdownResponse{BootId: "b1"}, shutdown, err)
}

func TestBoots(t *testing.T) {
	at := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	node := &servertest.Node{BootList: []server.Boot{
		{ID: "b2", StartedAt: at, End: server.BootRunning, Uptime: time.Minute, Version: "0.1.0", Slot: "a", Milestones: []server.Milestone{{Name: "stage1", Since: time.Second}}},
		{ID: "b1", End: server.BootUnclean, Reason: "power lost"},
		{ID: "b0", End: server.BootClean},
	}}
	got, err := machinev1.NewMachineServiceClient(admin(t, node)).ListBoots(t.Context(), &machinev1.ListBootsRequest{})
	check(t, &machinev1.ListBootsResponse{Boots: []*machinev1.Boot{
		{
			BootId: "b2", StartedAt: timestamppb.New(at), End: machinev1.BootEnd_BOOT_END_RUNNING, Uptime: durationpb.New(time.Minute),
			Version: "0.1.0", Slot: machinev1.Slot_SLOT_A,
			Milestones: []*machinev1.Milestone{{Name: "stage1", SinceKernelStart: durationpb.New(time.Second)}},
		},
		{BootId: "b1", End: machinev1.BootEnd_BOOT_END_UNCLEAN, Uptime: durationpb.New(0), Reason: "power lost"},
		{BootId: "b0", End: machinev1.BootEnd_BOOT_END_CLEAN, Uptime: durationpb.New(0)},
	}}, got, err)
}

func TestCrashes(t *testing.T) {
	at, since := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC), 12*time.Second
	node := &servertest.Node{
		BootList:  []server.Boot{{ID: "b3", End: server.BootRunning}, {ID: "b2"}, {ID: "b1"}},
		CrashList: []server.Crash{{FoundBy: "b3", Time: at, Summary: "kernel panic: x", Records: 2, SizeBytes: 2048}, {FoundBy: "b1"}, {FoundBy: "b0"}},
		CrashLines: map[string][]server.CrashLine{
			"b3": {{Level: 5, Since: &since, Message: "one", Record: "dmesg-1"}, {Level: 6, Message: "two", Record: "dmesg-1"}},
		},
	}
	client := machinev1.NewMachineServiceClient(admin(t, node))
	list, err := client.ListCrashes(t.Context(), &machinev1.ListCrashesRequest{})
	check(t, &machinev1.ListCrashesResponse{Crashes: []*machinev1.Crash{
		{FoundByBootId: "b3", BootId: "b2", Time: timestamppb.New(at), Summary: "kernel panic: x", Records: 2, SizeBytes: 2048}, {FoundByBootId: "b1"}, {FoundByBootId: "b0"},
	}}, list, err)
	two := &machinev1.StreamCrashLogResponse{Level: 6, Message: "two", Record: "dmesg-1"}
	for _, c := range []struct {
		request *machinev1.StreamCrashLogRequest
		want    []*machinev1.StreamCrashLogResponse
	}{
		{&machinev1.StreamCrashLogRequest{}, []*machinev1.StreamCrashLogResponse{{Level: 5, SinceBoot: durationpb.New(since), Message: "one", Record: "dmesg-1"}, two}},
		{&machinev1.StreamCrashLogRequest{FoundByBootId: "b3", Tail: proto.Uint32(1)}, []*machinev1.StreamCrashLogResponse{two}},
	} {
		log, err := client.StreamCrashLog(t.Context(), c.request)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, receiveAll(t, log), protocmp.Transform()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	}
	log, err := client.StreamCrashLog(t.Context(), &machinev1.StreamCrashLogRequest{FoundByBootId: "b2"})
	if err == nil {
		_, err = log.Recv()
	}
	if status.Code(err) != codes.NotFound {
		t.Errorf("a boot that found none: got %v, want NotFound", err)
	}
}

func TestServicesAndContainers(t *testing.T) {
	node := &servertest.Node{
		ServiceList: []server.Service{
			{Name: "machined", State: server.ServiceRunning, PID: 7},
			{Name: "etcd", State: server.ServiceFailed, Restarts: 3, LastExit: "exit status 1"},
		},
		ContainerList: []server.Container{
			{Namespace: "system", Name: "etcd", ID: "etcd", State: server.ContainerRunning, PID: 9},
			{Namespace: "k8s.io", Name: "b", Pod: "p", PodNamespace: "default", State: server.ContainerStopped, ExitCode: 2},
			{Namespace: "k8s.io", Name: "a", Pod: "p", PodNamespace: "default", State: server.ContainerCreated},
			{Namespace: "k8s.io", Name: "z", Pod: "a", PodNamespace: "default", State: server.ContainerPaused},
		},
		KubeconfigValue: server.Kubeconfig{YAML: []byte("kind: Config\n"), ClusterName: "demo"},
	}
	conn := admin(t, node)
	services, err := servicev1.NewServiceServiceClient(conn).ListServices(t.Context(), &servicev1.ListServicesRequest{})
	check(t, &servicev1.ListServicesResponse{Services: []*servicev1.Service{
		{Name: "machined", State: servicev1.ServiceState_SERVICE_STATE_RUNNING, Pid: 7},
		{Name: "etcd", State: servicev1.ServiceState_SERVICE_STATE_FAILED, Restarts: 3, LastExit: "exit status 1"},
	}}, services, err)
	containers, err := containerv1.NewContainerServiceClient(conn).ListContainers(t.Context(), &containerv1.ListContainersRequest{})
	check(t, &containerv1.ListContainersResponse{Containers: []*containerv1.Container{
		{Namespace: "k8s.io", Name: "z", Pod: "a", PodNamespace: "default", State: containerv1.ContainerState_CONTAINER_STATE_PAUSED},
		{Namespace: "k8s.io", Name: "a", Pod: "p", PodNamespace: "default", State: containerv1.ContainerState_CONTAINER_STATE_CREATED},
		{Namespace: "k8s.io", Name: "b", Pod: "p", PodNamespace: "default", State: containerv1.ContainerState_CONTAINER_STATE_STOPPED, ExitCode: 2},
		{Namespace: "system", Name: "etcd", Id: "etcd", State: containerv1.ContainerState_CONTAINER_STATE_RUNNING, Pid: 9},
	}}, containers, err)
	lacking := admin(t, &servertest.Node{ContainerList: node.ContainerList[:1], ContainersLack: errors.New("list containers of k8s.io: nonsense")})
	var header metadata.MD
	containers, err = containerv1.NewContainerServiceClient(lacking).ListContainers(t.Context(), &containerv1.ListContainersRequest{}, grpc.Header(&header))
	check(t, &containerv1.ListContainersResponse{Containers: []*containerv1.Container{
		{Namespace: "system", Name: "etcd", Id: "etcd", State: containerv1.ContainerState_CONTAINER_STATE_RUNNING, Pid: 9},
	}}, containers, err)
	if got, want := header.Get(server.IncompleteHeader), []string{"not all could be listed: list containers of k8s.io: nonsense"}; !slices.Equal(got, want) {
		t.Errorf("header: got %q, want %q", got, want)
	}
	kubeconfig, err := kubev1.NewKubeServiceClient(conn).GetKubeconfig(t.Context(), &kubev1.GetKubeconfigRequest{})
	check(t, &kubev1.GetKubeconfigResponse{Kubeconfig: "kind: Config\n", ClusterName: "demo"}, kubeconfig, err)
}

func TestStreams(t *testing.T) {
	node := &servertest.Node{
		Lines:   map[string][]string{"etcd": {"one", "tw\xffo", "three"}},
		Records: []server.Record{{Sequence: 1, Level: 6, SinceBoot: time.Second, Message: "first"}, {Sequence: 2, Message: "second"}},
	}
	conn := admin(t, node)
	logs, err := servicev1.NewServiceServiceClient(conn).StreamLogs(t.Context(), &servicev1.StreamLogsRequest{Service: "etcd", Tail: proto.Uint32(2)})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, m := range receiveAll(t, logs) {
		lines = append(lines, m.GetLine())
	}
	if diff := cmp.Diff([]string{"tw\uFFFDo", "three"}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	dmesg, err := machinev1.NewMachineServiceClient(conn).StreamDmesg(t.Context(), &machinev1.StreamDmesgRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := []*machinev1.StreamDmesgResponse{
		{Sequence: 1, Level: 6, SinceBoot: durationpb.New(time.Second), Message: "first"},
		{Sequence: 2, SinceBoot: durationpb.New(0), Message: "second"},
	}
	if diff := cmp.Diff(want, receiveAll(t, dmesg), protocmp.Transform()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// TestPreviousLogs: the logs of the boot before have names of their own, and tell what is missing in them before they begin.
func TestPreviousLogs(t *testing.T) {
	node := &servertest.Node{
		Lines: map[string][]string{"etcd": {"now"}}, PastLacks: "the end is missing",
		PastLines: map[string][]string{"etcd": {"one", "tw\xffo", "three"}, "plane/kubelet": {"four"}},
	}
	client := servicev1.NewServiceServiceClient(admin(t, node))
	for _, c := range []struct {
		request *servicev1.StreamLogsRequest
		want    []string
		lacks   []string
		code    codes.Code
	}{
		{&servicev1.StreamLogsRequest{Service: "etcd"}, []string{"now"}, nil, codes.OK},
		{&servicev1.StreamLogsRequest{Service: "previous/etcd"}, []string{"one", "tw\uFFFDo", "three"}, []string{"the end is missing"}, codes.OK},
		{&servicev1.StreamLogsRequest{Service: "previous/etcd", Tail: proto.Uint32(1)}, []string{"three"}, []string{"the end is missing"}, codes.OK},
		{&servicev1.StreamLogsRequest{Service: "previous/plane/kubelet"}, []string{"four"}, []string{"the end is missing"}, codes.OK},
		{&servicev1.StreamLogsRequest{Service: "previous/"}, []string{"etcd", "plane/kubelet"}, nil, codes.OK},
		{&servicev1.StreamLogsRequest{Service: "previous/nosuch"}, nil, nil, codes.NotFound},
		{&servicev1.StreamLogsRequest{Service: "previous/etcd", Follow: true}, nil, nil, codes.InvalidArgument},
		{&servicev1.StreamLogsRequest{Service: "previous/", Follow: true}, nil, nil, codes.InvalidArgument},
	} {
		stream, err := client.StreamLogs(t.Context(), c.request)
		if err != nil {
			t.Fatal(err)
		}
		header, err := stream.Header()
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for err == nil {
			var m *servicev1.StreamLogsResponse
			if m, err = stream.Recv(); err == nil {
				lines = append(lines, m.GetLine())
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if !slices.Equal(lines, c.want) || status.Code(err) != c.code || !slices.Equal(header.Get(server.IncompleteHeader), c.lacks) {
			t.Errorf("%v: got %q, %v, header %q; want %q, %s, %q", c.request, lines, err, header.Get(server.IncompleteHeader), c.want, c.code, c.lacks)
		}
	}
	node.Change(func(n *servertest.Node) { n.PastLines = nil })
	stream, err := client.StreamLogs(t.Context(), &servicev1.StreamLogsRequest{Service: "previous/"})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.NotFound {
		t.Errorf("no logs are kept: got %v, want NotFound", err)
	}
}

func receiveAll[T any](t *testing.T, s grpc.ServerStreamingClient[T]) []*T {
	t.Helper()
	var all []*T
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
}
