package planes

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/network/bpf"
	"github.com/cyvive/cyvive/internal/service"
)

// TestServices has the kernel translate the services of a real API server. CoreDNS, as it is deployed, reaches the API server over its service
// address, and a client finds that address by name. Only containers are left out.
func TestServices(t *testing.T) {
	bin := programs(t)
	if os.Getenv("REQUIRE_ROOT") != "1" {
		t.Skip("needs root, and mount and network namespaces of its own; make root-test provides them")
	}
	checkPorts(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	spec, member := specs(t, time.Now())
	spec.Addresses = []netip.Addr{nodeAddress(t)}
	dir, api, _ := serveAPI(ctx, t, bin, "0.0.0.0", spec, member)
	manifests, _ := kube.DNSManifests(spec, nil)
	for _, m := range manifests {
		apply(ctx, t, api, m)
	}

	group, kernel := translate(t)
	go kube.NewServiceWatch(slog.New(slog.DiscardHandler)).Run(ctx, spec, func(table *service.Table) {
		if err := errors.Join(kernel.Set(ctx, table), kernel.Attach(ctx)); err != nil {
			t.Error(err)
		}
	})
	serveNames(ctx, t, api, bin, dir, group, spec, manifests)

	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, "10.96.0.10:53")
	}}
	join(t, group)
	waitFor(ctx, t, "kubernetes.default by name", func() error {
		got, err := resolver.LookupHost(ctx, "kubernetes.default.svc.cluster.local.")
		if err == nil && !slices.Equal(got, []string{"10.96.0.1"}) {
			err = fmt.Errorf("got %v, want 10.96.0.1", got)
		}
		return err
	})
	nobody := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: spec.CA.Pool()}}}
	if body, err := getURL(ctx, nobody, "https://10.96.0.1/readyz"); err != nil || string(body) != "ok" {
		t.Errorf("the API server over its service address: got %q, %v", body, err)
	}
	if _, err := net.Dial("tcp", "10.96.0.1:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a port that the API server's service does not have: got %v, want connection refused", err)
	}
	// Without a name server of the node, names outside of the cluster do not exist, and nobody asks himself.
	_, err := resolver.LookupHost(ctx, "example.org.")
	if failure := (*net.DNSError)(nil); !errors.As(err, &failure) || failure.IsTimeout {
		t.Errorf("a name outside of the cluster: got %v, want a refusal at once", err)
	}
}

// nodeAddress gives the namespace an address as a node has it: the API server does not advertise a loopback one.
func nodeAddress(t *testing.T) netip.Addr {
	t.Helper()
	address := netip.MustParseAddr("10.5.0.2")
	link, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(32, 32)}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func apply(ctx context.Context, t *testing.T, api *http.Client, m kube.Manifest) {
	t.Helper()
	body, err := json.Marshal(m.Object)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPatch,
		"https://127.0.0.1:6443"+m.Path+"?fieldManager=cyvive&force=true", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/apply-patch+yaml")
	if _, err := do(api, request); err != nil {
		t.Fatal(err)
	}
}

// translate returns a cgroup, and the kernel's services for it.
func translate(t *testing.T) (group string, kernel network.Services) {
	t.Helper()
	var dirs []string
	for _, kind := range []string{"cgroup2", "bpf"} {
		dir := t.TempDir()
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
			t.Fatalf("mount %s: %v", kind, err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		dirs = append(dirs, dir)
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, own, _ := strings.Cut(strings.TrimSpace(string(data)), "0::")
	home := filepath.Join(dirs[0], own)
	group = filepath.Join(home, fmt.Sprintf("cyvive-planes-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	services := bpf.New(filepath.Join(dirs[1], "cyvive"), group)
	t.Cleanup(func() {
		join(t, home)
		_ = services.Close()
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	return group, services
}

// join moves the test's own process into a cgroup.
func join(t *testing.T, group string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		t.Fatal(err)
	}
}

// serveNames runs CoreDNS in the cgroup with the configuration, the account and the environment of its pod, and makes it the backend of
// cluster DNS.
func serveNames(ctx context.Context, t *testing.T, api *http.Client, bin, dir, group string, spec kube.Spec, manifests []kube.Manifest) {
	t.Helper()
	var token struct{ Status struct{ Token string } }
	body, err := json.Marshal(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost,
		"https://127.0.0.1:6443/api/v1/namespaces/kube-system/serviceaccounts/coredns/token", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := do(api, request)
	if err == nil {
		err = json.Unmarshal(answer, &token)
	}
	if err != nil {
		t.Fatal(err)
	}
	// Where client-go looks for its account; the mount is the test's own.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, "/run/secrets/kubernetes.io/serviceaccount", map[string][]byte{
		"token": []byte(token.Status.Token), "ca.crt": spec.CA.CertificatePEM(),
	})
	config := filepath.Join(dir, "Corefile")
	for _, m := range manifests {
		if data, ok := m.Object["data"].(map[string]any); ok {
			if err := os.WriteFile(config, []byte(data["Corefile"].(string)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	groupFile, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer groupFile.Close()
	command := exec.Command(filepath.Join(bin, "coredns"), "-conf", config)
	command.Env = []string{"KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443"}
	command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(groupFile.Fd())}
	start(t, dir, "coredns", command)
	for _, port := range []struct {
		name, protocol string
	}{{"dns", "UDP"}, {"dns-tcp", "TCP"}} {
		slice := fmt.Sprintf(`{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice",
			"metadata":{"name":"kube-%s","labels":{"kubernetes.io/service-name":"kube-dns"}},"addressType":"IPv4",
			"ports":[{"name":%q,"protocol":%q,"port":1053}],"endpoints":[{"addresses":["10.5.0.2"]}]}`, port.name, port.name, port.protocol)
		if err := post(ctx, api, "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", slice); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(ctx, t, "CoreDNS to know the cluster", func() error { _, err := getURL(ctx, http.DefaultClient, "http://127.0.0.1:8181/ready"); return err })
}
