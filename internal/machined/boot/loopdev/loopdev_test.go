package loopdev

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNamed(t *testing.T) {
	block := t.TempDir()
	for name, text := range map[string]string{
		"loop0/loop/backing_file": "/var/lib/kubelet/a\n", "loop1/loop/backing_file": "/var/b/image.verity (deleted)\n", "loop2/size": "0\n",
		"loop12/loop/backing_file": "/var/lib/kubelet/b\n", "dm-0/size": "8\n",
	} {
		path := filepath.Join(block, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := named(block, "/var/lib/kubelet/")
	want := []Held{{Name: "loop0", As: "/var/lib/kubelet/a"}, {Name: "loop12", As: "/var/lib/kubelet/b"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if got, err := named(filepath.Join(block, "none"), "/"); len(got) > 0 || err != nil {
		t.Errorf("without block devices: %v, %v", got, err)
	}
}

// TestPaths: what the kernel could not show, or would show otherwise, is no path to hold a device under.
func TestPaths(t *testing.T) {
	for _, as := range []string{"", "/", "a", "a/b", "/a/", "/a//b", "/a/../b", "/./a", "/" + strings.Repeat("a/", 2000) + "a"} {
		if f, err := (Kernel{}).Open(0, as); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("%.20q: %v, %v", as, f, err)
		}
	}
}
