package hold

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/containertest"
)

func TestHeldContainersAreNotStarted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stopped.json")
	h, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	fake := containertest.NewFake("system", time.Now)
	r := h.Runtime(fake)
	ensure := func(name string) {
		t.Helper()
		spec := container.Spec{Name: name, Rootfs: "/rootfs", Args: []string{"/usr/bin/x"}, Cgroup: "/system/" + name}
		if err := r.Ensure(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"etcd", "b", "etcd"} {
		if err := h.Add(name); err != nil {
			t.Fatal(err)
		}
	}
	ensure("etcd")
	ensure("kube-apiserver")
	if diff := cmp.Diff("kube-apiserver running\n", fake.String()); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
	// Another agent of the same boot finds what was stopped.
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b", "etcd"}, again.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for _, name := range []string{"etcd", "nosuch"} {
		if err := h.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	ensure("etcd")
	if diff := cmp.Diff("etcd running\nkube-apiserver running\n", fake.String()); diff != "" {
		t.Errorf("once it may start (-want +got):\n%s", diff)
	}
}

func TestOpenRefusesWhatItDoesNotKnow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stopped.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("got no error")
	}
}

func TestWhatCannotBeWrittenDoesNotHold(t *testing.T) {
	h, err := Open(filepath.Join(t.TempDir(), "nosuch", "stopped.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Add("etcd"); err == nil || len(h.Names()) > 0 {
		t.Errorf("got %v, and names %v", err, h.Names())
	}
}
