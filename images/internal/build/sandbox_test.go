package build

import (
	"os"
	"strings"
	"testing"
)

// Without its sandbox image the workload plane starts no pod, and there is no
// registry to ask for another version.
func TestSandboxImageIsOfTheBundle(t *testing.T) {
	version, err := os.ReadFile("../../VERSION")
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile("../../files/plane/etc/containerd/config.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := "sandbox = 'cyvive.dev/pause:" + strings.TrimSpace(string(version)) + "'"
	if !strings.Contains(string(config), want) {
		t.Errorf("config.toml of the plane: no line %s", want)
	}
}
