package build

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/images/internal/tree"
)

func TestSizes(t *testing.T) {
	x := tree.New()
	x.Write("/usr/bin/small", 0o755, []byte("1"))
	x.Write("/usr/bin/large", 0o755, []byte("123"))
	x.Write("/usr/lib/data", 0o644, []byte("12"))
	if err := x.Hardlink("/usr/bin/again", "/usr/bin/large"); err != nil {
		t.Fatal(err)
	}
	files, err := sizes(x)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, f := range files {
		order = append(order, f.name)
	}
	if d := cmp.Diff([]string{"/usr/bin/large", "/usr/lib/data", "/usr/bin/small"}, order); d != "" {
		t.Errorf("order (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"large", "small"}, programNames(files)); d != "" {
		t.Errorf("programs (-want +got):\n%s", d)
	}
}
