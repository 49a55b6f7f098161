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
	empty := []EmptyDisk{{Serial: "a", SizeBytes: 1 << 30}, {Serial: "b", SizeBytes: 1 << 30}}
	if d := cmp.Diff([]string{"system", "cidata", "spare", "a", "b"}, serials(Options{Empty: empty})); d != "" {
		t.Errorf("with empty ones (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"mine", "cidata", "a", "b"}, serials(Options{Disks: own, Empty: empty})); d != "" {
		t.Errorf("with disks of its own and empty ones (-want +got):\n%s", d)
	}
	served := newCluster(Options{Empty: []EmptyDisk{{Serial: "c", Socket: "c.sock"}}}, record{}).emptyDisks(dir)
	if d := cmp.Diff([]vm.Disk{{Socket: "c.sock", Format: "raw", Serial: "c", Slot: true}}, served); d != "" {
		t.Errorf("one that is served (-want +got):\n%s", d)
	}
	for _, disk := range newCluster(Options{Empty: empty}, record{}).emptyDisks(dir) {
		if !disk.Slot || filepath.Dir(disk.Path) != dir || !strings.Contains(disk.Path, disk.Serial) {
			t.Errorf("an empty disk: %+v", disk)
		}
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
