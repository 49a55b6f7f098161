package kube_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/containertest"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/kubetest"
	"github.com/cyvive/cyvive/internal/pki"
)

var update = flag.Bool("update", false, "write the golden files again")

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a kube domain on fakes.
type world struct {
	*kube.Reconciler
	t               *testing.T
	held, emptied   []string
	silent          map[string]error
	now             time.Time
	system, kubelet *containertest.Fake
	api             *kubetest.APIServer
	images          *kubetest.Images
	layout          kube.Layout
	dir             string
	spec            kube.Spec
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: start, dir: t.TempDir(), api: kubetest.NewAPIServer(), images: &kubetest.Images{}, spec: testSpec(t)}
	clock := func() time.Time { return w.now }
	w.system, w.kubelet = containertest.NewFake("system", clock), containertest.NewFake("kubelet", clock)
	in := func(name string) string { return filepath.Join(w.dir, name) }
	w.layout = kube.Layout{
		Rootfs: "/rootfs", Plane: "/plane", Secrets: in("secrets"), PlaneRun: in("run"), PlaneVar: in("var"), PlaneCNI: in("cni"), PlaneRegistries: in("registries"),
		PodRange: in("kept/pod-range.json"), Log: in("log"), Images: in("images"), Definitions: in("definitions"), CSI: in("csi"),
		ResolvConf: in("resolv.conf"), MachineID: in("machine-id"),
	}
	for name, text := range map[string]string{
		"images/pause.tar": "", "images/demo.tar": "", "resolv.conf": "nameserver 10.5.0.1\n", "machine-id": "0123\n",
		"definitions/things.json": `{"kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"}}`,
	} {
		if err := os.MkdirAll(filepath.Dir(in(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(in(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.Reconciler = w.agent()
	return w
}

// agent returns a new domain on the same machine.
func (w *world) agent() *kube.Reconciler {
	return kube.New(kube.Config{
		System: w.system, Kubelet: w.kubelet, Images: w.images, API: w.api, Layout: w.layout,
		Now: func() time.Time { return w.now }, Held: func() []string { return w.held }, Empty: w.empty,
		Answers: func(_ context.Context, name string) error { return w.silent[name] },
	})
}

// empty stands for a file system that is mounted.
func (w *world) empty(f kube.FileSystem) error {
	w.emptied = append(w.emptied, strings.TrimPrefix(f.Dir, w.dir+"/"))
	return errors.Join(os.RemoveAll(f.Dir), os.MkdirAll(f.Dir, f.Mode))
}

func testSpec(t *testing.T) kube.Spec {
	t.Helper()
	authority := func(name string) *pki.Authority {
		a, err := pki.NewAuthority(name, start)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return kube.Spec{
		ClusterName: "demo", NodeName: "node1", Endpoint: "https://demo.example:6443",
		Addresses:   []netip.Addr{netip.MustParseAddr("fd00::2"), netip.MustParseAddr("10.5.0.2")},
		CertSANs:    []string{"api.example", "192.0.2.7"},
		PodCIDR:     netip.MustParsePrefix("10.244.0.0/16"),
		ServiceCIDR: netip.MustParsePrefix("10.96.0.0/12"), DNSDomain: "cluster.local", Version: "0.1.0",
		CA: authority("kubernetes"), FrontProxyCA: authority("front-proxy"), EtcdCA: authority("etcd"),
		ServiceAccountKey: key, EncryptionKey: bytes.Repeat([]byte{7}, 32),
	}
}

// pass observes, applies every operation, and returns their texts.
func (w *world) pass() []string {
	w.t.Helper()
	var texts []string
	for _, op := range w.Diff(w.spec, w.observe()) {
		texts = append(texts, strings.ReplaceAll(op.String(), w.dir+"/", ""))
		if err := w.Apply(w.t.Context(), w.spec, op); err != nil {
			w.t.Fatal(err)
		}
	}
	synctest.Wait() // the images are imported beside the loop
	return texts
}

func (w *world) observe() kube.Observed {
	w.t.Helper()
	obs, err := w.Observe(w.t.Context(), w.spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return obs
}

func (w *world) status() kube.Status { return w.Status(w.spec, w.observe()) }

func (w *world) waits(reason string) {
	w.t.Helper()
	s := w.status()
	if s.Reason != reason || s.Ready != (reason == "") {
		w.t.Errorf("status: got ready %t, reason %q, want %q", s.Ready, s.Reason, reason)
	}
}

func (w *world) expect(what string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.pass()); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// run brings the world to a Ready node.
func (w *world) run() {
	w.t.Helper()
	w.images.SetUp(true)
	w.pass()
	w.api.Serve(kube.API{Ready: true, Node: &kube.Node{
		Ready: true, Heartbeat: w.now, PodCIDR: netip.MustParsePrefix("10.244.0.0/24"),
	}})
	for range 3 { // the containers, the images, the network
		w.pass()
	}
	w.expect("a running node")
	w.waits("")
}

func TestFromNothingToReady(t *testing.T) { synctest.Test(t, testFromNothingToReady) }

func testFromNothingToReady(t *testing.T) {
	w := newWorld(t)
	w.waits("container kube-apiserver to be started")
	w.expect("from nothing",
		"issue certificates of kubernetes", "run container kube-apiserver")
	w.waits("kube-apiserver to be ready: connection refused")
	w.expect("nothing more until it answers")

	w.api.Serve(kube.API{Ready: true})
	w.waits("container kube-controller-manager to be started")
	w.expect("the API server is ready", "run container kube-controller-manager", "run container kube-scheduler", "run container plane")
	w.waits("the container runtime of the workload plane to answer")

	w.images.SetUp(true)
	w.waits("the images of the default bundle to be imported")
	w.expect("the plane's runtime answers", "import images of the default bundle")
	w.expect("the images are there")
	w.waits("kubelet to register the node")

	w.api.Serve(kube.API{Ready: true, Node: &kube.Node{Heartbeat: w.now}})
	w.waits("kube-controller-manager to give the node its pod range")
	w.expect("kubelet registered", "label node as control plane", "apply cluster DNS")

	node := kube.Node{Heartbeat: w.now, ControlPlane: true, PodCIDR: netip.MustParsePrefix("10.244.0.0/24"), Message: "no network yet"}
	w.api.Serve(kube.API{Ready: true, Node: &node})
	w.waits("the node to be Ready: no network yet")
	w.expect("the node has its pod range", "write cni/10-cyvive.conflist")
	w.expect("which is written once")

	node.Ready = true
	w.api.Serve(kube.API{Ready: true, PodStarts: []time.Time{w.now, w.now, w.now, {}}, Node: &node})
	w.waits("")
	if s := w.status(); s.PodsRunning != 3 || s.PodCIDR != node.PodCIDR || !s.NodeReady || len(s.Services) != 4 {
		t.Errorf("status: got %+v", s)
	}
	if got := w.images.String(); got != "demo.tar pause.tar" {
		t.Errorf("images: got %q", got)
	}
}

// Of two processors one is left for the plane while the API server starts.
func TestPlaneBesideTheAPIServer(t *testing.T) { synctest.Test(t, testPlaneBesideTheAPIServer) }

func testPlaneBesideTheAPIServer(t *testing.T) {
	w := newWorld(t)
	w.layout.Processors = 2
	w.Reconciler = w.agent()
	w.images.SetUp(true)
	w.expect("from nothing",
		"issue certificates of kubernetes", "run container kube-apiserver", "run container plane")
	w.waits("kube-apiserver to be ready: connection refused")
	w.expect("the plane's runtime answers", "import images of the default bundle")
	w.expect("nothing more until the API server answers")
	w.api.Serve(kube.API{Ready: true})
	w.expect("the API server is ready", "run container kube-controller-manager", "run container kube-scheduler")
}

func TestNoPodNetworkBeforeTheImages(t *testing.T) { synctest.Test(t, testNoPodNetworkBeforeTheImages) }

func testNoPodNetworkBeforeTheImages(t *testing.T) {
	w := newWorld(t)
	w.pass()
	w.api.Serve(kube.API{Ready: true, Node: &kube.Node{ControlPlane: true, PodCIDR: netip.MustParsePrefix("10.244.0.0/24")}})
	w.expect("the API server is ready",
		"run container kube-controller-manager", "run container kube-scheduler", "run container plane", "apply cluster DNS")
	w.expect("the plane's runtime does not answer yet")
	w.images.SetUp(true)
	w.expect("images come first", "import images of the default bundle")
	w.expect("then the network", "write cni/10-cyvive.conflist")
}

// TestPodNetworkBeforeReadyz: an API server that serves the node before its own checks hold is asked for no more than its range.
func TestPodNetworkBeforeReadyz(t *testing.T) { synctest.Test(t, testPodNetworkBeforeReadyz) }

func testPodNetworkBeforeReadyz(t *testing.T) {
	w := newWorld(t)
	w.layout.Processors = 2
	w.Reconciler = w.agent()
	w.images.SetUp(true)
	w.pass()
	w.expect("the plane's runtime answers", "import images of the default bundle")
	node := kube.Node{PodCIDR: netip.MustParsePrefix("10.244.0.0/24")}
	w.api.Serve(kube.API{Node: &node})
	w.expect("it serves the node", "write cni/10-cyvive.conflist")
	node.Ready, node.Heartbeat = true, w.now
	w.api.Serve(kube.API{Node: &node})
	w.expect("nothing more until it is ready")
	if s := w.status(); !s.NodeReady || !s.PlaneUp || !s.PodNetwork || s.Ready || s.APIServerReady || s.Reason != "kube-apiserver to be ready: it is not" {
		t.Errorf("status: got %+v", s)
	}
	w.api.Serve(kube.API{Ready: true, Node: &node})
	w.expect("it is ready", "run container kube-controller-manager", "run container kube-scheduler", "label node as control plane", "apply cluster DNS")
}

// reboot ends everything that runs, and empties what is in memory.
func (w *world) reboot() {
	w.t.Helper()
	w.now = w.now.Add(time.Minute)
	clock := func() time.Time { return w.now }
	w.system, w.kubelet = containertest.NewFake("system", clock), containertest.NewFake("kubelet", clock)
	for _, dir := range []string{w.layout.Secrets, w.layout.PlaneRun, w.layout.PlaneCNI, w.layout.PlaneRegistries} {
		if err := os.RemoveAll(dir); err != nil {
			w.t.Fatal(err)
		}
	}
	w.api.Fail("connection refused")
	w.Reconciler = w.agent()
}

// podsOf wants the network of pods to be of a range, or, without one, not to be.
func (w *world) podsOf(want string) {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.layout.PlaneCNI, "10-cyvive.conflist"))
	if want == "" {
		if !errors.Is(err, os.ErrNotExist) {
			w.t.Errorf("the network of pods: got %q, %v, want none", data, err)
		}
		return
	}
	if err != nil || !strings.Contains(string(data), `"`+want+`"`) {
		w.t.Errorf("the network of pods: got %q, %v, want range %s", data, err, want)
	}
}

// TestPodRangeOverBoots: the network of pods is there before the API server answers, by the
// range of the boot before; where it answers with another one, no pod keeps an address of
// the old.
func TestPodRangeOverBoots(t *testing.T) { synctest.Test(t, testPodRangeOverBoots) }

func testPodRangeOverBoots(t *testing.T) {
	w := newWorld(t)
	w.layout.Processors = 2
	w.Reconciler = w.agent()
	w.run()
	boot := func(pods string) {
		t.Helper()
		w.reboot()
		w.expect("a boot", "issue certificates of kubernetes", "run container kube-apiserver", "run container plane")
		w.expect("the plane's runtime answers: images come first", "import images of the default bundle")
		w.podsOf("")
		if s := w.status(); !s.PlaneUp || s.PodNetwork {
			t.Errorf("before the network: got %+v", s)
		}
		w.expect("then the network", "write cni/10-cyvive.conflist")
		w.podsOf(pods)
		if s := w.status(); !s.PodNetwork || s.APIServerServes {
			t.Errorf("with the network: got %+v", s)
		}
		w.expect("nothing more until the API server answers")
	}
	boot("10.244.0.0/24")
	node := kube.Node{PodCIDR: netip.MustParsePrefix("10.244.0.0/24")}
	w.api.Serve(kube.API{Node: &node})
	w.expect("it tells of the same range")

	node.PodCIDR = netip.MustParsePrefix("10.244.7.0/24")
	w.api.Serve(kube.API{Node: &node})
	w.expect("it tells of another", "end the workload plane, whose pods have addresses of another range")
	w.now = w.now.Add(time.Minute)
	w.expect("a new plane", "run container plane")
	w.podsOf("")
	w.expect("its images", "import images of the default bundle")
	w.expect("its network", "write cni/10-cyvive.conflist")
	w.podsOf("10.244.7.0/24")
	w.expect("nothing more")

	boot("10.244.7.0/24")
	w.api.Serve(kube.API{Node: &kube.Node{}})
	w.expect("the node is new to the cluster", "end the workload plane, whose pods have addresses of another range")
	w.now = w.now.Add(time.Minute)
	w.expect("a new plane", "run container plane")
	w.expect("its images", "import images of the default bundle")
	w.expect("the node has no range yet")
	w.podsOf("")
	w.api.Fail("connection refused")
	w.expect("nor is one known")

	// Another node, or another cluster, has nothing to do with what is kept.
	w.api.Serve(kube.API{Node: &node})
	w.expect("it has one", "write cni/10-cyvive.conflist")
	w.reboot()
	w.spec.NodeName = "node2"
	for range 3 {
		w.pass()
	}
	w.podsOf("")
}

// TestEndOfThePlaneFails: as long as the plane does not end whose pods have addresses of
// another range, no other is started, and the range that is kept is not forgotten.
func TestEndOfThePlaneFails(t *testing.T) { synctest.Test(t, testEndOfThePlaneFails) }

func testEndOfThePlaneFails(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.api.Serve(kube.API{Ready: true, Node: &kube.Node{PodCIDR: netip.MustParsePrefix("10.244.7.0/24"), ControlPlane: true}})
	obs := w.observe()
	ops := w.Diff(w.spec, obs)
	if len(ops) != 1 || ops[0].Kind != kube.EndPlane {
		t.Fatalf("operations: got %v, want the end of the plane", ops)
	}
	w.kubelet.SetUnavailable(true)
	if err := w.Apply(t.Context(), w.spec, ops[0]); err == nil {
		t.Error("the end of a plane whose runtime does not answer: got no error")
	}
	w.kubelet.SetUnavailable(false)
	if got := w.observe().KeptRange; got != obs.KeptRange || !got.IsValid() {
		t.Errorf("kept range: got %v, want %v", got, obs.KeptRange)
	}
	w.expect("it is tried again", "end the workload plane, whose pods have addresses of another range")
}

// After a reboot etcd still holds a node that is Ready and pods that run.
func TestTheLastBootSaysNothing(t *testing.T) { synctest.Test(t, theLastBootSaysNothing) }

func theLastBootSaysNothing(t *testing.T) {
	w := newWorld(t)
	last := w.now.Add(-time.Minute)
	node := kube.Node{Ready: true, Heartbeat: last, ControlPlane: true, PodCIDR: netip.MustParsePrefix("10.244.0.0/24")}
	w.api.Serve(kube.API{Ready: true, Node: &node, PodStarts: []time.Time{last}})
	w.images.SetUp(true)
	w.pass()
	if s := w.status(); s.NodeReady || s.PodsRunning != 0 {
		t.Errorf("before the plane runs: got %+v", s)
	}
	for range 3 {
		w.pass()
	}
	w.waits("kubelet to report the node's state")
	node.Heartbeat = w.now
	w.api.Serve(kube.API{Ready: true, Node: &node, PodStarts: []time.Time{last, w.now}})
	w.waits("")
	if s := w.status(); !s.NodeReady || s.PodsRunning != 1 {
		t.Errorf("afterwards: got %+v", s)
	}
}

// A clock that was two hours ahead is set right after the plane was started by it.
func TestClockThatIsSetBack(t *testing.T) { synctest.Test(t, clockThatIsSetBack) }

func clockThatIsSetBack(t *testing.T) {
	w := newWorld(t)
	node := kube.Node{Ready: true, ControlPlane: true, PodCIDR: netip.MustParsePrefix("10.244.0.0/24")}
	w.now = w.now.Add(2 * time.Hour)
	w.api.Serve(kube.API{Ready: true, Node: &node})
	w.images.SetUp(true)
	for range 4 {
		w.pass()
	}
	w.waits("kubelet to report the node's state")
	w.now = w.now.Add(-2 * time.Hour)
	node.Heartbeat = w.now.Add(-time.Minute)
	w.waits("kubelet to report the node's state")
	w.now = w.now.Add(10 * time.Second)
	node.Heartbeat = w.now
	w.waits("")
}

func TestExitsAreMended(t *testing.T) { synctest.Test(t, testExitsAreMended) }

func testExitsAreMended(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.system.Exit("kube-scheduler", 1)
	w.waits("container kube-scheduler to be started again: it exited with 1, next start in 1s")
	w.expect("in back-off")
	w.now = w.now.Add(2 * time.Second)
	w.held = []string{"kube-scheduler"}
	w.expect("held")
	w.held = nil
	w.expect("after it", "run container kube-scheduler")
	w.waits("")

	w.now = w.now.Add(time.Hour)
	w.kubelet.Exit("plane", 137)
	w.expect("the plane starts again", "run container plane")
	w.expect("and is asked for its images", "import images of the default bundle")
	w.expect("it gets its network", "write cni/10-cyvive.conflist")
	w.expect("nobody looked at cluster DNS for long, and the node is not Ready yet")
	w.api.Serve(kube.API{Ready: true, Node: &kube.Node{
		Ready: true, Heartbeat: w.now, ControlPlane: true, PodCIDR: netip.MustParsePrefix("10.244.0.0/24"),
	}})
	w.expect("it is", "apply cluster DNS")
}

func TestHangsAreMended(t *testing.T) { synctest.Test(t, testHangsAreMended) }

func testHangsAreMended(t *testing.T) {
	w := newWorld(t)
	w.silent = map[string]error{"kube-scheduler": errors.New("connection refused")}
	w.run()
	w.now = w.now.Add(3 * time.Minute)
	w.expect("one that never answered may be slow to start")
	w.waits("")

	w.silent = nil
	w.expect("all answer")
	w.silent = map[string]error{"kube-scheduler": errors.New("timeout")}
	w.now = w.now.Add(50 * time.Second)
	w.expect("one is silent")
	w.waits("")
	w.now = w.now.Add(10 * time.Second)
	w.expect("for longer")
	w.waits("kube-scheduler to answer, which it has not for 1m0s")
	w.now = w.now.Add(time.Minute)
	w.expect("for too long", "end container kube-scheduler, which does not answer any more")
	w.expect("it is gone", "run container kube-scheduler")
	w.now = w.now.Add(3 * time.Minute)
	w.expect("the new one has not answered yet")
}

func TestAPIServerThatFailsLeavesTheRestAlone(t *testing.T) {
	synctest.Test(t, testAPIServerThatFailsLeavesTheRestAlone)
}

func testAPIServerThatFailsLeavesTheRestAlone(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.api.Fail("etcd is gone")
	w.waits("kube-apiserver to be ready: etcd is gone")
	w.expect("nothing is restarted for it")
}

func TestNewAgentAdopts(t *testing.T) { synctest.Test(t, testNewAgentAdopts) }

func testNewAgentAdopts(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.Reconciler = w.agent()
	w.expect("a new agent looks for images and cluster DNS once", "import images of the default bundle", "apply cluster DNS")
	w.expect("and has nothing more to do")
}

// TestImagesOfAnotherRelease: what the release before brought in is let go of, once this
// one's are there.
func TestImagesOfAnotherRelease(t *testing.T) { synctest.Test(t, testImagesOfAnotherRelease) }

func testImagesOfAnotherRelease(t *testing.T) {
	w := newWorld(t)
	w.run()
	if err := os.Rename(filepath.Join(w.layout.Images, "demo.tar"), filepath.Join(w.layout.Images, "new.tar")); err != nil {
		t.Fatal(err)
	}
	w.Reconciler = w.agent()
	w.expect("a new release", "import images of the default bundle", "apply cluster DNS")
	if got := w.images.String(); got != "pause.tar new.tar" {
		t.Errorf("images: got %q, want pause.tar new.tar", got)
	}
}

func TestCertificatesAreRenewedInPlace(t *testing.T) {
	synctest.Test(t, testCertificatesAreRenewedInPlace)
}

func testCertificatesAreRenewedInPlace(t *testing.T) {
	w := newWorld(t)
	w.run()
	before, _ := os.ReadFile(filepath.Join(w.layout.Secrets, "kube-apiserver", "server.crt"))
	w.now = w.now.Add(300 * 24 * time.Hour)
	w.expect("after two thirds of their life",
		"issue certificates of kubernetes", "issue certificates of the workload plane", "apply cluster DNS")
	after, _ := os.ReadFile(filepath.Join(w.layout.Secrets, "kube-apiserver", "server.crt"))
	if len(after) == 0 || bytes.Equal(before, after) {
		t.Error("the API server's certificate is the old one")
	}

	w.spec.Addresses = append(w.spec.Addresses, netip.MustParseAddr("10.5.0.9"))
	w.expect("a further address needs no restart", "issue certificates of kubernetes", "issue certificates of the workload plane")
	w.spec.ServiceCIDR = netip.MustParsePrefix("10.112.0.0/12")
	w.expect("another service range does", "issue certificates of kubernetes",
		"run container kube-apiserver", "run container kube-controller-manager", "run container kube-scheduler",
		"run container plane", "apply cluster DNS")
}

func TestContainersAreAsRecorded(t *testing.T) { synctest.Test(t, testContainersAreAsRecorded) }

func testContainersAreAsRecorded(t *testing.T) {
	w := newWorld(t)
	w.run()
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "plane"} {
		spec, ok := w.system.Spec(name)
		if !ok {
			spec, _ = w.kubelet.Spec(name)
		}
		golden(t, name+".txt", strings.ReplaceAll(render(spec), w.dir, "DIR"))
	}
	for _, name := range []string{"kubelet.yaml", "args", "kubelet.kubeconfig"} {
		data, err := os.ReadFile(filepath.Join(w.layout.Secrets, "plane", name))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".txt", string(data))
	}
	manifests, _ := kube.DNSManifests(w.spec, []netip.Addr{netip.MustParseAddr("10.5.0.1")})
	var dns strings.Builder
	for _, m := range manifests {
		data, err := json.MarshalIndent(m.Object, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		dns.WriteString(m.Path + "\n" + string(data) + "\n")
	}
	golden(t, "dns.txt", dns.String())
}

// TestMemoryOfZFSIsReserved: kubelet leaves it to others, and nothing is started anew for it.
func TestMemoryOfZFSIsReserved(t *testing.T) { synctest.Test(t, testMemoryOfZFSIsReserved) }

func testMemoryOfZFSIsReserved(t *testing.T) {
	w := newWorld(t)
	w.run()
	for _, c := range []struct {
		bytes uint64
		want  string
	}{{256 << 20, `"1024Mi"`}, {300<<20 + 1, `"1069Mi"`}, {0, `"768Mi"`}} {
		w.spec.CacheBytes = c.bytes
		w.expect("what kubelet reads is written", "issue certificates of kubernetes", "issue certificates of the workload plane")
		data, err := os.ReadFile(filepath.Join(w.layout.Secrets, "plane", "kubelet.yaml"))
		if err != nil || !strings.Contains(string(data), `"memory": `+c.want) {
			t.Errorf("with %d bytes: %v, want %s in\n%s", c.bytes, err, c.want, data)
		}
	}
}

// TestPlaneIsNotTrusted: whatever the plane's root makes of the plane's files, nothing
// of the node's is read or written through it, nobody waits for it, and the control
// plane is looked after.
func TestPlaneIsNotTrusted(t *testing.T) { synctest.Test(t, testPlaneIsNotTrusted) }

func testPlaneIsNotTrusted(t *testing.T) {
	w := newWorld(t)
	w.run()
	outside := filepath.Join(w.dir, "outside")
	if err := errors.Join(os.Mkdir(outside, 0o755), os.WriteFile(filepath.Join(outside, "file"), []byte("node's"), 0o600)); err != nil {
		t.Fatal(err)
	}
	resolv, cni := filepath.Join(w.layout.PlaneRun, "resolv.conf"), filepath.Join(w.layout.PlaneRun, "cni")
	for name, put := range map[string]func() error{
		"a link":             func() error { return os.Symlink(filepath.Join(outside, "file"), resolv) },
		"a link to a device": func() error { return os.Symlink("/dev/zero", resolv) },
		"a pipe":             func() error { return syscall.Mkfifo(resolv, 0o600) },
	} {
		if err := errors.Join(os.Remove(resolv), put()); err != nil {
			t.Fatal(err)
		}
		w.expect(name, "write run/resolv.conf")
		w.expect(name + " that was replaced")
	}
	if err := os.Symlink(outside, cni); err != nil {
		t.Fatal(err)
	}
	w.kubelet.Exit("plane", 137)
	w.now = w.now.Add(time.Hour)
	w.expect("a link for a folder that was bound", "run container plane")
	w.pass() // the images
	spec, _ := w.kubelet.Spec("plane")
	for _, m := range spec.Mounts {
		if strings.HasPrefix(m.Source, w.layout.PlaneRun+"/") {
			t.Errorf("%s is bound at %s: the plane can put a link in its place", m.Source, m.Destination)
		}
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside there are %v, %v", entries, err)
	}
	if data, err := os.ReadFile(filepath.Join(outside, "file")); err != nil || string(data) != "node's" {
		t.Errorf("the file outside: got %q, %v", data, err)
	}

	// A folder cannot be replaced by a file, and a runtime that answers nonsense is none.
	if err := errors.Join(os.Remove(resolv), os.MkdirAll(filepath.Join(resolv, "x"), 0o755)); err != nil {
		t.Fatal(err)
	}
	w.images.Fail(errors.New("nonsense"))
	w.system.Exit("kube-scheduler", 1)
	w.now = w.now.Add(time.Minute)
	ops := w.Diff(w.spec, w.observe())
	if len(ops) < 2 || ops[0].String() != "run container kube-scheduler" {
		t.Fatalf("operations: got %v, want the control plane's first", ops)
	}
	if err := w.Apply(t.Context(), w.spec, ops[0]); err != nil {
		t.Error(err)
	}
	if err := w.Apply(t.Context(), w.spec, ops[1]); err == nil {
		t.Errorf("%s: got no error", ops[1])
	}
	w.waits("the container runtime of the workload plane to answer: list containers: nonsense")
}

// TestNobodyWaitsForASilentPlane: a runtime of the plane that takes what it is asked and
// never answers costs a pass a moment now and then, and the control plane is looked after.
func TestNobodyWaitsForASilentPlane(t *testing.T) {
	synctest.Test(t, testNobodyWaitsForASilentPlane)
}

func testNobodyWaitsForASilentPlane(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.images.Silence(true)
	begun := time.Now()
	for range 10 {
		w.waits("") // what it answered before holds until the question is given up
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("ten passes with a silent plane took %s, want no more than 2s", took)
	}
	time.Sleep(time.Minute)
	w.waits("the container runtime of the workload plane to answer")

	w.system.Exit("kube-scheduler", 1)
	w.now = w.now.Add(time.Minute)
	begun = time.Now()
	w.expect("a part of the control plane ended", "run container kube-scheduler")
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it was started again after %s, want no more than 2s", took)
	}

	w.images.Silence(false)
	time.Sleep(time.Minute) // the question that is open still is given up
	w.observe()
	w.waits("")

	// That one plane answered says nothing of the next.
	w.images.Silence(true)
	w.kubelet.Exit("plane", 137)
	w.now = w.now.Add(time.Minute)
	w.expect("the plane ended", "run container plane")
	w.waits("the container runtime of the workload plane to answer")
	time.Sleep(time.Minute) // nobody is left asking
}

// TestNobodyWaitsForAStartingAPIServer: an API server that takes connections and does not
// answer yet keeps nobody from looking after the plane.
func TestNobodyWaitsForAStartingAPIServer(t *testing.T) {
	synctest.Test(t, testNobodyWaitsForAStartingAPIServer)
}

func testNobodyWaitsForAStartingAPIServer(t *testing.T) {
	w := newWorld(t)
	w.layout.Processors = 2
	w.Reconciler = w.agent()
	w.images.SetUp(true)
	w.api.Silence(true)
	w.expect("from nothing",
		"issue certificates of kubernetes", "run container kube-apiserver", "run container plane")
	begun := time.Now()
	w.expect("the plane's runtime answers", "import images of the default bundle")
	w.expect("nothing more until the API server answers")
	w.waits("kube-apiserver to be ready: it has not answered yet")
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("three passes with a silent API server took %s, want no more than 2s", took)
	}
	w.api.Silence(false)
	node := kube.Node{PodCIDR: netip.MustParsePrefix("10.244.0.0/24"), ControlPlane: true}
	w.api.Serve(kube.API{Ready: true, Node: &node})
	time.Sleep(2 * time.Minute) // the question that is open is given up
	w.waits("kube-apiserver to be ready: context deadline exceeded")
	w.waits("container kube-controller-manager to be started")

	// One that has answered is waited for: what it says is of now.
	w.pass()
	w.expect("nothing more")
	w.api.Fail("connection reset")
	w.waits("kube-apiserver to be ready: connection reset")
}

// TestHangWhileTheAPIServerStarts: a part that hangs while the API server takes connections
// and does not answer is ended once.
func TestHangWhileTheAPIServerStarts(t *testing.T) {
	synctest.Test(t, testHangWhileTheAPIServerStarts)
}

func testHangWhileTheAPIServerStarts(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.system.Exit("kube-apiserver", 1)
	w.now = w.now.Add(time.Minute)
	w.api.Fail("connection refused")
	w.expect("the API server ended", "run container kube-apiserver")
	w.expect("nothing more until it answers")
	w.silent = map[string]error{"kube-scheduler": errors.New("no answer")}
	w.now = w.now.Add(2 * time.Minute)
	w.expect("another part hangs", "end container kube-scheduler, which does not answer any more")
	w.api.Silence(true)
	w.expect("it was ended")
	w.expect("and that is known to the question that is open")
	time.Sleep(2 * time.Minute) // nobody is left asking
}

// TestPlaneBeginsEmpty: whatever one plane left in its file systems, the next one starts,
// and finds in them what the node puts there; a plane that runs keeps what it has.
func TestPlaneBeginsEmpty(t *testing.T) { synctest.Test(t, testPlaneBeginsEmpty) }

func testPlaneBeginsEmpty(t *testing.T) {
	w := newWorld(t)
	w.run()
	outside := filepath.Join(w.dir, "outside")
	if err := os.WriteFile(outside, []byte("node's"), 0o600); err != nil {
		t.Fatal(err)
	}
	folders := []string{"run", "cni", "registries", "secrets/plane"}
	if diff := cmp.Diff(folders, w.emptied); diff != "" {
		t.Errorf("before the first plane (-want +got):\n%s", diff)
	}
	w.Reconciler = w.agent()
	w.pass()
	if len(w.emptied) != len(folders) {
		t.Errorf("under a plane that runs, too: emptied %v", w.emptied)
	}
	for what, end := range map[string]func(){
		"it exited":            func() { w.kubelet.Exit("plane", 137); w.now = w.now.Add(time.Minute) },
		"it was stopped":       func() { _ = w.kubelet.Stop(t.Context(), "plane", 0) },
		"it has to be another": func() { w.spec.ServiceCIDR = netip.MustParsePrefix("10.112.0.0/12") },
	} {
		// Nothing can be put in the place of a folder that is not empty.
		for _, name := range []string{"run/resolv.conf", "run/machine-id", "secrets/plane/.stamp", "secrets/plane/kubelet.yaml"} {
			path := filepath.Join(w.dir, name)
			if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(outside, filepath.Join(w.layout.PlaneRun, "log")); err != nil {
			t.Fatal(err)
		}
		w.emptied = nil
		end()
		w.pass()
		if diff := cmp.Diff(folders, w.emptied); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		for name, want := range map[string]string{"run/resolv.conf": "nameserver 10.5.0.1\n", "run/machine-id": "0123\n", "outside": "node's"} {
			if data, err := os.ReadFile(filepath.Join(w.dir, name)); err != nil || string(data) != want {
				t.Errorf("%s: %s: got %q, %v, want %q", what, name, data, err, want)
			}
		}
		if _, err := os.Lstat(filepath.Join(w.layout.PlaneRun, "log")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: what lay in run is there still: %v", what, err)
		}
		for range 3 { // the images, the network
			w.pass()
		}
		w.expect(what + ", and there is nothing more to do")
	}
}

// TestClusterDNSFollowsTheNode changes what it is made from, and has somebody delete it.
func TestClusterDNSFollowsTheNode(t *testing.T) { synctest.Test(t, testClusterDNSFollowsTheNode) }

func testClusterDNSFollowsTheNode(t *testing.T) {
	w := newWorld(t)
	w.run()
	if err := os.WriteFile(w.layout.ResolvConf, []byte("nameserver 10.5.0.9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.expect("another name server", "write run/resolv.conf", "apply cluster DNS")
	w.api.Fail("restarting")
	w.expect("nobody to apply it to")
	w.now = w.now.Add(11 * time.Minute)
	w.expect("nor now")
	w.api.Serve(kube.API{Ready: true, Node: &kube.Node{Ready: true, Heartbeat: w.now, ControlPlane: true, PodCIDR: netip.MustParsePrefix("10.244.0.0/24")}})
	w.expect("after a while it is put right", "apply cluster DNS")
	w.expect("once")
}

// TestUpstreams: what is no server for others is none for cluster DNS.
func TestUpstreams(t *testing.T) {
	spec := testSpec(t)
	for _, test := range []struct{ upstreams, want string }{
		{"", ""}, {"127.0.0.53", ""}, {"::1 10.96.0.10", ""}, {"10.5.0.1 127.0.0.1 fd00::53", "    forward . 10.5.0.1 fd00::53\n"},
	} {
		var servers []netip.Addr
		for text := range strings.FieldsSeq(test.upstreams) {
			servers = append(servers, netip.MustParseAddr(text))
		}
		manifests, _ := kube.DNSManifests(spec, servers)
		corefile := manifests[3].Object["data"].(map[string]any)["Corefile"].(string)
		_, after, found := strings.Cut(corefile, "    forward")
		if found != (test.want != "") || found && !strings.HasPrefix("    forward"+after, test.want) {
			t.Errorf("%q: got\n%s", test.upstreams, corefile)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); -update writes it again:\n%s", path, diff)
	}
}

func render(s container.Spec) string {
	var b strings.Builder
	line := func(words ...string) { b.WriteString(strings.Join(words, " ") + "\n") }
	line("rootfs", s.Rootfs)
	for _, a := range s.Args {
		line("arg", a)
	}
	for _, m := range s.Mounts {
		line("mount", m.Source, m.Destination, strings.Join(m.Options, ","))
	}
	for _, c := range s.Capabilities {
		line("capability", c)
	}
	line("cgroup", s.Cgroup)
	return b.String()
}
