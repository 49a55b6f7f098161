package machined

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/etcd"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/gate"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/state"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// fakeCluster is a Cluster that a test plays.
type fakeCluster struct {
	mu        sync.Mutex
	elsewhere bool
	err       error
	// holds keeps the drain until it is closed or the time is over.
	holds  chan struct{}
	ours   string // the boot that has cordoned the node
	calls  []string
	answer error
}

func (c *fakeCluster) note(call string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call)
	return c.err
}

func (c *fakeCluster) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *fakeCluster) asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

func (c *fakeCluster) ServiceAnswers(context.Context, kube.Spec, string) error      { return c.answer }
func (c *fakeCluster) DeploymentAvailable(context.Context, kube.Spec, string) error { return c.answer }
func (c *fakeCluster) NodeCondition(context.Context, kube.Spec, string) error       { return c.answer }

func (c *fakeCluster) Elsewhere(context.Context, kube.Spec) (bool, error) {
	return c.elsewhere, c.note("elsewhere")
}

func (c *fakeCluster) Cordon(_ context.Context, _ kube.Spec, boot string) error {
	c.mu.Lock()
	c.ours = boot
	c.mu.Unlock()
	return c.note("cordon " + boot)
}

func (c *fakeCluster) Uncordon(_ context.Context, _ kube.Spec, but string) (bool, error) {
	err := c.note("uncordon but " + but)
	c.mu.Lock()
	defer c.mu.Unlock()
	done := err == nil && c.ours != "" && c.ours != but
	if done {
		c.ours = ""
	}
	return done, err
}

func (c *fakeCluster) Drain(ctx context.Context, _ kube.Spec, tell func(kube.Drained) error) (kube.Drained, error) {
	if err := c.note("drain"); err != nil {
		return kube.Drained{}, err
	}
	d := kube.Drained{Remaining: 2, Waiting: "waiting for default/web to end", Stays: []string{"default/bare"}}
	if err := tell(d); err != nil {
		return d, err
	}
	select {
	case <-c.holds:
		return kube.Drained{Gone: 2, Stays: d.Stays}, nil
	case <-ctx.Done():
		return d, nil
	}
}

// startClustered starts a node of a cluster that is played.
func startClustered(t *testing.T, c *fakeCluster, ready bool, gates ...config.Gate) *node {
	t.Helper()
	n := startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(cfg *Config) { cfg.Cluster = c })
	cfg, err := config.Parse("user-data", documents(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Machine.Upgrade.Gates = gates
	data, err := config.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.source.set(data)
	n.etcd.set(etcd.Status{Ready: true, Running: true, Healthy: true})
	n.await("Kubernetes wanted", func(s snapshot) bool { return s.desired.Kube != nil })
	n.setReady(ready)
	return n
}

// setReady has the node be Ready, or not.
func (n *node) setReady(ready bool) {
	n.kube.set(kube.Status{APIServerReady: ready, Ready: ready, NodeReady: ready})
	n.wakers[plan.Kubernetes].Wake()
	n.await(fmt.Sprintf("Ready to be %t", ready), func(s snapshot) bool { return s.kube.Generation > 0 && s.kube.Status.Ready == ready })
}

func TestDrain(t *testing.T) {
	t.Parallel()
	c := &fakeCluster{holds: make(chan struct{})}
	n := startClustered(t, c, true)
	api := kubeAPI{n.Agent}
	var told []server.DrainProgress
	tell := func(p server.DrainProgress) error {
		told = append(told, p)
		return nil
	}
	options := server.DrainOptions{Deadline: 200 * time.Millisecond}
	got, err := api.Drain(t.Context(), options, tell)
	if err != nil || got.Result != server.DrainSkipped || !strings.Contains(got.Reason, "no other node") || len(told) > 0 {
		t.Errorf("of the only node: %+v, %v", got, err)
	}
	options.Alone = true
	got, err = api.Drain(t.Context(), options, tell)
	want := server.DrainOutcome{Result: server.DrainPartial, Remaining: 2, Reason: "the deadline of 200ms is over: waiting for default/web to end"}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if d := cmp.Diff([]server.DrainProgress{{Remaining: 2, Waiting: "waiting for default/web to end"}}, told); d != "" {
		t.Errorf("progress (-want +got):\n%s", d)
	}
	close(c.holds)
	c.elsewhere = true
	got, err = api.Drain(t.Context(), server.DrainOptions{Deadline: time.Minute}, tell)
	want = server.DrainOutcome{Result: server.DrainComplete, Gone: 2, Reason: "left on the node, since nothing would make them anew: default/bare"}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if !slices.Contains(c.asked(), "cordon "+n.cfg.Boot.ID) {
		t.Errorf("the cluster was asked for %v", c.asked())
	}
	if done, err := api.Uncordon(t.Context()); !done || err != nil {
		t.Errorf("uncordon: %t, %v", done, err)
	}
	c.fail(errors.New("forbidden"))
	if got, err := api.Drain(t.Context(), options, tell); err != nil || got.Result != server.DrainSkipped || !strings.Contains(got.Reason, "forbidden") {
		t.Errorf("without the right to: %+v, %v", got, err)
	}
}

func TestDrainOfANodeThatCannot(t *testing.T) {
	t.Parallel()
	c := &fakeCluster{}
	n := startClustered(t, c, false)
	got, err := kubeAPI{n.Agent}.Drain(t.Context(), server.DrainOptions{Deadline: time.Minute}, nil)
	if err != nil || got.Result != server.DrainSkipped || !strings.Contains(got.Reason, "the API server does not answer") || len(c.asked()) > 0 {
		t.Errorf("without its API server: %+v, %v", got, err)
	}
	if _, err := (kubeAPI{n.Agent}).Uncordon(t.Context()); !errors.Is(err, server.ErrUnavailable) {
		t.Errorf("uncordon: %v", err)
	}
}

// TestSettled: pods come back when the release stays, and not before.
func TestSettled(t *testing.T) {
	cluster := plan.Input{Config: &config.Config{Cluster: &config.Cluster{}}}
	ready := state.Report[kube.Status]{Status: kube.Status{Ready: true}}
	at := func(stage upgrade.Stage) *upgrade.Status {
		return &upgrade.Status{Record: upgrade.Record{Stage: stage}}
	}
	gated := cluster
	gated.Config = &config.Config{Cluster: &config.Cluster{}}
	gated.Config.Machine.Upgrade.Gates = []config.Gate{{Name: "web"}}
	trial := func(input plan.Input, waived []string, checks ...server.Check) snapshot {
		return snapshot{
			input: input, kube: ready, upgradable: true, listening: true, checks: checks,
			upgrade: &upgrade.Status{Record: upgrade.Record{Stage: upgrade.Trial, Waived: waived}},
		}
	}
	for name, test := range map[string]struct {
		s    snapshot
		want bool
	}{
		"nothing is known":       {snapshot{}, false},
		"no cluster":             {snapshot{input: plan.Input{Config: &config.Config{}}, kube: ready}, false},
		"not Ready":              {snapshot{input: cluster}, false},
		"Ready, without slots":   {snapshot{input: cluster, kube: ready}, true},
		"its upgrade not known":  {snapshot{input: cluster, kube: ready, upgradable: true}, false},
		"on trial":               {snapshot{input: cluster, kube: ready, upgradable: true, upgrade: at(upgrade.Trial)}, false},
		"going back":             {snapshot{input: cluster, kube: ready, upgradable: true, upgrade: at(upgrade.Reverting)}, false},
		"blessed, or come back":  {snapshot{input: cluster, kube: ready, upgradable: true, upgrade: at(upgrade.Idle)}, true},
		"before any upgrade":     {snapshot{input: cluster, kube: ready, upgradable: true, upgrade: at("")}, true},
		"waiting for its reboot": {snapshot{input: cluster, kube: ready, upgradable: true, upgrade: at(upgrade.Armed)}, true},
		"all but its own gates":  {trial(gated, nil, server.Check{Name: "node", Healthy: true}), true},
		"and one that is waived": {trial(gated, []string{"node"}, server.Check{Name: "node"}), true},
		"something else too":     {trial(gated, nil, server.Check{Name: "network"}), false},
		"nothing is missing":     {trial(cluster, nil, server.Check{Name: "node", Healthy: true}), false},
	} {
		if got := test.s.settled(); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// TestUncordonsAfterAReboot: what an earlier boot has cordoned takes pods again once the node is Ready, however often the API server has to be asked; and
// nothing is asked again after that.
func TestUncordonsAfterAReboot(t *testing.T) {
	t.Parallel()
	c := &fakeCluster{ours: "another boot"}
	n := startClustered(t, c, true)
	n.awaitOther("pods to be taken again", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.ours == ""
	})
	n.update(func(*snapshot) {})
	time.Sleep(50 * time.Millisecond)
	if d := cmp.Diff([]string{"uncordon but " + n.cfg.Boot.ID}, c.asked()); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}

// TestGatesOfTheConfiguration: they are part of what a release is judged by, with their reasons, and do not hold before they were looked at.
func TestGatesOfTheConfiguration(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &fakeCluster{answer: errors.New("it has no condition GPUReady")}
	n := startClustered(t, c, true,
		config.Gate{Name: "db", Kind: config.GateTCP, Target: l.Addr().String()}, config.Gate{Name: "gpu", Kind: config.GateCondition, Target: "GPUReady"})
	show := func(s snapshot) (out []string) {
		for _, g := range s.extraGates() {
			out = append(out, fmt.Sprintf("%s %t %s", g.Name, g.Holds, g.Reason))
		}
		return out
	}
	s := n.snapshot()
	s.gates = nil
	if d := cmp.Diff([]string{"gate db false not looked at yet", "gate gpu false not looked at yet"}, show(s)); d != "" {
		t.Errorf("at first (-want +got):\n%s", d)
	}
	n.lookAtGates(t.Context())
	want := []string{"gate db true ", "gate gpu false GPUReady: it has no condition GPUReady"}
	if d := cmp.Diff(want, show(n.snapshot())); d != "" {
		t.Errorf("after a look (-want +got):\n%s", d)
	}
	all := gates(n.snapshot())
	if last := all[len(all)-1]; last.Name != "gate gpu" || last.Holds {
		t.Errorf("the gates of a release end with %+v", last)
	}
	n.setReady(false)
	n.lookAtGates(t.Context())
	want[1] = "gate gpu false waiting for the node to be Ready"
	if d := cmp.Diff(want, show(n.snapshot())); d != "" {
		t.Errorf("of a node that is not Ready (-want +got):\n%s", d)
	}
}

func TestDatedGates(t *testing.T) {
	result := func(name, reason string) gate.Result {
		return gate.Result{Gate: config.Gate{Name: name}, Reason: reason}
	}
	first, second := time.Unix(1000, 0), time.Unix(2000, 0)
	before := datedGates(nil, []gate.Result{result("a", ""), result("b", "down")}, first)
	after := datedGates(before, []gate.Result{result("b", ""), result("a", "")}, second)
	if !before[0].since.Equal(first) || !after[0].since.Equal(second) || !after[1].since.Equal(first) {
		t.Errorf("before %+v, after %+v", before, after)
	}
}
