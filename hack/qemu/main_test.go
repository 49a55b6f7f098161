package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/cyvive/cyvive/hack/qemu/cluster"
)

func TestParseFiles(t *testing.T) {
	got, err := parseFiles([]string{"/there/init=here/init", "/a=b=c"})
	if diff := cmp.Diff(map[string]string{"/there/init": "here/init", "/a": "b=c"}, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	for _, bad := range []string{"", "there=here", "/there", "/there=", "=here"} {
		if _, err := parseFiles([]string{bad}); err == nil {
			t.Errorf("%q: want an error", bad)
		}
	}
}

// TestDemoPod: the pod must need neither registry, nor service account, nor
// privileges.
func TestDemoPod(t *testing.T) {
	var pod struct {
		Metadata struct{ Name, Namespace string }
		Spec     struct {
			AutomountServiceAccountToken *bool `yaml:"automountServiceAccountToken"`
			Containers                   []struct {
				Image           string
				ImagePullPolicy string `yaml:"imagePullPolicy"`
			}
		}
	}
	if err := yaml.Unmarshal(demoPod, &pod); err != nil {
		t.Fatal(err)
	}
	if pod.Metadata.Name != "demo" || pod.Metadata.Namespace != "default" {
		t.Errorf("got %+v", pod.Metadata)
	}
	if token := pod.Spec.AutomountServiceAccountToken; token == nil || *token {
		t.Error("the pod gets a token of a service account")
	}
	for _, c := range pod.Spec.Containers {
		if c.ImagePullPolicy != "Never" || !strings.HasPrefix(c.Image, "cyvive.dev/") {
			t.Errorf("container %+v would be pulled", c)
		}
	}
}

// TestFlagsOfTheTestStayTheTests: go test -exec puts the test's own flags behind
// its name.
func TestFlagsOfTheTestStayTheTests(t *testing.T) {
	cmd := execCommand()
	if err := cmd.ParseFlags([]string{"--cpus", "1", "x.test", "-test.v", "--cpus", "3"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"x.test", "-test.v", "--cpus", "3"}, cmd.Flags().Args()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestStartWithoutACluster: there is nothing to start, and what makes one is named.
func TestStartWithoutACluster(t *testing.T) {
	root := newCommand()
	root.SetArgs([]string{"start", "--out", t.TempDir()})
	err := root.ExecuteContext(t.Context())
	if !errors.Is(err, cluster.ErrNoCluster) || !strings.Contains(err.Error(), "make cluster") {
		t.Errorf("got %v, want %v, and what makes one", err, cluster.ErrNoCluster)
	}
}

// TestHelp: each command says what it does, in one line.
func TestHelp(t *testing.T) {
	root := newCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs([]string{"--help"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	for _, command := range root.Commands() {
		if command.Short == "" || !strings.Contains(out.String(), command.Short) {
			t.Errorf("%s: no help", command.Name())
		}
	}
}
