package machined

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/containertest"
	"github.com/cyvive/cyvive/internal/etcd"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/state"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// runningNode is a node with etcd and the plane running.
func runningNode(t *testing.T) *node {
	t.Helper()
	n := startNode(t, t.TempDir(), storagetest.New(1<<30))
	n.source.set(documents(t))
	n.etcd.set(etcd.Status{Ready: true, Running: true, Healthy: true})
	n.await("etcd is healthy", func(s snapshot) bool { return healthy(s, "etcd") })
	for name, runtime := range map[string]container.Runtime{"etcd": n.containers, "plane": n.plane} {
		if err := runtime.Ensure(t.Context(), container.Spec{Name: name, Rootfs: "/r", Args: []string{"/x"}, Cgroup: "/system/" + name}); err != nil {
			t.Fatal(err)
		}
	}
	n.init.mu.Lock()
	n.programs = []server.Service{{Name: "kubelet", State: server.ServiceRunning, PID: 50}}
	n.init.mu.Unlock()
	return n
}

func (n *node) service(name string) server.Service {
	n.t.Helper()
	list, err := servicesAPI{n.Agent}.Services(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s server.Service) bool { return s.Name == name })
	if i < 0 {
		n.t.Fatalf("service %s is not listed", name)
	}
	return list[i]
}

func TestStopHolds(t *testing.T) {
	n := runningNode(t)
	api := servicesAPI{n.Agent}
	if err := api.StopService(t.Context(), "etcd"); err != nil {
		t.Fatal(err)
	}
	if got := n.containers.String(); got != "" {
		t.Errorf("after the stop there is %q", got)
	}
	n.await("health says so", func(s snapshot) bool {
		return slices.ContainsFunc(s.checks, func(c server.Check) bool {
			return c.Name == "etcd" && !c.Healthy && strings.Contains(c.Reason, "nodectl service start etcd")
		})
	})
	if s := n.service("etcd"); s.State != server.ServiceStopped || s.Reason == "" {
		t.Errorf("service list: got %+v", s)
	}
	if err := n.held.Runtime(n.containers).Ensure(t.Context(), container.Spec{Name: "etcd"}); err != nil || n.containers.String() != "" {
		t.Errorf("the loop started it: %v, %q", err, n.containers.String())
	}
	if err := api.StartService(t.Context(), "etcd"); err != nil {
		t.Fatal(err)
	}
	n.await("health is well again", func(s snapshot) bool { return healthy(s, "etcd") })
	if len(n.held.Names()) > 0 {
		t.Errorf("still held: %v", n.held.Names())
	}
}

func TestWhatCannotBeStopped(t *testing.T) {
	n := runningNode(t)
	api := servicesAPI{n.Agent}
	for name, want := range map[string]error{
		"machined": server.ErrPrecondition, "containerd": server.ErrPrecondition, "kubelet": server.ErrPrecondition, "nosuch": server.ErrNotFound,
	} {
		if err := api.StopService(t.Context(), name); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	if got := n.containers.String() + n.plane.String(); got != "etcd running\nplane running\n" {
		t.Errorf("containers: got %q", got)
	}
}

func TestRestart(t *testing.T) {
	n := runningNode(t)
	api := servicesAPI{n.Agent}
	for _, name := range []string{"containerd", "kubelet", "plane", "machined"} {
		if err := api.RestartService(t.Context(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := n.plane.String(); got != "" {
		t.Errorf("the plane was not ended: %q", got)
	}
	if len(n.held.Names()) > 0 {
		t.Errorf("a restart holds %v", n.held.Names())
	}
	want := []string{"restart containerd", "terminate 50", "restart machined"}
	deadline := time.Now().Add(10 * time.Second)
	for {
		got := slices.DeleteFunc(n.init.asked(), func(c string) bool { return strings.HasPrefix(c, "start ") || strings.HasPrefix(c, "trial ") })
		if slices.Equal(want, got) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("init and processes were asked (-want +got):\n%s", cmp.Diff(want, got))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestEvents: what happens is told, with its reason, in order.
func TestEvents(t *testing.T) {
	n := runningNode(t)
	n.etcd.set(etcd.Status{Reason: "a leader"})
	n.wakers["etcd"].Wake()
	n.await("etcd is ill", func(s snapshot) bool { return !healthy(s, "etcd") })
	n.acted("/node.machine.v1.MachineService/Reboot", "alice", "OK")
	deadline := time.Now().Add(20 * time.Second)
	wanted := []server.Event{
		{Kind: server.EventAgent, Subject: "agent", State: "started", Reason: "version 1.0"},
		{Kind: server.EventConfiguration, Subject: "configuration", State: "accepted", Reason: "host name node1"},
		{Kind: server.EventHealth, Subject: "etcd", State: "ready"},
		{Kind: server.EventHealth, Subject: "etcd", State: "not ready", Reason: "waiting for a leader"},
		{Kind: server.EventMilestone, Subject: "network", State: "reached", Reason: "1m0s after the kernel's start"},
		{Kind: server.EventService, Subject: "machined", State: "running"},
		{Kind: server.EventRequest, Subject: "/node.machine.v1.MachineService/Reboot", State: "OK", Reason: "called by alice"},
	}
	for {
		var got []server.Event
		if err := n.events.Stream(t.Context(), server.StreamOptions{Tail: -1}, func(e server.Event) error {
			e.Sequence, e.Time = 0, time.Time{}
			got = append(got, e)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		missing := slices.DeleteFunc(slices.Clone(wanted), func(w server.Event) bool { return slices.Contains(got, w) })
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no events %+v in %+v", missing, got)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestHeldIsOneCheck: what was stopped makes its own check ill, and no
// other.
func TestHeldIsOneCheck(t *testing.T) {
	s := snapshot{
		held: []string{"kube-scheduler"},
		etcd: state.Report[etcd.Status]{Generation: 1, Status: etcd.Status{Ready: true}},
		kube: state.Report[kube.Status]{Generation: 1, Status: kube.Status{Ready: true, APIServerReady: true}},
	}
	for _, c := range withHeld(health(s), s.held) {
		switch c.Name {
		case "etcd", "kube-apiserver":
			if !c.Healthy {
				t.Errorf("%s: got not healthy, %s", c.Name, c.Reason)
			}
		case "node":
			if c.Healthy || !strings.Contains(c.Reason, "nodectl service start kube-scheduler") {
				t.Errorf("node: got %+v", c)
			}
		}
	}
}

// TestServesOnTheOtherListener calls over the listener that stands for vsock.
func TestServesOnTheOtherListener(t *testing.T) {
	t.Parallel()
	n := startNodeWith(t, t.TempDir(), storagetest.New(0), func(c *Config) { c.Pace.SearchFor = time.Second })
	(&owned{node: n}).eventually(t, "the node answers anybody, as it has neither configuration nor owner", func() error {
		if n.identity.Load().Unconfigured.Audience != server.AudienceAnybody {
			return errors.New("not yet")
		}
		return nil
	})
	conn, err := grpc.NewClient("passthrough:///"+n.more.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	v, err := machinev1.NewMachineServiceClient(conn).GetVersion(ctx, &machinev1.GetVersionRequest{}, grpc.WaitForReady(true))
	if err != nil || v.GetVersion() != "1.0" {
		t.Errorf("got %v, %v", v, err)
	}
}

// TestEndsWhileATaskFails: an agent whose identity cannot be set up ends when it
// is told to, and does not try for good.
func TestEndsWhileATaskFails(t *testing.T) {
	n := startNode(t, filepath.Join(t.TempDir(), "nosuch", "state"), storagetest.New(1<<30))
	n.source.set(documents(t))
	n.await("a problem", func(s snapshot) bool { return s.identityProblem != "" })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.end()
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the agent does not end")
	}
}

// broken is a runtime that answers nonsense to a list.
type broken struct{ container.Runtime }

func (broken) List(context.Context) ([]container.Info, error) { return nil, errors.New("nonsense") }

// silent is a runtime that takes a question and never answers.
type silent struct{ container.Runtime }

func (silent) List(ctx context.Context) ([]container.Info, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("list containers: %w: %w", container.ErrUnavailable, ctx.Err())
}

// TestContainersWithASilentPlane: nobody waits for what never answers for longer than a
// client of the API does.
func TestContainersWithASilentPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := containertest.NewFake("system", time.Now)
		if err := system.Ensure(t.Context(), container.Spec{Name: "etcd", Rootfs: "/r", Args: []string{"/x"}, Cgroup: "/system/etcd"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 14*time.Second) // nodectl waits 15
		defer cancel()
		api := containersAPI{&Agent{cfg: Config{System: system, Plane: containertest.NewFake("kubelet", time.Now), Pods: silent{}}}}
		got, err := api.Containers(ctx)
		if err != nil || len(got) != 1 || ctx.Err() != nil {
			t.Errorf("a runtime for pods that never answers: got %v, %v; want etcd, and in time", got, err)
		}
	})
}

// TestContainersWithoutThePlanes: what answers in the place of the plane's containerd keeps
// nobody from seeing the system's containers, and the list says what it lacks.
func TestContainersWithoutThePlanes(t *testing.T) {
	system, away := containertest.NewFake("system", time.Now), containertest.NewFake("k8s.io", time.Now)
	if err := system.Ensure(t.Context(), container.Spec{Name: "etcd", Rootfs: "/r", Args: []string{"/x"}, Cgroup: "/system/etcd"}); err != nil {
		t.Fatal(err)
	}
	away.SetUnavailable(true)
	list := func(system, pods container.Runtime) ([]server.Container, error) {
		api := containersAPI{&Agent{cfg: Config{System: system, Plane: containertest.NewFake("kubelet", time.Now), Pods: pods}}}
		return api.Containers(t.Context())
	}
	got, err := list(system, broken{})
	if !errors.Is(err, server.ErrIncomplete) || !strings.Contains(err.Error(), "nonsense") || len(got) != 1 || got[0].Name != "etcd" {
		t.Errorf("nonsense for pods: got %v, %v; want etcd, and %v", got, err, server.ErrIncomplete)
	}
	if got, err := list(system, away); err != nil || len(got) != 1 {
		t.Errorf("no answer for pods: got %v, %v; want etcd", got, err)
	}
	if got, err := list(broken{}, broken{}); err == nil || errors.Is(err, server.ErrIncomplete) || len(got) != 0 {
		t.Errorf("nonsense of both: got %v, %v; want an error", got, err)
	}
}
