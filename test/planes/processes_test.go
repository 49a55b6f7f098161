package planes

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/cyvive/cyvive/internal/etcd"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/service"
)

// programs returns the directory of the real programs: etcd, and kubernetes as
// one multi-call program. make root-test names it, and gives the test a network
// namespace of its own: the arguments are a node's, and so are the ports.
func programs(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("CYVIVE_PROGRAMS")
	required := os.Getenv("REQUIRE_ROOT") == "1"
	switch _, err := os.Stat(filepath.Join(dir, "kubernetes")); {
	case dir == "" && !required:
		t.Skip("CYVIVE_PROGRAMS names no directory with etcd and kubernetes")
	case dir == "" || err != nil:
		t.Fatalf("CYVIVE_PROGRAMS=%q has no etcd and kubernetes; make image makes them in out", dir)
	}
	loopback, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(loopback) // a new namespace has it down
	}
	if err != nil && required {
		t.Fatal(err)
	}
	return dir
}

// checkPorts fails where another program has a port that the test needs.
func checkPorts(t *testing.T) {
	t.Helper()
	for _, port := range []string{"2379", "2380", "6443", "10257", "10259", "10271"} {
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatalf("a port of the control plane is taken: %v", err)
		}
		_ = l.Close()
	}
}

// TestControlPlane starts etcd, kube-apiserver, kube-controller-manager and
// kube-scheduler, and asks for what a node needs of them.
func TestControlPlane(t *testing.T) {
	bin := programs(t)
	checkPorts(t)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	spec, member := specs(t, time.Now())
	dir, api, kubernetes := serveAPI(ctx, t, bin, "127.0.0.1", spec, member)

	kubernetes("kube-controller-manager", kube.ControllerManagerArgs(spec, filepath.Join(dir, "kube-controller-manager")))
	kubernetes("kube-scheduler", kube.SchedulerArgs(filepath.Join(dir, "kube-scheduler")))
	t.Run("kubelet may register and gets a pod range", func(t *testing.T) {
		kubelet := client(t, spec, "system:node:"+spec.NodeName, "system:nodes")
		// With a label, as kubelet has: of an object without any field the API server does not note who has changed it.
		node := `{"apiVersion":"v1","kind":"Node","metadata":{"name":"` + spec.NodeName + `","labels":{"kubernetes.io/hostname":"` + spec.NodeName + `"}}}`
		if err := post(ctx, kubelet, "/api/v1/nodes", node); err != nil {
			t.Fatal(err)
		}
		waitFor(ctx, t, "pod range of the node", func() error {
			body, err := get(ctx, api, "/api/v1/nodes/"+spec.NodeName)
			if err != nil {
				return err
			}
			var n struct{ Spec struct{ PodCIDR string } }
			if err := json.Unmarshal(body, &n); err != nil {
				return err
			}
			if n.Spec.PodCIDR == "" {
				return fmt.Errorf("none yet")
			}
			return nil
		})
	})
	t.Run("service accounts get the root certificate", func(t *testing.T) {
		waitFor(ctx, t, "kube-root-ca.crt", func() error {
			_, err := get(ctx, api, "/api/v1/namespaces/default/configmaps/kube-root-ca.crt")
			return err
		})
	})
	t.Run("without a certificate only health answers", func(t *testing.T) {
		nobody := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: spec.CA.Pool()}}}
		if _, err := get(ctx, nobody, "/readyz"); err != nil {
			t.Errorf("/readyz: %v", err)
		}
		for _, path := range []string{"/api", "/version", "/metrics", "/api/v1/nodes"} {
			if _, err := get(ctx, nobody, path); err == nil || !strings.Contains(err.Error(), "401") {
				t.Errorf("%s: got %v, want 401", path, err)
			}
		}
	})
	t.Run("all parts answer the agent", func(t *testing.T) {
		for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
			waitFor(ctx, t, "answer of "+name, func() error { return kube.Answers(ctx, name) })
		}
	})
	t.Run("scheduler is healthy", func(t *testing.T) {
		insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		for name, url := range map[string]string{
			"kube-scheduler":          "https://127.0.0.1:10259/healthz",
			"kube-controller-manager": "https://127.0.0.1:10257/healthz",
		} {
			waitFor(ctx, t, name+" healthy", func() error { _, err := getURL(ctx, insecure, url); return err })
		}
	})
	t.Run("cluster DNS is what the API server takes", func(t *testing.T) {
		manifests, revision := kube.DNSManifests(spec, []netip.Addr{netip.MustParseAddr("192.0.2.53")})
		applyTwice(ctx, t, api, manifests, revision)
	})
	t.Run("so are the objects of volumes, and csi-controllers runs", func(t *testing.T) {
		makeVolumes(ctx, t, api, bin, filepath.Join(dir, "csi-controllers"), spec, kubernetes)
	})
	t.Run("the node is drained", func(t *testing.T) { drainNode(ctx, t, api, spec) })
	t.Run("services are followed", func(t *testing.T) { followServices(ctx, t, api, spec) })
	t.Run("secrets are sealed in etcd", func(t *testing.T) {
		secret := `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"k":"PlainTextMarker"}}`
		if err := post(ctx, api, "/api/v1/namespaces/default/secrets", secret); err != nil {
			t.Fatal(err)
		}
		found := false
		err := filepath.WalkDir(filepath.Join(dir, "data"), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			found = found || bytes.Contains(data, []byte("PlainTextMarker"))
			return err
		})
		if err != nil || found {
			t.Errorf("secret in plain text: %t (%v)", found, err)
		}
	})
}

// serveAPI starts etcd and kube-apiserver, and waits until they serve. It returns the folder with a folder of secrets for each part, an
// administrator's client, and what starts a further part. Bind is where the API server listens: a test may not do so where others reach it.
func serveAPI(ctx context.Context, t *testing.T, bin, bind string, spec kube.Spec, member etcd.Spec) (
	dir string, api *http.Client, kubernetes func(name string, args []string),
) {
	t.Helper()
	now := time.Now()
	dir = t.TempDir()
	files, err := etcd.Secrets(member, now)
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, filepath.Join(dir, "etcd"), files)
	dirs := map[string]string{}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "csi-controllers"} {
		dirs[name] = filepath.Join(dir, name)
	}
	sets, err := kube.Secrets(spec, dirs, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range dirs {
		writeFiles(t, d, sets[name])
	}

	run(t, dir, "etcd", filepath.Join(bin, "etcd"),
		etcd.Args(member, filepath.Join(dir, "etcd"), filepath.Join(dir, "data")))
	kubernetes = func(name string, args []string) {
		link := filepath.Join(dir, "bin", name)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(bin, "kubernetes"), link); err != nil {
			t.Fatal(err)
		}
		run(t, dir, name, link, args)
	}
	kubernetes("kube-apiserver", append(kube.APIServerArgs(spec, dirs["kube-apiserver"], dir), "--bind-address="+bind))
	api = client(t, spec, "tester", "system:masters")
	waitFor(ctx, t, "kube-apiserver ready", func() error { _, err := get(ctx, api, "/readyz"); return err })
	return dir, api, kubernetes
}

// applyTwice applies every object twice, and wants the second time to change nothing. The last one is to bear the revision of all of them.
func applyTwice(ctx context.Context, t *testing.T, api *http.Client, manifests []kube.Manifest, revision string) {
	t.Helper()
	var versions [2][]string
	for round := range versions {
		for i, m := range manifests {
			var object struct {
				Metadata struct {
					Generation      int
					ResourceVersion string
					Annotations     map[string]string
				}
			}
			// A custom resource is there some moments after its definition.
			waitFor(ctx, t, "answer to "+m.Path, func() error {
				answer, err := applyStrictly(ctx, api, m)
				if err != nil {
					return err
				}
				return json.Unmarshal(answer, &object)
			})
			version := object.Metadata.ResourceVersion
			if object.Metadata.Generation > 0 { // the other changes with its status, too
				version = fmt.Sprintf("generation %d", object.Metadata.Generation)
			}
			if got := object.Metadata.Annotations["cyvive.dev/revision"]; i == len(manifests)-1 && got != revision {
				t.Errorf("revision on %s: got %q, want %q", m.Path, got, revision)
			}
			versions[round] = append(versions[round], version)
		}
	}
	if !slices.Equal(versions[0], versions[1]) {
		t.Errorf("applying again made of versions %v %v", versions[0], versions[1])
	}
}

// applyStrictly applies an object. Fields that the API does not have are refused, and not passed over.
func applyStrictly(ctx context.Context, api *http.Client, m kube.Manifest) ([]byte, error) {
	body, err := json.Marshal(m.Object)
	if err != nil {
		return nil, err
	}
	url := "https://127.0.0.1:6443" + m.Path + "?fieldManager=cyvive&force=true&fieldValidation=Strict"
	request, err := http.NewRequestWithContext(ctx, http.MethodPatch, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/apply-patch+yaml")
	return do(api, request)
}

// followServices makes a service and its slice, and takes them away again.
func followServices(ctx context.Context, t *testing.T, api *http.Client, spec kube.Spec) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tables := make(chan *service.Table, 100)
	go kube.NewServiceWatch(slog.New(slog.DiscardHandler)).Run(ctx, spec, func(t *service.Table) { tables <- t })
	at := service.Address{AddrPort: netip.MustParseAddrPort("10.96.7.7:80"), Protocol: service.TCP}
	await := func(what string, condition func(*service.Table) bool) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			select {
			case table := <-tables:
				if condition(table) {
					return
				}
			case <-deadline:
				t.Fatalf("%s: not seen", what)
			}
		}
	}
	await("the API server's own service", func(table *service.Table) bool {
		_, ok := table.Backends(service.Address{AddrPort: netip.MustParseAddrPort("10.96.0.1:443"), Protocol: service.TCP})
		_, other := table.Backends(at)
		return ok && !other
	})
	for path, body := range map[string]string{
		"/api/v1/namespaces/default/services": `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},
			"spec":{"clusterIP":"10.96.7.7","ports":[{"name":"http","port":80}]}}`,
		"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices": `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice",
			"metadata":{"name":"web-1","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4",
			"ports":[{"name":"http","port":8080}],"endpoints":[{"addresses":["10.244.0.5"]}]}`,
	} {
		if err := post(ctx, api, path, body); err != nil {
			t.Fatal(err)
		}
	}
	await("the service", func(table *service.Table) bool {
		backends, _ := table.Backends(at)
		return slices.Equal(backends, []netip.AddrPort{netip.MustParseAddrPort("10.244.0.5:8080")})
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, "https://127.0.0.1:6443/api/v1/namespaces/default/services/web", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := do(api, request); err != nil {
		t.Fatal(err)
	}
	await("its end", func(table *service.Table) bool {
		_, ok := table.Backends(at)
		return !ok
	})
}

func specs(t *testing.T, now time.Time) (kube.Spec, etcd.Spec) {
	t.Helper()
	authority := func(name string) *pki.Authority {
		a, err := pki.NewAuthority(name, now)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	spec := kube.Spec{
		ClusterName: "test", NodeName: "node1", Addresses: []netip.Addr{loopback},
		Endpoint: "https://127.0.0.1:6443", PodCIDR: netip.MustParsePrefix("10.244.0.0/16"),
		ServiceCIDR: netip.MustParsePrefix("10.96.0.0/12"), DNSDomain: "cluster.local", Version: "0.1.0",
		CA: authority("kubernetes"), FrontProxyCA: authority("front-proxy"), EtcdCA: authority("etcd"),
		ServiceAccountKey: key, EncryptionKey: bytes.Repeat([]byte{7}, 32), Volumes: true,
	}
	return spec, etcd.Spec{Name: "node1", Address: loopback, CA: spec.EtcdCA}
}

func writeFiles(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// run starts a program whose output goes to a file, and ends it with the test. A
// failed test prints the end of the output.
func run(t *testing.T, dir, name, program string, args []string) {
	t.Helper()
	start(t, dir, name, exec.Command(program, args...))
}

func start(t *testing.T, dir, name string, command *exec.Cmd) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = log.Close()
		if t.Failed() {
			data, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%s", name, data[max(0, len(data)-3000):])
		}
	})
}

func client(t *testing.T, spec kube.Spec, name, group string) *http.Client {
	t.Helper()
	pair, err := spec.CA.Issue(pki.Request{CommonName: name, Organizations: []string{group}, Client: true, Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: spec.CA.Pool(), Certificates: []tls.Certificate{certificate},
	}}}
}

func get(ctx context.Context, c *http.Client, path string) ([]byte, error) {
	return getURL(ctx, c, "https://127.0.0.1:6443"+path)
}

func getURL(ctx context.Context, c *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return do(c, request)
}

func post(ctx context.Context, c *http.Client, path, body string) error {
	_, err := postFor(ctx, c, path, body)
	return err
}

// postFor returns the answer.
func postFor(ctx context.Context, c *http.Client, path, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://127.0.0.1:6443"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	return do(c, request)
}

func do(c *http.Client, request *http.Request) ([]byte, error) {
	response, err := c.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", request.Method, request.URL.Path, response.Status, data)
	}
	return data, err
}

// waitFor asks every 200 ms until there is no error.
func waitFor(ctx context.Context, t *testing.T, what string, ask func() error) {
	t.Helper()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("wait for %s: %v", what, err)
		}
	}
}
