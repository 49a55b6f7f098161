package programs

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBaselineIsOfTheSameRelease: the baseline is a measure of the system around
// Kubernetes only while Kubernetes is the same.
func TestBaselineIsOfTheSameRelease(t *testing.T) {
	modules := func(dir string) []string {
		cmd := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{.Version}} {{with .Replace}}{{.Version}}{{end}}", "all")
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("list modules of %s: %v", dir, err)
		}
		var of []string
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "k8s.io/") {
				of = append(of, line)
			}
		}
		return of
	}
	image := modules("../../kubernetes")
	if len(image) < 10 {
		t.Fatalf("the image has %d modules of Kubernetes", len(image))
	}
	if d := cmp.Diff(image, modules("../../baseline")); d != "" {
		t.Errorf("modules of Kubernetes (-image +baseline):\n%s", d)
	}
}
