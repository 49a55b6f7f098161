package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	containerv1 "github.com/cyvive/cyvive/api/proto/container/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
)

// milestones of a boot that brings up a cluster node, in order; those that have no place in it are in others.
var milestones = []string{
	"kernel", "stage1", "init", "machined", "api", "network", "storage",
	"etcd", "kube-apiserver", "node-ready", "pod-running",
}

// others are milestones that wait for little of what else comes up: of each list what is in front comes first.
var others = [][]string{
	{"machined", "confinement", "workload-plane", "pod-network", "pod-running"},
	{"machined", "kube-apiserver-serves", "kube-apiserver"},
}

// ask runs nodectl with JSON output and reads its answer.
func ask(t *testing.T, ctx context.Context, s *suite, into proto.Message, args ...string) {
	t.Helper()
	out := s.nodectl(t, ctx, append(args, "--output", "json")...)
	if err := protojson.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("read answer of nodectl %v: %v", args, err)
	}
}

// testNodectl asks the node all that a reader can ask.
func testNodectl(t *testing.T, s *suite) {
	ctx := testContext(t, 2*time.Minute)
	var node machinev1.GetNodeResponse
	ask(t, ctx, s, &node, "get", "nodes")
	if !node.GetReady() || node.GetHostname() != s.node.Name || node.GetRole() != machinev1.NodeRole_NODE_ROLE_CONTROL_PLANE {
		t.Errorf("get nodes: got %v, want %s, ready, control plane", &node, s.node.Name)
	}
	if len(node.GetAddresses()) == 0 {
		t.Error("get nodes: the node has no address")
	}
	var health machinev1.GetHealthResponse
	ask(t, ctx, s, &health, "health")
	for _, check := range health.GetChecks() {
		if !check.GetHealthy() || check.GetReason() != "" {
			t.Errorf("health: %v", check)
		}
	}
	var version machinev1.GetVersionResponse
	ask(t, ctx, s, &version, "version")
	if len(version.GetRootHash()) != 64 || version.GetMaintenance() {
		t.Errorf("version: got root hash %q, maintenance %t; want 64 digits, false", version.GetRootHash(), version.GetMaintenance())
	}
	testServices(t, ctx, s)
	testContainers(t, ctx, s)
	testDmesg(t, ctx, s)
	testTimeline(t, ctx, s)
}

func testServices(t *testing.T, ctx context.Context, s *suite) {
	var list servicev1.ListServicesResponse
	ask(t, ctx, s, &list, "service", "list")
	running := map[string]bool{}
	for _, service := range list.GetServices() {
		running[service.GetName()] = service.GetState() == servicev1.ServiceState_SERVICE_STATE_RUNNING
	}
	for _, name := range []string{"machined", "containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "plane"} {
		if !running[name] {
			t.Errorf("service list: %s does not run; there is %v", name, running)
			continue
		}
		// Each has written something since it started.
		if out := s.nodectl(t, ctx, "logs", name, "--tail", "3"); strings.TrimSpace(out) == "" {
			t.Errorf("logs %s: nothing", name)
		} else if got := strings.Count(out, "\n"); got > 3 {
			t.Errorf("logs %s --tail 3: %d lines", name, got)
		}
	}
	// Programs of the workload plane have logs of their own.
	for _, name := range []string{"kubelet", "plane/containerd"} {
		if out := s.nodectl(t, ctx, "logs", name); strings.TrimSpace(out) == "" {
			t.Errorf("logs %s: nothing", name)
		}
	}
	_, err := s.Tools().Nodectl(ctx, "logs", "no-such-service")
	if err == nil || !strings.Contains(err.Error(), "kube-apiserver") {
		t.Errorf("logs no-such-service: got %v, want an error that names the services there are", err)
	}
}

func testContainers(t *testing.T, ctx context.Context, s *suite) {
	var list containerv1.ListContainersResponse
	ask(t, ctx, s, &list, "container", "list")
	planes := map[string][]string{}
	for _, c := range list.GetContainers() {
		planes[c.GetNamespace()] = append(planes[c.GetNamespace()], c.GetName())
	}
	for namespace, want := range map[string]string{"system": "etcd", "k8s.io": "demo"} {
		if !slices.Contains(planes[namespace], want) {
			t.Errorf("container list: namespace %s has %v, want %s among them", namespace, planes[namespace], want)
		}
	}
}

func testDmesg(t *testing.T, ctx context.Context, s *suite) {
	out := s.nodectl(t, ctx, "dmesg")
	if !strings.Contains(out, "Linux version") {
		t.Error("dmesg: the kernel's first line is not there")
	}
	if out := s.nodectl(t, ctx, "dmesg", "--tail", "2"); strings.Count(out, "\n") != 2 {
		t.Errorf("dmesg --tail 2: got %q", out)
	}
	for _, word := range []string{"Oops", "BUG:", "Call Trace", "soft lockup"} {
		if strings.Contains(out, word) {
			t.Errorf("dmesg: the kernel says %q", word)
		}
	}
}

func testTimeline(t *testing.T, ctx context.Context, s *suite) {
	eventually(t, ctx, "all milestones", func(ctx context.Context) error {
		boots, err := listBoots(ctx, s)
		if err != nil {
			return err
		}
		return checkMilestones(boots[0])
	})
}

// listBoots returns the ledger, newest first; it holds one boot at least.
func listBoots(ctx context.Context, s *suite) ([]*machinev1.Boot, error) {
	out, err := s.Tools().Nodectl(ctx, "boots", "--output", "json")
	if err != nil {
		return nil, err
	}
	var list machinev1.ListBootsResponse
	if err := protojson.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	if len(list.GetBoots()) == 0 {
		return nil, fmt.Errorf("nodectl boots: the ledger is empty")
	}
	return list.GetBoots(), nil
}

// checkMilestones wants all of them, in their order, none earlier than the one before.
func checkMilestones(boot *machinev1.Boot) error {
	var names []string
	var last time.Duration
	for _, m := range boot.GetMilestones() {
		at := m.GetSinceKernelStart().AsDuration()
		if at < last {
			return fmt.Errorf("milestone %s at %s comes before the one in front of it, %s", m.GetName(), at, last)
		}
		names, last = append(names, m.GetName()), at
	}
	for _, list := range others {
		before := -1
		for _, name := range list {
			at := slices.Index(names, name)
			if at <= before {
				return fmt.Errorf("milestones: got %v, want %v in this order", names, list)
			}
			before = at
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !slices.Contains(milestones, name) && slices.ContainsFunc(others, func(list []string) bool { return slices.Contains(list, name) })
	})
	// Of two that wait for nothing of each other either may come first. The API server serves the node before all of its own checks hold.
	for _, pair := range [][2]string{{"network", "storage"}, {"kube-apiserver", "node-ready"}} {
		first, second := slices.Index(names, pair[0]), slices.Index(names, pair[1])
		if first == second+1 && second >= 0 {
			names[first], names[second] = names[second], names[first]
		}
	}
	if !slices.Equal(names, milestones) {
		return fmt.Errorf("milestones: got %v, want %v", names, milestones)
	}
	return nil
}

// testKubernetes looks at the cluster through kubectl, and at the pod over HTTP.
func testKubernetes(t *testing.T, s *suite) {
	ctx := testContext(t, 2*time.Minute)
	out, err := s.Tools().Kubectl(ctx, "get", "nodes", "--output", "jsonpath={.items[*].metadata.name}")
	if err != nil || out != s.node.Name {
		t.Errorf("kubectl get nodes: got %q, %v; want %q", out, err, s.node.Name)
	}
	out, err = s.Tools().Kubectl(ctx, "get", "pods", "--all-namespaces", "--output", "jsonpath={.items[*].metadata.name}")
	if err != nil || !strings.Contains(out, "demo") {
		t.Errorf("kubectl get pods: got %q, %v; want demo among them", out, err)
	}
	body, err := s.Fetch(ctx, "/api/v1/namespaces/default/pods/demo:8080/proxy/")
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Hostname string `json:"hostname"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Hostname != "demo" {
		t.Errorf("the pod answers %q, %v; want hostname demo", body, err)
	}
}
