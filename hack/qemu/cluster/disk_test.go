package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/hack/qemu/vm"
)

func TestDisks(t *testing.T) {
	dir := t.TempDir()
	serials := func(o Options) (all []string) {
		for _, d := range newCluster(o, record{}).disks(dir) {
			all = append(all, d.Serial)
		}
		return all
	}
	if d := cmp.Diff([]string{"system", "cidata"}, serials(Options{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := os.WriteFile(filepath.Join(dir, spareFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"system", "cidata", "spare"}, serials(Options{})); d != "" {
		t.Errorf("with a spare (-want +got):\n%s", d)
	}
	asked := ""
	own := func(dir string) []vm.Disk {
		asked = dir
		return []vm.Disk{{Socket: "x", Serial: "mine"}}
	}
	if d := cmp.Diff([]string{"mine", "cidata"}, serials(Options{Disks: own})); d != "" || asked != dir {
		t.Errorf("with disks of its own, asked for %q (-want +got):\n%s", asked, d)
	}
}

func TestBootDirectly(t *testing.T) {
	image := t.TempDir()
	if err := os.WriteFile(filepath.Join(image, "cmdline"), []byte("roothash=x quiet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCluster(Options{ImageDir: image}, record{})
	for parameters, want := range map[string]string{"": "roothash=x quiet", "rdinit=/y": "roothash=x quiet rdinit=/y"} {
		config := vm.Config{Dir: t.TempDir()}
		written := ""
		err := c.bootDirectly(&config, func(path string) (string, error) {
			written = path
			return parameters, nil
		})
		if err != nil || config.Append != want || config.Initrd != written || !strings.HasPrefix(written, config.Dir) {
			t.Errorf("%v: appended %q, want %q; initramfs %s, written %s", err, config.Append, want, config.Initrd, written)
		}
	}
}
