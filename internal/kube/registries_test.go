package kube_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/pki"
)

const writeRegistries = "write what is known of registries"

func testRegistries() kube.Registries {
	authority := func(name string) string {
		return "-----BEGIN CERTIFICATE-----\n" + name + "\n-----END CERTIFICATE-----\n"
	}
	return kube.Registries{CA: authority("all"), Entries: []kube.Registry{
		{Name: "docker.io", Mirrors: []string{"https://mirror.example:5000", "https://harbor.example/v2/hub"}},
		{Name: "mirror.example:5000", CA: authority("own"), Username: "node", Password: pki.Secret("hunter2")},
		{Name: "registry.example", Username: "robot", Password: pki.Secret("s3cret")},
		{Name: kube.AnyRegistry, Mirrors: []string{"https://mirror.example:5000"}},
	}}
}

// content reads a folder whole: a file's text by its path, and what else there is by its type.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		short := strings.TrimPrefix(name, dir+"/")
		if !d.Type().IsRegular() {
			out[short] = d.Type().String()
			return nil
		}
		data, err := os.ReadFile(name)
		out[short] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRegistriesAreAsRecorded: images/programs/containerd reads the recorded files as containerd does.
func TestRegistriesAreAsRecorded(t *testing.T) { synctest.Test(t, testRegistriesAreAsRecorded) }

func testRegistriesAreAsRecorded(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.spec.Registries = testRegistries()
	w.expect("registries come", writeRegistries)
	w.expect("they are written once")
	const recorded = "testdata/certs.d"
	if *update {
		if err := errors.Join(os.RemoveAll(recorded), os.CopyFS(recorded, os.DirFS(w.layout.PlaneRegistries))); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(content(t, recorded), content(t, w.layout.PlaneRegistries)); d != "" {
		t.Errorf("the folder (-recorded +written); -update records it again:\n%s", d)
	}
}

// TestRegistriesChange: nothing starts again for them, no certificate is issued, and what is not said any more is not there any more.
func TestRegistriesChange(t *testing.T) { synctest.Test(t, testRegistriesChange) }

func testRegistriesChange(t *testing.T) {
	w := newWorld(t)
	w.spec.Registries = testRegistries()
	w.run() // the plane begins with them
	for _, name := range []string{"docker.io/hosts.toml", "mirror.example_5000_/ca.pem"} {
		info, err := os.Stat(filepath.Join(w.layout.PlaneRegistries, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v, %v, want a file of its owner's alone", name, info, err)
		}
	}
	w.spec.Registries.Entries[1].Password = pki.Secret("hunter3")
	w.expect("another password", writeRegistries)
	w.spec.Registries = kube.Registries{Entries: []kube.Registry{{Name: "registry.example:5000", CA: "own"}}}
	w.expect("another list", writeRegistries)
	want := map[string]string{
		"registry.example_5000_/ca.pem":     "own",
		"registry.example_5000_/hosts.toml": "server = \"https://registry.example:5000\"\nca = [\"../registry.example_5000_/ca.pem\"]\n",
	}
	if d := cmp.Diff(want, content(t, w.layout.PlaneRegistries)); d != "" {
		t.Errorf("the folder (-want +got):\n%s", d)
	}
	w.Reconciler = w.agent()
	w.expect("a new agent finds them", "import images of the default bundle", "apply cluster DNS")
	w.kubelet.Exit("plane", 137)
	w.now = w.now.Add(time.Minute)
	w.expect("another plane begins with them, too", "run container plane")
	if d := cmp.Diff(want, content(t, w.layout.PlaneRegistries)); d != "" {
		t.Errorf("the folder of another plane (-want +got):\n%s", d)
	}
	for range 3 { // the images, the network
		w.pass()
	}
	w.spec.Registries = kube.Registries{}
	w.expect("none", writeRegistries)
	w.expect("which stays")
	if left := content(t, w.layout.PlaneRegistries); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestRegistriesAreNotTrusted: what the plane's root makes of the folder is put right, and nothing of the node's is read or written through it.
func TestRegistriesAreNotTrusted(t *testing.T) { synctest.Test(t, testRegistriesAreNotTrusted) }

func testRegistriesAreNotTrusted(t *testing.T) {
	w := newWorld(t)
	w.spec.Registries = testRegistries()
	w.run()
	outside := filepath.Join(w.dir, "outside")
	if err := errors.Join(os.Mkdir(outside, 0o755), os.WriteFile(filepath.Join(outside, "hosts.toml"), []byte("node's"), 0o600)); err != nil {
		t.Fatal(err)
	}
	good := content(t, w.layout.PlaneRegistries)
	in := func(name string) string { return filepath.Join(w.layout.PlaneRegistries, name) }
	for name, change := range map[string]func() error{
		"another text": func() error {
			return os.WriteFile(in("docker.io/hosts.toml"), []byte("server = \"https://evil.example\"\n"), 0o600)
		},
		"a longer text": func() error {
			return os.WriteFile(in("docker.io/hosts.toml"), []byte(good["docker.io/hosts.toml"]+"#"), 0o600)
		},
		"no file":   func() error { return os.Remove(in("docker.io/hosts.toml")) },
		"no folder": func() error { return os.RemoveAll(in("docker.io")) },
		"another registry": func() error {
			return errors.Join(os.Mkdir(in("quay.io"), 0o755), os.WriteFile(in("quay.io/hosts.toml"), nil, 0o600))
		},
		"a certificate":   func() error { return os.WriteFile(in("docker.io/evil.crt"), []byte("x"), 0o600) },
		"a linked folder": func() error { return errors.Join(os.RemoveAll(in("docker.io")), os.Symlink(outside, in("docker.io"))) },
		"a linked file": func() error {
			return errors.Join(os.Remove(in("docker.io/hosts.toml")), os.Symlink(filepath.Join(outside, "hosts.toml"), in("docker.io/hosts.toml")))
		},
		"a pipe": func() error {
			return errors.Join(os.Remove(in("docker.io/hosts.toml")), syscall.Mkfifo(in("docker.io/hosts.toml"), 0o600))
		},
		"a folder for file": func() error {
			return errors.Join(os.Remove(in("docker.io/hosts.toml")), os.MkdirAll(in("docker.io/hosts.toml/x"), 0o755))
		},
		"a half-written": func() error { return os.WriteFile(in("docker.io/hosts.toml.new"), []byte("x"), 0o600) },
		"a linked new one": func() error {
			return errors.Join(os.Remove(in("docker.io/hosts.toml")), os.Symlink(filepath.Join(outside, "made"), in("docker.io/hosts.toml.new")))
		},
	} {
		if err := change(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.expect(name, writeRegistries)
		if d := cmp.Diff(good, content(t, w.layout.PlaneRegistries)); d != "" {
			t.Errorf("%s (-before +after):\n%s", name, d)
		}
	}
	if got := content(t, outside); len(got) != 1 || got["hosts.toml"] != "node's" {
		t.Errorf("outside there is %q", got)
	}
}
