package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/network"
	"github.com/cyvive/cyvive/internal/pki"
)

const (
	// registryPort is that of the host's registry, as the guest sees it.
	registryPort = 5000

	registryUser     = "node"
	registryPassword = "registry-hunter2"
)

// The media types of the image specification 1.1 (media-types.md).
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// imageRegistry gives out one image or artifact, pulled:1, by the distribution specification 1.1, over TLS, to who shows its account. It implements http.Handler.
type imageRegistry struct {
	authority *pki.Authority
	server    *httptest.Server

	mu sync.Mutex
	// manifest is the image's, and blobs are its parts, by digest.
	manifest []byte
	blobs    map[string][]byte
	// asked counts requests with the account, by the registry that the server is a mirror of; empty is none.
	asked map[string]int
}

// newImageRegistry starts one with the image.
func newImageRegistry(t *testing.T, ctx context.Context, e env) *imageRegistry {
	t.Helper()
	r := newRegistry(t)
	r.addImage(t, ctx, e)
	return r
}

// newRegistry starts one with nothing, whose certificate is for the address at which guests reach the host.
func newRegistry(t *testing.T) *imageRegistry {
	t.Helper()
	now := time.Now()
	authority, err := pki.NewAuthority("registry", now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(pki.Request{
		CommonName: "registry", Addresses: []netip.Addr{network.UserHost}, Server: true, Lifetime: 24 * time.Hour,
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(pair.CertificatePEM, pair.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	r := &imageRegistry{authority: authority, blobs: map[string][]byte{}, asked: map[string]int{}}
	r.server = httptest.NewUnstartedServer(r)
	r.server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0) // the node hangs up on a server that it does not know
	r.server.StartTLS()
	t.Cleanup(r.server.Close)
	return r
}

// addImage makes the image: one layer with one program.
func (r *imageRegistry) addImage(t *testing.T, ctx context.Context, e env) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pulled")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", file, "./pulled")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+e.arch)
	if words, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build test/e2e/pulled: %v\n%s", err, words)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "pulled", Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	type object = map[string]any
	add := func(mediaType string, data []byte) object {
		digest := digestOf(data)
		r.blobs[digest] = data
		return object{"mediaType": mediaType, "digest": digest, "size": len(data)}
	}
	encoded := func(o object) []byte {
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	config := add(configType, encoded(object{
		"architecture": e.arch, "os": "linux", "config": object{"Entrypoint": []string{"/pulled"}, "User": "65534:65534"},
		"rootfs": object{"type": "layers", "diff_ids": []string{digestOf(layer.Bytes())}},
	}))
	r.manifest = encoded(object{
		"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": []object{add(layerType, layer.Bytes())},
	})
}

// addRelease puts a release into the image's place, as docs/upgrades.md has it ("Sources").
func (r *imageRegistry) addRelease(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const artifactType = "application/vnd.cyvive.release.v1"
	empty := []byte("{}") // the config of an artifact that has none (image specification 1.1, manifest.md)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blobs[digestOf(empty)], r.blobs[digestOf(data)] = empty, data
	type object = map[string]any
	r.manifest, err = json.Marshal(object{
		"schemaVersion": 2, "mediaType": manifestType, "artifactType": artifactType,
		"config": object{"mediaType": "application/vnd.oci.empty.v1+json", "digest": digestOf(empty), "size": len(empty)},
		"layers": []object{{"mediaType": artifactType + ".tar", "digest": digestOf(data), "size": len(data)}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// ServeHTTP implements http.Handler.
func (r *imageRegistry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if user, password, _ := q.BasicAuth(); user != registryUser || password != registryPassword {
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	folder, name := path.Split(q.URL.Path)
	r.mu.Lock()
	r.asked[q.URL.Query().Get("ns")]++
	manifest, data, mediaType := r.manifest, r.blobs[name], "application/octet-stream"
	r.mu.Unlock()
	if folder == "/v2/pulled/manifests/" && (name == "1" || name == digestOf(manifest)) {
		data, mediaType = manifest, manifestType
	} else if folder != "/v2/pulled/blobs/" || data == nil {
		http.NotFound(w, q)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digestOf(data))
	http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data))
}

// answers is how many requests were answered as those of a mirror.
func (r *imageRegistry) answers(of string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[of]
}

// reach lets a guest connect to it.
func (r *imageRegistry) reach(t *testing.T, ctx context.Context, e env) network.Reach {
	t.Helper()
	return network.Reach{Port: registryPort, Command: e.dialer(t, ctx) + " " + r.server.Listener.Addr().String()}
}

// pulledPod runs the image of a registry once.
const pulledPod = `
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  containers:
    - {name: pulled, image: "%s/pulled:1", imagePullPolicy: Always}
`

// mirroredRegistry is one that only has a mirror.
const mirroredRegistry = "images.invalid"

// testRegistries runs pods from a registry over TLS, with an account, whose authority the node does not know until the running node is told of it; then
// also from one that it is the mirror of.
func testRegistries(t *testing.T, s *suite, r *imageRegistry) {
	ctx := testContext(t, 10*time.Minute)
	host := net.JoinHostPort(network.UserHost.String(), fmt.Sprint(registryPort))
	t.Cleanup(func() {
		if _, err := s.Tools().Kubectl(context.WithoutCancel(ctx), "delete", "pod", "unknown", "known", "mirrored", "--ignore-not-found", "--timeout=90s"); err != nil {
			t.Error(err)
		}
	})
	s.applyPulled(t, ctx, "unknown", host)
	eventually(t, ctx, "wait for the registry to be refused", func(ctx context.Context) error {
		out, err := s.Tools().Kubectl(ctx, "get", "events", "--field-selector", "involvedObject.name=unknown", "--output", "jsonpath={.items[*].message}")
		if err == nil && !strings.Contains(out, "x509: ") {
			err = fmt.Errorf("the events of the pod are %q", out)
		}
		return err
	})
	if n := r.answers(""); n > 0 {
		t.Errorf("%d requests came over a certificate of nobody", n)
	}
	patch := s.patch(t, fmt.Sprintf("apiVersion: cyvive.dev/v1alpha1\nkind: Registries\nca: %q\nregistries:\n"+
		"  - {name: %q, credentials: {username: %s, password: %s}}\n  - {name: %s, mirrors: [%q]}\n",
		r.authority.CertificatePEM(), host, registryUser, registryPassword, mirroredRegistry, "https://"+host))
	if dry := s.nodectl(t, ctx, "config", "apply", "--dry-run", "--patch", patch); !strings.Contains(dry, "write what is known of registries") {
		t.Errorf("dry run: got\n%s", dry)
	}
	s.nodectl(t, ctx, "config", "apply", "--patch", patch)
	if shown := s.nodectl(t, ctx, "config", "get"); !strings.Contains(shown, mirroredRegistry) || strings.Contains(shown, registryPassword) {
		t.Error("the configuration is shown without the registries, or with their password")
	}
	pods := map[string]string{"known": host, "mirrored": mirroredRegistry}
	for pod, registry := range pods {
		s.applyPulled(t, ctx, pod, registry)
	}
	for pod, registry := range pods {
		_, waited := s.Tools().Kubectl(ctx, "wait", "pod", pod, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=3m")
		out, err := s.Tools().Kubectl(ctx, "logs", pod)
		if waited != nil || err != nil || strings.TrimSpace(out) != "pulled" {
			words, _ := s.Tools().Kubectl(ctx, "describe", "pod", pod)
			t.Errorf("pod %s of %s: %v, %v, printed %q\n%s", pod, registry, waited, err, out, words)
		}
	}
	if r.answers("") == 0 || r.answers(mirroredRegistry) == 0 {
		t.Errorf("answered %d requests as the registry itself, and %d as a mirror", r.answers(""), r.answers(mirroredRegistry))
	}
	s.nodectl(t, ctx, "config", "rollback")
}

// applyPulled makes a pod of the registry's image.
func (s *suite) applyPulled(t *testing.T, ctx context.Context, name, registry string) {
	t.Helper()
	eventually(t, ctx, "make pod "+name, func(ctx context.Context) error {
		return s.Tools().Apply(ctx, fmt.Appendf(nil, pulledPod, name, registry))
	})
}
