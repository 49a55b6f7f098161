package kube_test

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/pki"
)

// TestKeysOfThePlane: whoever has every key of the workload plane can be no server to whom trusts the authority of the cluster, and the API server knows
// kubelet by all its names. The other way, what passes for the API server does not pass for a kubelet.
func TestKeysOfThePlane(t *testing.T) {
	spec := testSpec(t)
	sets, err := kube.Secrets(spec, nil, start)
	if err != nil {
		t.Fatal(err)
	}
	read := func(set, name string) *x509.Certificate {
		t.Helper()
		c, err := pki.ParseCertificate(sets[set][name])
		if err != nil {
			t.Fatalf("%s of %s: %v", name, set, err)
		}
		return c
	}
	kubelets := read("kube-apiserver", "kubelet-ca.crt")
	server := func(c, root *x509.Certificate, host string) error {
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(root)
		between.AddCert(kubelets)
		_, err := c.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: between, CurrentTime: start, DNSName: host, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		return err
	}
	var pairs []string
	for name := range sets["plane"] {
		pair, isKey := strings.CutSuffix(name, ".key")
		if !isKey {
			continue
		}
		pairs = append(pairs, pair)
		if err := server(read("plane", pair+".crt"), spec.CA.Certificate(), ""); err == nil {
			t.Errorf("%s of the plane is a server's to whom trusts the authority of the cluster", name)
		}
	}
	slices.Sort(pairs)
	if d := cmp.Diff([]string{"kubelet", "kubelet-client"}, pairs); d != "" {
		t.Errorf("keys of the plane (-want +got):\n%s", d)
	}
	for _, host := range []string{"node1", "10.5.0.2", "fd00::2"} {
		if err := server(read("plane", "kubelet.crt"), kubelets, host); err != nil {
			t.Errorf("the API server does not know kubelet as %s: %v", host, err)
		}
		if err := server(read("kube-apiserver", "server.crt"), spec.CA.Certificate(), host); err != nil {
			t.Errorf("the API server is not known as %s: %v", host, err)
		}
	}
	if err := server(read("kube-apiserver", "server.crt"), kubelets, "10.5.0.2"); err == nil {
		t.Error("the API server passes for a kubelet")
	}

	// The plane and the API server are not given what signs; the controller manager signs as the node does.
	signs, err := pki.ParseAuthority(sets["kube-controller-manager"]["kubelet-ca.crt"], sets["kube-controller-manager"]["kubelet-ca.key"])
	if err != nil || !signs.Certificate().Equal(kubelets) {
		t.Fatalf("the controller manager signs by %s, %v", signs, err)
	}
	for _, set := range []string{"plane", "kube-apiserver", "kube-scheduler"} {
		for name, data := range sets[set] {
			if bytes.Contains(data, signs.KeyPEM()) || bytes.Contains(data, spec.CA.KeyPEM()) {
				t.Errorf("%s of %s holds the key of an authority", name, set)
			}
		}
	}
	again, err := kube.Secrets(spec, nil, start)
	if err != nil || !bytes.Equal(again["kube-apiserver"]["kubelet-ca.crt"], sets["kube-apiserver"]["kubelet-ca.crt"]) {
		t.Errorf("the next time it is another authority, %v", err)
	}
}

// TestPodsKnowKubelets: programs in pods find the certificate by which the API server knows kubelets.
func TestPodsKnowKubelets(t *testing.T) { synctest.Test(t, testPodsKnowKubelets) }

func testPodsKnowKubelets(t *testing.T) {
	w := newWorld(t)
	w.pass()
	w.api.Serve(kube.API{Ready: true, Node: &kube.Node{}})
	want, err := os.ReadFile(filepath.Join(w.layout.Secrets, "kube-apiserver", "kubelet-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range w.Diff(w.spec, w.observe()) {
		if op.Kind != kube.ApplyDNS {
			continue
		}
		first := op.Manifests[0]
		data, _ := first.Object["data"].(map[string]any)
		if first.Path != "/api/v1/namespaces/kube-system/configmaps/kubelet-serving-ca" || data["ca.crt"] != string(want) {
			t.Errorf("%s holds %v, want the certificate in kubelet-ca.crt", first.Path, data)
		}
		return
	}
	t.Error("nothing is applied")
}
