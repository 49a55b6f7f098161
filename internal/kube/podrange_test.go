package kube

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/pki"
)

// TestReadPodRange: what a power cut, another cluster or a mistake left is no range.
func TestReadPodRange(t *testing.T) {
	authority := func() *pki.Authority {
		a, err := pki.NewAuthority("kubernetes", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	spec := Spec{NodeName: "node1", CA: authority(), PodCIDR: netip.MustParsePrefix("10.244.0.0/16")}
	path := filepath.Join(t.TempDir(), "kube", "pod-range.json")
	pods := netip.MustParsePrefix("10.244.3.0/24")
	if got := readPodRange(path, spec); got.IsValid() {
		t.Errorf("without a file: got %v", got)
	}
	if err := keepPodRange(path, spec, pods); err != nil {
		t.Fatal(err)
	}
	if got := readPodRange(path, spec); got != pods {
		t.Errorf("what was kept: got %v, want %v", got, pods)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	for what, change := range map[string]func(*Spec){
		"another node":               func(s *Spec) { s.NodeName = "node2" },
		"another cluster":            func(s *Spec) { s.CA = authority() },
		"another range of a cluster": func(s *Spec) { s.PodCIDR = netip.MustParsePrefix("10.0.0.0/8") },
	} {
		other := spec
		change(&other)
		if got := readPodRange(path, other); got.IsValid() {
			t.Errorf("%s: got %v", what, got)
		}
	}
	for what, text := range map[string]string{
		"empty": "", "half": string(whole[:len(whole)/2]), "none": "{}", "another form": "[]",
		"no range":              strings.Replace(string(whole), "10.244.3.0/24", "", 1),
		"nonsense":              strings.Replace(string(whole), "10.244.3.0/24", "10.244.3.0", 1),
		"outside":               strings.Replace(string(whole), "10.244.3.0/24", "10.245.3.0/24", 1),
		"more than the cluster": strings.Replace(string(whole), "10.244.3.0/24", "10.0.0.0/8", 1),
		"an address in a range": strings.Replace(string(whole), "10.244.3.0/24", "10.244.3.7/24", 1),
		"another family":        strings.Replace(string(whole), "10.244.3.0/24", "fd00::/64", 1),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readPodRange(path, spec); got.IsValid() {
			t.Errorf("%s: got %v", what, got)
		}
	}

	for range 2 {
		if err := forgetPodRange(path); err != nil {
			t.Error(err)
		}
	}
	if got := readPodRange(path, spec); got.IsValid() {
		t.Errorf("what was forgotten: got %v", got)
	}
}
