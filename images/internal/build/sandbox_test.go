package build

import (
	"os"
	"strings"
	"testing"
)

// Without its sandbox image the workload plane starts no pod, and there is no
// registry to ask for another version.
func TestSandboxImageIsOfTheBundle(t *testing.T) {
	config, err := os.ReadFile("../../files/plane/etc/containerd/config.toml")
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{version: "@VERSION@"}
	if want := "sandbox = '" + b.imageName("pause") + "'"; !strings.Contains(string(config), want) {
		t.Errorf("config.toml of the plane: no line %s", want)
	}
}
