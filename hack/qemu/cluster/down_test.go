package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
	"github.com/cyvive/cyvive/cmd/nodectl/kubeconfig"
	"github.com/cyvive/cyvive/hack/qemu/vm"
	"github.com/cyvive/cyvive/internal/pki"
)

// contextsFile writes nodectl contexts of the given names.
func contextsFile(t *testing.T, path string, names ...string) {
	t.Helper()
	authority, err := pki.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file := contexts.File{Contexts: map[string]*contexts.Context{}}
	for _, name := range names {
		file.Current = name
		file.Contexts[name] = &contexts.Context{
			Nodes: []string{"127.0.0.1:1"}, CA: string(authority.CertificatePEM()),
			Certificate: string(authority.CertificatePEM()), Key: string(authority.KeyPEM()),
		}
	}
	data, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// kubeconfigFile writes a kubeconfig like those that nodes give out, for each name.
func kubeconfigFile(t *testing.T, path string, names ...string) {
	t.Helper()
	text := "apiVersion: v1\nkind: Config\ncurrent-context: " + names[0] + "\n"
	for section, entry := range map[string]string{
		"clusters": "{name: %[1]s, cluster: {server: https://127.0.0.1:1}}",
		"users":    "{name: admin@%[1]s, user: {}}",
		"contexts": "{name: %[1]s, context: {cluster: %[1]s, user: admin@%[1]s}}",
	} {
		text += section + ":\n"
		for _, name := range names {
			text += fmt.Sprintf("  - "+entry+"\n", name)
		}
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDown wants the user's files as they were before.
func TestDown(t *testing.T) {
	for _, c := range []struct {
		name    string
		others  []string
		created bool
	}{
		{"files of its own", nil, true},
		{"files with other entries", []string{"mine"}, false},
		{"a file that got another entry meanwhile", []string{"mine"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := t.TempDir()
			dir := filepath.Join(home, "cluster")
			if err := os.MkdirAll(filepath.Join(dir, "node1"), 0o700); err != nil {
				t.Fatal(err)
			}
			made := newCluster(Options{Name: "demo", Dir: dir, Home: home}, record{Name: "demo", Home: home, Nodes: []Node{{Name: "node1"}}})
			names := append([]string{"demo"}, c.others...)
			contextsFile(t, made.tools.Contexts, names...)
			kubeconfigFile(t, made.tools.Kubeconfig, names...)
			made.record.Nodectl = addition{Path: made.tools.Contexts, Created: c.created, Merged: true}
			made.record.Kubeconfig = addition{Path: made.tools.Kubeconfig, Created: c.created, Merged: true}
			if err := made.save(); err != nil {
				t.Fatal(err)
			}
			found, err := Open(Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if err := found.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the cluster's folder is left: %v", err)
			}
			for _, path := range []string{made.tools.Contexts, made.tools.Kubeconfig} {
				checkLeft(t, path, c.others)
			}
		})
	}
}

// TestRemoveAddition: a folder that Up made goes with the file, unless somebody
// uses it.
func TestRemoveAddition(t *testing.T) {
	for _, c := range []struct {
		name       string
		made, used bool
	}{{"made", true, false}, {"made and used since", true, true}, {"not made", false, false}} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "folder", "file")
			if !c.made {
				if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			added := newAddition(path)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			files := []string{path}
			if c.used {
				files = append(files, filepath.Join(filepath.Dir(path), "cache"))
			}
			for _, file := range files {
				if err := os.WriteFile(file, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := added.remove(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file is left: %v", err)
			}
			if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, os.ErrNotExist) != (c.made && !c.used) {
				t.Errorf("the folder: %v", err)
			}
		})
	}
}

// checkLeft wants a file with the other entries and without demo, or none.
func checkLeft(t *testing.T, path string, others []string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if len(others) == 0 {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v, %s", path, err, data)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "demo") {
		t.Errorf("%s still names demo", path)
	}
	for _, name := range others {
		if !strings.Contains(string(data), name) {
			t.Errorf("%s has lost %s", path, name)
		}
	}
}

// TestDownStops: the machine that Down is to stop was started by another process,
// and the folder is given as a person gives it, relative to where they are.
func TestDownStops(t *testing.T) {
	firmware, err := vm.FindFirmware("amd64")
	if err == nil {
		_, err = exec.LookPath("qemu-system-x86_64")
	}
	if err != nil {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatalf("REQUIRE_VM=1 promised QEMU: %v", err)
		}
		t.Skipf("needs QEMU and firmware: %v; make setup installs them", err)
	}
	t.Chdir(t.TempDir())
	made := newCluster(Options{Name: "demo", Dir: "out/cluster", Home: t.TempDir()},
		record{Name: "demo", Nodes: []Node{{Name: "node1"}}})
	node := made.record.Nodes[0]
	dir, err := filepath.Abs(made.NodeDir(node))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(dir, 0o700), made.save()); err != nil {
		t.Fatal(err)
	}
	machine, err := vm.Start(t.Context(), vm.Config{
		Name: made.machineName(node), Dir: dir, Arch: "amd64", Accel: vm.DetectAccel(), CPUs: 1, MemoryBytes: 64 << 20,
		FirmwareCode: firmware.Code, FirmwareVars: firmware.Vars, Network: []string{"-nic", "none"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = machine.PowerCut(context.WithoutCancel(t.Context())) })
	found, err := Open(Options{Dir: "out/cluster"})
	if err != nil {
		t.Fatal(err)
	}
	if err := found.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if machine.Running() {
		t.Errorf("process %d runs on", machine.PID())
	}
}

// TestDownTwice: entries that are gone already are no error.
func TestDownTwice(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, "kubeconfig")
	added := addition{Path: path, Merged: true}
	if err := removeKubeconfig(added, "demo"); err != nil {
		t.Error(err)
	}
	kubeconfigFile(t, path, "mine")
	if err := removeKubeconfig(added, "demo"); err != nil {
		t.Error(err)
	}
	contextsFile(t, filepath.Join(home, "nodectl.yaml"), "mine")
	if err := removeContext(addition{Path: filepath.Join(home, "nodectl.yaml")}, "demo"); err != nil {
		t.Error(err)
	}
	if err := removeContext(addition{Path: filepath.Join(home, "none.yaml")}, "demo"); err != nil {
		t.Error(err)
	}
}

// FuzzHoldsEntries: a file with somebody's entries in it is never taken for one
// that may go.
func FuzzHoldsEntries(f *testing.F) {
	f.Add([]byte("clusters: []\nusers: []\ncontexts: []\n"))
	f.Add([]byte("clusters: {a: 1}\n"))
	f.Add([]byte("kind: Config\n"))
	const fresh = `
clusters: [{name: demo, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: demo, user: {}}]
contexts: [{name: demo, context: {cluster: demo, user: demo}}]
current-context: demo
`
	f.Fuzz(func(t *testing.T, existing []byte) {
		merged, err := kubeconfig.Merge(existing, []byte(fresh))
		if err != nil {
			return
		}
		if !holdsEntries(merged) {
			t.Errorf("may go, and has an entry:\n%s", merged)
		}
	})
}
