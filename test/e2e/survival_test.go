package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/probe"
	"github.com/cyvive/cyvive/hack/qemu/wire"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// part is a process of the node that must come back when it is killed.
type part struct {
	name string
	// program is the base name of the process's first argument, argument one
	// that tells it from others of that name.
	program, argument string
}

// parts are all of them but PID 1, whose end is the machine's, and the plane's
// PID 1, whose end is all pods'. kube-controller-manager is the last: while it
// starts, it gives up when the API server is away for ten seconds (and then
// starts again), so the API server must not be killed right behind it.
var parts = []part{
	{"machined", "machined", ""},
	{"system containerd", "containerd", "/etc/containerd/system.toml"},
	{"workload containerd", "containerd", "/etc/containerd/config.toml"},
	{"kubelet", "kubelet", ""},
	{"kube-scheduler", "kube-scheduler", ""},
	{"etcd", "etcd", ""},
	{"kube-apiserver", "kube-apiserver", ""},
	{"kube-controller-manager", "kube-controller-manager", ""},
}

// quick is how many of them, from the first, are back within seconds.
const quick = 4

var planeInit = part{"plane", "init", "plane"}

func (p part) is(process probe.Process) bool {
	return len(process.Args) > 0 && path.Base(process.Args[0]) == p.program &&
		(p.argument == "" || slices.Contains(process.Args, p.argument))
}

// survivors watches one node's processes.
type survivors struct {
	*suite
	probe *probe.Client
	wire  *wire.Wire
}

// TestHostile is hard on one node. It is scanned and watched; a pod with all rights
// attacks it; then each part is killed in turn, then all at once. Each comes back
// by itself, and nothing else is touched: not the pod's container, not the other
// parts, and nothing is left behind. With LONG=1 pods answer in the place of the plane's
// containerd. The plane is ended, which puts that right. Then there is a service, which
// works with and without the agent. At last a pod takes all memory that it can get, and
// with LONG=1 others take all else.
//
// ROUNDS repeats the killing. Without it this is the short form: what Kubernetes
// itself is made of, which comes back slowest, is not killed alone but with all
// the others, if the machine is fast enough for that (see startMost), and nothing is
// made to hang.
func TestHostile(t *testing.T) {
	e := requireImage(t)
	rounds, alone, short := 1, parts[:quick], true
	if text := os.Getenv("ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil || rounds < 1 {
			t.Fatalf("ROUNDS is %q, expected a whole number above 0", text)
		}
		alone, short = parts, false
	}
	watched := quiet(t)
	ctx := testContext(t, 45*time.Minute+time.Duration(rounds)*15*time.Minute+watched)
	s := probed(t, ctx, e)
	defer s.wire.Close()
	var err error
	if s.probe, err = s.Probe(ctx, s.node); err != nil {
		t.Fatal(err)
	}
	defer s.probe.Close()
	t.Run("ports", func(t *testing.T) { testPorts(t, s) })
	t.Run("quiet", func(t *testing.T) { testQuiet(t, s, watched) })
	t.Run("attacks", func(t *testing.T) { testAttacks(t, s) })
	s.awaitDNS(t, ctx)
	before, err := s.traces(ctx)
	if err != nil {
		t.Fatal(err)
	}
	pod := s.podIdentity(t, ctx)
	for round := 1; round <= rounds; round++ {
		for _, p := range alone {
			t.Run(fmt.Sprintf("%d/%s", round, p.name), func(t *testing.T) { s.hit(t, syscall.SIGKILL, p) })
		}
		t.Run(fmt.Sprintf("%d/all at once", round), func(t *testing.T) {
			all := parts
			if start := s.apiServerStart(t, ctx); short && start > startMost {
				t.Logf("kube-apiserver took %s to start, more than %s: Kubernetes' own parts are left out", start, startMost)
				all = alone
			}
			s.hit(t, syscall.SIGKILL, all...)
		})
	}
	if diff := cmp.Diff(pod, s.podIdentity(t, ctx)); diff != "" {
		t.Errorf("the pod's container is another (-before +after):\n%s", diff)
	}
	s.checkTraces(t, ctx, before)
	if !short {
		// One that hangs is ended when it has not answered for two minutes.
		scheduler := parts[slices.IndexFunc(parts, func(p part) bool { return p.name == "kube-scheduler" })]
		t.Run("hang", func(t *testing.T) { s.hit(t, syscall.SIGSTOP, scheduler) })
	}
	t.Run("takeover", func(t *testing.T) { testTakeover(t, s) })
	t.Run("plane", func(t *testing.T) { s.killPlane(t, before) })
	t.Run("services", s.testServices)
	kinds := []string{"memory"}
	if long() {
		kinds = append(kinds, "processes", "descriptors", "inodes", "disk")
	}
	t.Run("hogs", func(t *testing.T) { testHogs(t, s, kinds) })
}

// startMost is the longest start of the API server, with nobody asking it, after
// which it comes back while all its clients do. It ends itself when its checks of
// service addresses take more than a minute (kubernetes 1.36,
// pkg/registry/core/rest/storage_core.go), which they do where a start takes two.
const startMost = 75 * time.Second

// apiServerStart is how long the API server took from etcd on, in this boot.
func (s *survivors) apiServerStart(t *testing.T, ctx context.Context) time.Duration {
	t.Helper()
	boots, err := listBoots(ctx, s.suite)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]time.Duration{}
	for _, m := range boots[0].GetMilestones() {
		at[m.GetName()] = m.GetSinceKernelStart().AsDuration()
	}
	start := at["kube-apiserver"] - at["etcd"]
	if start <= 0 {
		t.Fatalf("milestones of the boot: %v, expected etcd and kube-apiserver behind it", at)
	}
	return start
}

// probed makes a cluster whose node has a probe and an open wire, and brings it up with its pod.
func probed(t *testing.T, ctx context.Context, e env) *survivors {
	t.Helper()
	o := e.options(t)
	o.Probe = e.guestProbe(t, ctx)
	o.Wire = true
	o.DiskBytes = 6 << 30 // so that it is full soon
	c := create(t, ctx, o)
	s := &survivors{suite: &suite{Cluster: c, env: e, node: c.Nodes()[0]}}
	// Its driver is one more way from the plane to the system.
	err := c.Reconfigure(s.node, func(c *config.Config) { c.Cluster.Volumes = config.VolumesZFS })
	if err != nil {
		t.Fatal(err)
	}
	if s.wire, err = c.Wire(s.node); err != nil {
		t.Fatal(err)
	}
	bringUp(t, ctx, s.suite)
	return s
}

// identities maps each process that is a part, the plane's PID 1, or a pod's
// container to what tells it from the next of its kind.
func (s *survivors) identities(t *testing.T, ctx context.Context) map[string]string {
	t.Helper()
	all, err := s.probe.Processes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, process := range all {
		if process.State == "Z" || len(process.Args) == 0 {
			continue
		}
		identity := fmt.Sprintf("process %d started at %d", process.PID, process.Started)
		name := ""
		for _, p := range append(parts, planeInit) {
			if p.is(process) {
				name = p.name
			}
		}
		if strings.Contains(process.Cgroup, "/kubepods/") {
			name = "container " + process.Cgroup
		}
		if name != "" {
			found[name] += identity
		}
	}
	return found
}

// hit sends a signal to parts, all at once, and waits until others stand in their
// place and the node is in order.
func (s *survivors) hit(t *testing.T, with syscall.Signal, victims ...part) {
	ctx := testContext(t, 8*time.Minute)
	before := s.identities(t, ctx)
	s.signal(t, ctx, with, victims...)
	started := time.Now()
	eventually(t, ctx, "wait for what was hit", func(ctx context.Context) error {
		now := s.identities(t, ctx)
		for _, v := range victims {
			if now[v.name] == "" || now[v.name] == before[v.name] {
				return fmt.Errorf("%s has not come back", v.name)
			}
		}
		return nil
	})
	t.Logf("back after %s", time.Since(started).Round(100*time.Millisecond))
	s.settle(t, ctx)
	t.Logf("in order after %s", time.Since(started).Round(100*time.Millisecond))
	after := s.identities(t, ctx)
	for _, v := range victims {
		delete(before, v.name)
		delete(after, v.name)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("others than the victims were touched (-before +after):\n%s", diff)
	}
}

// signal signals, and wants each victim to be there.
func (s *survivors) signal(t *testing.T, ctx context.Context, with syscall.Signal, victims ...part) {
	t.Helper()
	all, err := s.probe.Processes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range victims {
		i := slices.IndexFunc(all, v.is)
		if i < 0 {
			t.Fatalf("%s does not run", v.name)
		}
		if err := s.probe.Kill(ctx, all[i].PID, with); err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
	}
}

// settle waits until the node says that it is in order, Kubernetes agrees, and
// the pod answers.
func (s *survivors) settle(t *testing.T, ctx context.Context) {
	t.Helper()
	if err := s.AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitPod(ctx, "demo"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(ctx, cluster.DemoPath); err != nil {
		t.Fatal(err)
	}
}

// killPlane ends the plane's PID 1 and so all pods. The node makes a new plane
// without a reboot, the pods start again, and the system plane does not notice.
func (s *survivors) killPlane(t *testing.T, traces []string) {
	ctx := testContext(t, 8*time.Minute)
	before := s.identities(t, ctx)
	s.signal(t, ctx, syscall.SIGKILL, planeInit)
	eventually(t, ctx, "wait for the plane", func(ctx context.Context) error {
		now := s.identities(t, ctx)
		for _, name := range []string{"plane", "kubelet", "workload containerd"} {
			if now[name] == "" || now[name] == before[name] {
				return fmt.Errorf("%s has not come back", name)
			}
		}
		return nil
	})
	s.settle(t, ctx)
	after := s.identities(t, ctx)
	for _, name := range []string{"machined", "system containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		if before[name] != after[name] {
			t.Errorf("%s was %s, and is %s", name, before[name], after[name])
		}
	}
	s.checkTraces(t, ctx, traces)
}

// podIdentity is what Kubernetes says of the pod's container.
func (s *survivors) podIdentity(t *testing.T, ctx context.Context) string {
	t.Helper()
	const template = "{range .status.containerStatuses[*]}{.containerID} {.restartCount} {.state.running.startedAt}{end}"
	out, err := s.Tools().Kubectl(ctx, "get", "pod", "demo", "--output", "jsonpath="+template)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// unique is what differs between two runs of the same thing: identifiers of
// containers and pods, and numbers.
var unique = regexp.MustCompile(`[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]+`)

// traces lists what a process leaves when nobody cleans up behind it: shims,
// cgroups, and mounts of the node and of the plane.
func (s *survivors) traces(ctx context.Context) ([]string, error) {
	all, err := s.probe.Processes(ctx)
	if err != nil {
		return nil, err
	}
	traces, err := s.probe.Walk(ctx, "/sys/fs/cgroup")
	if err != nil {
		return nil, err
	}
	mounts := map[string]int{"node": 1}
	for _, process := range all {
		if len(process.Args) > 0 && path.Base(process.Args[0]) == "containerd-shim-runc-v2" {
			traces = append(traces, "shim in "+process.Cgroup)
		}
		if planeInit.is(process) {
			mounts["plane"] = process.PID
		}
	}
	for where, pid := range mounts {
		info, err := s.probe.Read(ctx, fmt.Sprintf("/proc/%d/mountinfo", pid))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(info) {
			// The fifth field is the mount point (proc_pid_mountinfo(5)).
			traces = append(traces, "mount of the "+where+" "+strings.Fields(line)[4])
		}
	}
	for i := range traces {
		traces[i] = unique.ReplaceAllString(traces[i], "*")
	}
	slices.Sort(traces)
	return traces, nil
}

// checkTraces wants no more traces than before, in time: Kubernetes removes what
// is dead when it gets to it.
func (s *survivors) checkTraces(t *testing.T, ctx context.Context, before []string) {
	t.Helper()
	limited, cancel := context.WithTimeoutCause(ctx, 3*time.Minute, errors.New("three minutes are over"))
	defer cancel()
	var last string
	defer func() {
		if last != "" {
			t.Errorf("-before +after:\n%s", last)
		}
	}()
	eventually(t, limited, "wait for the traces of what died to go", func(ctx context.Context) error {
		after, err := s.traces(ctx)
		if err != nil {
			return err
		}
		if last = cmp.Diff(before, after); last != "" {
			return errors.New("they are still there")
		}
		return nil
	})
}
