package machined

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/semver"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/etcd"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/service"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// documents returns a configuration with a cluster.
func documents(t *testing.T) []byte {
	t.Helper()
	pair := func(name string) config.KeyPair {
		a, err := pki.NewAuthority(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return config.KeyPair{Certificate: string(a.CertificatePEM()), Key: config.NewSecret(string(a.KeyPEM()))}
	}
	data, err := config.Marshal(&config.Config{
		Machine: config.Machine{Hostname: "node1", CA: pair("api"), CertSANs: []string{"node1.example", "192.0.2.1"}},
		Cluster: &config.Cluster{
			Name: "demo", Endpoint: "https://127.0.0.1:6443", Role: config.RoleControlPlane, CA: pair("kubernetes"), FrontProxyCA: pair("front"),
			EtcdCA: pair("etcd"), ServiceAccountKey: pair("sa").Key, EncryptionKey: config.NewSecret("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func healthy(s snapshot, name string) bool {
	i := slices.IndexFunc(s.checks, func(c server.Check) bool { return c.Name == name })
	return i >= 0 && s.checks[i].Healthy
}

func TestComesUpLayerByLayer(t *testing.T) {
	n := startNode(t, t.TempDir(), storagetest.New(1<<30))
	n.source.set(documents(t))
	n.await("etcd wanted", func(s snapshot) bool { return s.desired.Etcd != nil && s.runtime })
	n.await("network, storage and identity", func(s snapshot) bool {
		return healthy(s, "config") && healthy(s, "network") && healthy(s, "storage") && healthy(s, "identity")
	})
	if s := n.snapshot(); s.desired.Kube != nil || s.desired.Etcd.Address.String() != "10.5.0.7" {
		t.Errorf("desired before etcd is healthy: %+v", s.desired)
	}
	if !slices.Contains(n.init.asked(), "start containerd") {
		t.Errorf("init was asked for %v", n.init.asked())
	}
	n.etcd.set(etcd.Status{Ready: true, Running: true, Healthy: true})
	n.await("Kubernetes wanted", func(s snapshot) bool { return s.desired.Kube != nil })
	n.kube.set(kube.Status{
		Ready: true, APIServerReady: true, APIServerServes: true, PlaneUp: true, PodNetwork: true, NodeReady: true, PodsRunning: 1,
	})
	n.await("node in order", func(s snapshot) bool { return healthy(s, "node") })
	if healthy(n.snapshot(), "services") {
		t.Error("services are in order before the cluster told of any")
	}
	n.cluster <- service.New(nil)
	n.await("all healthy", func(s snapshot) bool {
		return !slices.ContainsFunc(s.checks, func(c server.Check) bool { return !c.Healthy })
	})
	n.awaitMilestone("pod-running")
	boots, err := bootsAPI{n.Agent}.Boots(t.Context())
	if err != nil || len(boots) != 1 || boots[0].End != server.BootRunning || len(boots[0].Milestones) != 12 {
		t.Errorf("boots: %+v, %v", boots, err)
	}
	kubeconfig, err := kubeAPI{n.Agent}.Kubeconfig(t.Context())
	if err != nil || !strings.Contains(string(kubeconfig.YAML), "https://127.0.0.1:6443") || kubeconfig.ClusterName != "demo" {
		t.Errorf("kubeconfig of %s: %v", kubeconfig.ClusterName, err)
	}
}

// TestWantsContainers: a node of a cluster does not wait with its containerd for volumes and addresses.
func TestWantsContainers(t *testing.T) {
	cluster := &config.Config{Cluster: &config.Cluster{}}
	for _, test := range []struct {
		what  string
		input plan.Input
		want  bool
	}{
		{"no configuration", plan.Input{}, false},
		{"no cluster", plan.Input{Config: &config.Config{}}, false},
		{"a cluster", plan.Input{Config: cluster}, true},
		{"a cluster on an installation medium", plan.Input{Config: cluster, Medium: true}, false},
	} {
		if got := (snapshot{input: test.input}).wantsContainers(); got != test.want {
			t.Errorf("%s: got %t", test.what, got)
		}
	}
}

// TestWallsOfTheProfile: Kubernetes waits for the walls of the profile that is
// wanted, and health says why they do not stand.
func TestWallsOfTheProfile(t *testing.T) {
	t.Parallel()
	n := startNode(t, t.TempDir(), storagetest.New(1<<30))
	n.await("walls without a configuration", func(s snapshot) bool { return healthy(s, "confinement") })
	if got := n.walls.standing(); got != config.ProfileStandard {
		t.Errorf("without a configuration: profile %q", got)
	}
	n.walls.set(errors.New("no such hook"))
	n.source.set([]byte(strings.Replace(string(documents(t)), "kind: Machine\n", "kind: Machine\nprofile: strict\n", 1)))
	n.etcd.set(etcd.Status{Ready: true, Running: true, Healthy: true})
	n.await("the reason", func(s snapshot) bool {
		return slices.ContainsFunc(s.checks, func(c server.Check) bool { return c.Name == "confinement" && !c.Healthy && c.Reason == "no such hook" })
	})
	n.await("Kubernetes to wait", func(s snapshot) bool { return strings.Contains(s.desired.Waits[plan.Kubernetes], "confinement") })
	n.walls.set(nil)
	n.await("Kubernetes wanted", func(s snapshot) bool { return s.desired.Kube != nil })
	if got := n.walls.standing(); got != config.ProfileStrict {
		t.Errorf("profile %q, want strict", got)
	}
}

// TestServicesReachTheKernel: what the cluster tells is what the kernel translates; while it tells nothing, that stays.
func TestServicesReachTheKernel(t *testing.T) {
	n := startNode(t, t.TempDir(), storagetest.New(1<<30))
	n.source.set(documents(t))
	n.etcd.set(etcd.Status{Ready: true, Running: true, Healthy: true})
	n.await("Kubernetes wanted", func(s snapshot) bool { return s.desired.Kube != nil })
	if got := n.services.String(); got != "attached=false damaged=0\n" {
		t.Errorf("before the cluster told of any service: %s", got)
	}
	at := service.Address{AddrPort: netip.MustParseAddrPort("10.96.0.1:443"), Protocol: service.TCP}
	for _, backends := range []string{"10.5.0.7:6443", "10.5.0.8:6443"} {
		n.cluster <- service.New(map[service.Address][]netip.AddrPort{at: {netip.MustParseAddrPort(backends)}})
		n.await("the table", func(s snapshot) bool {
			return s.network.Satisfied && n.services.String() == "attached=true damaged=0\ntcp 10.96.0.1:443 -> "+backends+"\n"
		})
	}
	n.etcd.set(etcd.Status{Reason: "gone"})
	n.wakers[plan.Etcd].Wake()
	n.await("Kubernetes held back", func(s snapshot) bool { return s.desired.Kube == nil })
	if s := n.snapshot(); s.desired.Network.Services == nil {
		t.Error("services are forgotten when etcd is away")
	}
}

// awaitMilestone waits until the ledger has the milestone.
func (n *node) awaitMilestone(name string) {
	n.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		data, err := os.ReadFile(filepath.Join(n.state, "boots.jsonl"))
		if err == nil && strings.Contains(string(data), name) {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	n.t.Fatalf("milestone %s is not in the ledger", name)
}

func TestMaintenance(t *testing.T) {
	n := startNode(t, t.TempDir(), storagetest.New(0))
	n.source.set([]byte("apiVersion: cyvive.dev/v1alpha1\nkind: Machine\nhostname: Node_1\n"))
	n.await("network without configuration", func(s snapshot) bool { return healthy(s, "network") && healthy(s, "storage") })
	s := n.snapshot()
	if s.checks[0].Name != "config" || !strings.Contains(s.checks[0].Reason, `user-data:3: Machine.hostname: got "Node_1"`) {
		t.Errorf("check of the configuration: %+v", s.checks[0])
	}
	if id := n.identity.Load(); id.Clients != nil {
		t.Error("clients are verified without an authority")
	}
	if id := n.identity.Load(); id.Unconfigured.Audience == server.AudienceOwner {
		t.Error("a node that nobody owns answers an owner")
	}
	if n.presented("localhost") != nil {
		t.Error("the certificate for maintenance is not self-signed for localhost")
	}
	if _, err := (kubeAPI{n.Agent}).Kubeconfig(t.Context()); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("kubeconfig: %v", err)
	}
	n.source.set(documents(t))
	n.await("the right configuration", func(s snapshot) bool { return s.input.Config != nil })
}

// presented connects to the API and checks its certificate for a name.
func (n *node) presented(name string) error {
	conn, err := tls.Dial("tcp", n.listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].VerifyHostname(name)
}

func TestRestartAndReboot(t *testing.T) {
	state, disk, docs := t.TempDir(), storagetest.New(0), documents(t)
	first := startNode(t, state, disk)
	first.source.set(docs)
	first.await("identity", func(s snapshot) bool { return s.identity })
	for _, name := range []string{"api", "network", "storage", "confinement"} {
		first.awaitMilestone(name)
	}
	if err := first.presentedSoon("10.5.0.7"); err != nil {
		t.Errorf("certificate: %v", err)
	}
	first.awaitFile("api.crt")
	before := first.files()
	first.end()

	left, _ := first.timeline.Read()
	again := startNode(t, state, disk, left...)
	again.source.set(docs)
	again.await("identity of a restarted agent", func(s snapshot) bool { return s.identity && healthy(s, "network") })
	for name, data := range before {
		if got := again.files()[name]; got != data {
			t.Errorf("%s changed in a restart of the agent", name)
		}
	}
	for _, name := range []string{"192.0.2.1", "node1.example", "node1", "127.0.0.1"} {
		if err := again.presentedSoon(name); err != nil {
			t.Errorf("certificate: %v", err)
		}
	}
	again.end()
	if now, _ := again.timeline.Read(); len(now) != len(left) {
		t.Errorf("milestones after a restart: %v, before: %v", now, left)
	}

	disk.Boot(false)
	cfg := startNode(t, state, disk)
	cfg.source.set(docs)
	cfg.await("identity after a power cut", func(s snapshot) bool { return s.identity })
	for _, v := range cfg.snapshot().storage.Status.Volumes {
		if v.Clean {
			t.Errorf("volume %s is called clean after a power cut", v.Name)
		}
	}
}

func (n *node) awaitFile(name string) {
	n.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if _, err := os.Stat(filepath.Join(n.state, name)); err == nil {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	n.t.Fatalf("no file %s", name)
}

// presentedSoon retries while the certificate is still being replaced.
func (n *node) presentedSoon(name string) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := n.presented(name)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-time.After(10 * time.Millisecond)
	}
}

func (n *node) files() map[string]string {
	out := map[string]string{}
	for _, name := range []string{"machine-id", "identity.key", "api.crt"} {
		data, err := os.ReadFile(filepath.Join(n.state, name))
		if err != nil {
			n.t.Error(err)
		}
		out[name] = string(data)
	}
	return out
}

func TestTeardownGoesFromTheTopDown(t *testing.T) {
	n := startNode(t, t.TempDir(), storagetest.New(0))
	n.source.set(documents(t))
	n.await("etcd wanted", func(s snapshot) bool { return s.desired.Etcd != nil })
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if err := n.containers.Ensure(t.Context(), container.Spec{
			Name: name, Rootfs: "/usr/lib/x", Args: []string{"/x"}, Cgroup: "/system/x",
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := (machineAPI{n.Agent}).Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := (machineAPI{n.Agent}).Shutdown(t.Context()); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("a second end: %v", err)
	}
	if err := n.Teardown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if infos, err := n.containers.List(t.Context()); err != nil || len(infos) != 0 {
		t.Errorf("left: %+v, %v", infos, err)
	}
	if !slices.Contains(n.init.asked(), "reboot") || slices.Contains(n.init.asked(), "poweroff") {
		t.Errorf("init was asked for %v", n.init.asked())
	}
	l, _, err := ledger.Open(filepath.Join(n.state, "boots.jsonl"), time.Now)
	if err != nil || len(l.Boots()) != 1 || l.Boots()[0].Reason != "reboot over the API" {
		t.Errorf("ledger: %+v, %v", l.Boots(), err)
	}
}

func TestServicesAndContainers(t *testing.T) {
	n := startNode(t, t.TempDir(), storagetest.New(0))
	for _, name := range []string{"kube-scheduler", "etcd"} {
		if err := n.containers.Ensure(t.Context(), container.Spec{
			Name: name, Rootfs: "/usr/lib/x", Args: []string{"/x"}, Cgroup: "/system/x",
		}); err != nil {
			t.Fatal(err)
		}
	}
	n.plane.SetUnavailable(true)
	services, err := servicesAPI{n.Agent}.Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range services {
		got = append(got, fmt.Sprint(s.Name, " ", s.State))
	}
	want := []string{
		fmt.Sprint("machined ", server.ServiceRunning), fmt.Sprint("containerd ", server.ServiceFailed),
		fmt.Sprint("etcd ", server.ServiceRunning), fmt.Sprint("kube-scheduler ", server.ServiceRunning),
	}
	if !slices.Equal(got, want) {
		t.Errorf("services: got %v, want %v", got, want)
	}
	containers, err := containersAPI{n.Agent}.Containers(t.Context())
	if err != nil || len(containers) != 2 || containers[0].State != server.ContainerRunning {
		t.Errorf("containers: %+v, %v", containers, err)
	}
}

func FuzzParseRelease(f *testing.F) {
	f.Add([]byte(`{"version":"1.0","components":[{"name":"etcd","version":"3.6.12","source":"go"}],"images":[]}`))
	f.Add([]byte(`{"version":"1.1.0","floor":"1.0.0"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRelease(data)
		if (err == nil) != (r.Version.OS != "") || r.Floor != "" && !semver.IsValid("v"+r.Floor) {
			t.Errorf("got %+v and %v", r, err)
		}
	})
}

// FuzzMachineID: whatever the state volume holds, the node gets an identity of the right form, and keeps it.
func FuzzMachineID(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef\n"))
	f.Add([]byte("0123456789ABCDEF0123456789ABCDEF\n"))
	f.Add([]byte(strings.Repeat("0", 32)))
	f.Add([]byte("uninitialized\n"))
	form := regexp.MustCompile(`^[0-9a-f]{32}\n$`)
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		stored, running := filepath.Join(dir, "stored"), filepath.Join(dir, "running")
		if err := os.WriteFile(stored, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var ids [2]string
		for i := range ids {
			if err := machineID(stored, running); err != nil {
				t.Fatal(err)
			}
			id, err := os.ReadFile(running)
			if err != nil || !form.Match(id) {
				t.Fatalf("%q became %q, %v", data, id, err)
			}
			ids[i] = string(id)
		}
		if ids[0] != ids[1] {
			t.Errorf("%q became %q, and %q after a restart", data, ids[0], ids[1])
		}
	})
}
