package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	hosts "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/google/go-cmp/cmp"
)

// authority is a certificate of one, PEM.
func authority(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// recordedRegistries is a folder as the agent writes it (internal/kube of the root
// module), with certificates that can be read.
func recordedRegistries(t *testing.T) (dir string, all, own []byte) {
	t.Helper()
	dir, all, own = t.TempDir(), authority(t, "all"), authority(t, "own")
	if err := os.CopyFS(dir, os.DirFS("../../../internal/kube/testdata/certs.d")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"_default": all, "mirror.example_5000_": own} {
		if err := os.WriteFile(filepath.Join(dir, name, "ca.pem"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, all, own
}

// TestRegistries reads what the agent writes as containerd does at a pull: who is asked,
// in which order, with which account, and known by whose certificates.
func TestRegistries(t *testing.T) {
	dir, all, own := recordedRegistries(t)
	const (
		node   = "Basic bm9kZTpodW50ZXIy" // node:hunter2
		robot  = "Basic cm9ib3Q6czNjcmV0" // robot:s3cret
		shared = "all"
		both   = "all and own"
	)
	resolve := hosts.ConfigureHosts(t.Context(), hosts.HostOptions{HostDir: hosts.HostDirFromRoot(dir)})
	for name, want := range map[string][]string{
		"docker.io": {
			"https mirror.example:5000 /v2 true " + node + " " + both, "https harbor.example /v2/hub true  " + shared, "https registry-1.docker.io /v2 true  " + shared,
		},
		"mirror.example:5000": {"https mirror.example:5000 /v2 true " + node + " " + both},
		"registry.example":    {"https registry.example /v2 true " + robot + " " + shared},
		"quay.io":             {"https mirror.example:5000 /v2 true " + node + " " + both, "https quay.io /v2 true  " + shared},
	} {
		list, err := resolve(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, h := range list {
			known := "neither"
			for words, certificates := range map[string][][]byte{shared: {all}, both: {all, own}} {
				pool, err := x509.SystemCertPool()
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range certificates {
					pool.AppendCertsFromPEM(c)
				}
				tls := h.Client.Transport.(*http.Transport).TLSClientConfig
				if !tls.InsecureSkipVerify && pool.Equal(tls.RootCAs) {
					known = words
				}
			}
			pulls := h.Capabilities.Has(docker.HostCapabilityPull | docker.HostCapabilityResolve)
			got = append(got, fmt.Sprintf("%s %s %s %t %s %s", h.Scheme, h.Host, h.Path, pulls, h.Header.Get("Authorization"), known))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// TestRegistriesFolder: the plane's containerd looks where the agent's folder is bound,
// and nowhere else: of several places, the transfer service finds none.
func TestRegistriesFolder(t *testing.T) {
	var c config.Config
	if err := config.LoadConfig(context.Background(), "../../files/plane/etc/containerd/config.toml", &c); err != nil {
		t.Fatal(err)
	}
	images, _ := c.Plugins["io.containerd.cri.v1.images"].(map[string]any)
	registry, _ := images["registry"].(map[string]any)
	if got := registry["config_path"]; got != "/etc/containerd/certs.d" {
		t.Errorf("config_path: got %v", got)
	}
	if len(registry) != 1 {
		t.Errorf("what is said of registries beside it would be ignored: %v", registry)
	}
}
