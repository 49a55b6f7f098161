package programs

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBaselineIsOfTheSameRelease: the baseline is a measure of the system around
// Kubernetes only while Kubernetes is the same, and so is what it is made of. The
// image's program has other modules besides, which ask for newer versions of some.
func TestBaselineIsOfTheSameRelease(t *testing.T) {
	modules := func(dir string) map[string]string {
		cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}} {{with .Replace}}{{.Version}}{{end}}{{end}}")
		for _, name := range []string{"kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
			cmd.Args = append(cmd.Args, "k8s.io/kubernetes/cmd/"+name)
		}
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("list modules of %s: %v", dir, err)
		}
		of := map[string]string{}
		for line := range strings.Lines(string(out)) {
			if fields := strings.Fields(line); len(fields) > 1 { // not the standard library
				of[fields[0]] = fields[len(fields)-1]
			}
		}
		return of
	}
	image := modules("../../kubernetes")
	if len(image) < 50 {
		t.Fatalf("the image's programs of Kubernetes are of %d modules", len(image))
	}
	if d := cmp.Diff(image, modules("../../baseline")); d != "" {
		t.Errorf("modules of Kubernetes' programs (-image +baseline):\n%s", d)
	}
}
