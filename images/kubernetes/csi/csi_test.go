package csi

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/kubernetes-csi/external-resizer/v2/pkg/resizer"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const topologyKey = "example.com/node"

// fake is a CSI driver that is asked what it can, and does nothing.
type fake struct {
	spec.IdentityServer
	spec.ControllerServer
	spec.GroupControllerServer
	spec.NodeServer
	groups bool
}

func (fake) GetPluginInfo(context.Context, *spec.GetPluginInfoRequest) (*spec.GetPluginInfoResponse, error) {
	return &spec.GetPluginInfoResponse{Name: "fake.example.com"}, nil
}

func (fake) Probe(context.Context, *spec.ProbeRequest) (*spec.ProbeResponse, error) {
	return &spec.ProbeResponse{}, nil
}

func (f fake) GetPluginCapabilities(context.Context, *spec.GetPluginCapabilitiesRequest) (*spec.GetPluginCapabilitiesResponse, error) {
	answer := &spec.GetPluginCapabilitiesResponse{}
	services := []spec.PluginCapability_Service_Type{spec.PluginCapability_Service_CONTROLLER_SERVICE}
	if f.groups {
		services = append(services, spec.PluginCapability_Service_GROUP_CONTROLLER_SERVICE)
	}
	for _, s := range services {
		answer.Capabilities = append(answer.Capabilities, &spec.PluginCapability{
			Type: &spec.PluginCapability_Service_{Service: &spec.PluginCapability_Service{Type: s}},
		})
	}
	return answer, nil
}

func (fake) ControllerGetCapabilities(context.Context, *spec.ControllerGetCapabilitiesRequest) (*spec.ControllerGetCapabilitiesResponse, error) {
	return &spec.ControllerGetCapabilitiesResponse{Capabilities: []*spec.ControllerServiceCapability{{
		Type: &spec.ControllerServiceCapability_Rpc{Rpc: &spec.ControllerServiceCapability_RPC{
			Type: spec.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		}},
	}}}, nil
}

func (fake) GroupControllerGetCapabilities(
	context.Context, *spec.GroupControllerGetCapabilitiesRequest,
) (*spec.GroupControllerGetCapabilitiesResponse, error) {
	return &spec.GroupControllerGetCapabilitiesResponse{Capabilities: []*spec.GroupControllerServiceCapability{{
		Type: &spec.GroupControllerServiceCapability_Rpc{Rpc: &spec.GroupControllerServiceCapability_RPC{
			Type: spec.GroupControllerServiceCapability_RPC_CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT,
		}},
	}}}, nil
}

func (fake) NodeGetInfo(context.Context, *spec.NodeGetInfoRequest) (*spec.NodeGetInfoResponse, error) {
	return &spec.NodeGetInfoResponse{NodeId: "id1", AccessibleTopology: &spec.Topology{Segments: map[string]string{topologyKey: "node1"}}}, nil
}

// serve has the fake listen at a socket until the test ends.
func serve(t *testing.T, socket string, f fake) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Error(err)
		return
	}
	server := grpc.NewServer()
	spec.RegisterIdentityServer(server, f)
	spec.RegisterControllerServer(server, f)
	spec.RegisterNodeServer(server, f)
	if f.groups {
		spec.RegisterGroupControllerServer(server, f)
	}
	go func() { _ = server.Serve(listener) }() // its end is the test's
}

// TestConnect has a driver come after it is waited for.
func TestConnect(t *testing.T) {
	for name, groups := range map[string]bool{"with groups": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			late := time.AfterFunc(300*time.Millisecond, func() { serve(t, socket, fake{groups: groups}) })
			defer late.Stop()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			d, err := connect(ctx, socket)
			if err != nil {
				t.Fatal(err)
			}
			if d.name != "fake.example.com" || d.groups != groups || d.node.GetNodeId() != "id1" {
				t.Errorf("got driver %s, groups %t, node %v", d.name, d.groups, d.node)
			}
			if !d.can(spec.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT) || d.can(spec.ControllerServiceCapability_RPC_EXPAND_VOLUME) {
				t.Errorf("it can %v", d.controller)
			}
		})
	}
}

func TestConnectEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	socket := filepath.Join(t.TempDir(), "nobody")
	if _, err := connect(ctx, socket); err == nil || !strings.Contains(err.Error(), socket) {
		t.Errorf("nobody there: got %v", err)
	}
}

// yes is a resizer of every volume.
type yes struct{ resizer.Resizer }

func (yes) CanSupport(*corev1.PersistentVolume, *corev1.PersistentVolumeClaim) bool { return true }

type no struct{ resizer.Resizer }

func (no) CanSupport(*corev1.PersistentVolume, *corev1.PersistentVolumeClaim) bool { return false }

func TestReachable(t *testing.T) {
	here := &driver{node: &spec.NodeGetInfoResponse{AccessibleTopology: &spec.Topology{Segments: map[string]string{topologyKey: "node1"}}}}
	on := func(operator corev1.NodeSelectorOperator, nodes ...string) *corev1.PersistentVolume {
		v := &corev1.PersistentVolume{}
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: topologyKey, Operator: operator, Values: nodes}},
		}}}}
		return v
	}
	for name, test := range map[string]struct {
		resizer resizer.Resizer
		volume  *corev1.PersistentVolume
		want    bool
	}{
		"on this node":       {yes{}, on(corev1.NodeSelectorOpIn, "node1"), true},
		"on two":             {yes{}, on(corev1.NodeSelectorOpIn, "node2", "node1"), true},
		"on another":         {yes{}, on(corev1.NodeSelectorOpIn, "node2"), false},
		"anywhere":           {yes{}, &corev1.PersistentVolume{}, true},
		"nobody can read it": {yes{}, on("Unheard", "node1"), false},
		"not this driver's":  {no{}, on(corev1.NodeSelectorOpIn, "node1"), false},
	} {
		if got := (reachable{test.resizer, here}).CanSupport(test.volume, nil); got != test.want {
			t.Errorf("%s: got %t, want %t", name, got, test.want)
		}
	}
}

func TestThisNode(t *testing.T) {
	c := &controllers{core: &kubernetes.Clientset{}, node: "node1", driver: &driver{
		name: "fake.example.com",
		node: &spec.NodeGetInfoResponse{NodeId: "id1", AccessibleTopology: &spec.Topology{Segments: map[string]string{topologyKey: "node1"}}},
	}}
	nodes, csiNodes, err := c.thisNode()
	if err != nil {
		t.Fatal(err)
	}
	node, err := nodes.Get("node1")
	if err != nil || node.Labels[topologyKey] != "node1" {
		t.Errorf("node: got %v, %v", node, err)
	}
	csiNode, err := csiNodes.Get("node1")
	if err != nil {
		t.Fatal(err)
	}
	if d := csiNode.Spec.Drivers; len(d) != 1 || d[0].Name != "fake.example.com" || d[0].NodeID != "id1" || len(d[0].TopologyKeys) != 1 || d[0].TopologyKeys[0] != topologyKey {
		t.Errorf("drivers of the node: got %+v", d)
	}
	if _, err := nodes.Get("node2"); err == nil {
		t.Error("there is another node")
	}
}

// TestNewControllers: one client speaks JSON, which is all that custom resources have, and the other protobuf; and the caller's configuration stays as it was.
func TestNewControllers(t *testing.T) {
	config := &rest.Config{Host: "https://127.0.0.1:1"}
	c, err := newControllers(config)
	if err != nil || c.core == nil || c.snapshots == nil || c.informers == nil || c.snapshotInformers == nil {
		t.Fatalf("got %+v, %v", c, err)
	}
	if config.ContentType != "" || config.QPS != queriesPerSecond {
		t.Errorf("configuration of snapshots' client: got %q, %v queries a second", config.ContentType, config.QPS)
	}
}

// TestCommand: what it needs is asked for by name, and a mistake is told before anything is done.
func TestCommand(t *testing.T) {
	for line, want := range map[string]string{
		"": `"csi-address", "health-address", "kubeconfig", "node-name" not set`, "what": `unknown command "what"`,
		"--kubeconfig=/nowhere --csi-address=/s --node-name=n": `"health-address" not set`,
	} {
		c := NewCommand()
		c.SetArgs(strings.Fields(line))
		c.SilenceErrors = true
		if err := c.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", line, err, want)
		}
	}
}
