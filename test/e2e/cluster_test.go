package e2e

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/network"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// bootTimeout is for one boot, from QEMU's start to a node in order. Without
// KVM it takes about three minutes, and several times that on a busy machine.
const bootTimeout = 12 * time.Minute

// suite is a running cluster, and what its parts share.
type suite struct {
	*cluster.Cluster
	env  env
	node cluster.Node
	// alone says that the node has no cluster.
	alone bool
	// auditHead is the head of the audit log as testAudit saw it.
	auditHead string
}

// TestCluster makes a cluster and runs the parts in order. A part that fails
// does not keep the next from running, unless the cluster itself is gone. The power
// is cut while the boot after the reboot goes on.
func TestCluster(t *testing.T) {
	e := requireImage(t)
	ctx := testContext(t, 45*time.Minute)
	registry := newImageRegistry(t, ctx, e)
	options := e.options(t)
	options.Reach = []network.Reach{registry.reach(t, ctx, e)}
	c := create(t, ctx, options)
	s := &suite{Cluster: c, env: e, node: c.Nodes()[0]}
	bringUp(t, ctx, s)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"nodectl", testNodectl},
		{"kubernetes", testKubernetes},
		{"certificates", testCertificates},
		{"isolation", testIsolation},
		{"audit", testAudit},
		{"api", testAPI},
		{"support", testSupport},
		// Which pods run the node asks twice a minute; by the end of another part it has.
		{"registries", func(t *testing.T, s *suite) { testRegistries(t, s, registry) }},
		{"reboot", testReboot},
		{"power-cut", testPowerCut},
		{"timeline", func(t *testing.T, s *suite) { testTimeline(t, testContext(t, 2*time.Minute), s) }},
		{"audit-continues", testAuditContinues},
		{"shutdown", testShutdown},
		{"power-key", testPowerKey},
		{"down", testDown},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, s) }) {
			if _, err := c.Machine(s.node); err != nil {
				t.Fatalf("the parts behind %s are left out: %v", part.name, err)
			}
		}
	}
}

// bringUp does what make cluster does.
func bringUp(t *testing.T, ctx context.Context, s *suite) {
	t.Helper()
	demo, err := os.ReadFile(filepath.Join(s.env.root, "hack", "qemu", "demo.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	for _, step := range []func(context.Context) error{
		s.Merge, s.Start, s.AwaitHealthy, s.MergeKubeconfig,
		func(ctx context.Context) error { return s.RunPod(ctx, "demo", demo) },
	} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// nodectl runs nodectl and fails the test when that fails.
func (s *suite) nodectl(t *testing.T, ctx context.Context, args ...string) string {
	t.Helper()
	out, err := s.Tools().Nodectl(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// testDown removes the cluster as make cluster-down does: the user's files, to
// which only this cluster added anything, are gone with it.
func testDown(t *testing.T, s *suite) {
	if err := s.Down(testContext(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{s.Tools().Contexts, s.Tools().Kubeconfig, s.NodeDir(s.node)} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if _, err := s.Machine(s.node); !errors.Is(err, vm.ErrNotRunning) {
		t.Errorf("the machine: %v, want %v", err, vm.ErrNotRunning)
	}
}
