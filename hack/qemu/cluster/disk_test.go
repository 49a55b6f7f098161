package cluster

import (
	"encoding/json"
	"os"
	"os/exec"
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
	asked := ""
	own := func(dir string) []vm.Disk {
		asked = dir
		return []vm.Disk{{Socket: "x", Serial: "mine"}}
	}
	if d := cmp.Diff([]string{"mine", "cidata"}, serials(Options{Disks: own})); d != "" || asked != dir {
		t.Errorf("with disks of its own, asked for %q (-want +got):\n%s", asked, d)
	}
	empty := []EmptyDisk{{Serial: "a", SizeBytes: 1 << 30}, {Serial: "b", SizeBytes: 1 << 30}}
	if d := cmp.Diff([]string{"system", "cidata", "a", "b"}, serials(Options{Empty: empty})); d != "" {
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

// rebuild puts another file in an image's place, as the builder does.
func rebuild(t *testing.T, image, text string) {
	t.Helper()
	if err := os.WriteFile(image+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(image+".new", image); err != nil {
		t.Fatal(err)
	}
}

// TestHoldImage: what was held stays, also where the image was named by a link.
func TestHoldImage(t *testing.T) {
	dir := t.TempDir()
	image, link := filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "link")
	rebuild(t, image, "old")
	if err := os.Symlink(image, link); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{image, link} {
		rebuild(t, image, "old")
		held := filepath.Join(t.TempDir(), baseFile)
		if err := holdImage(t.Context(), from, held); err != nil {
			t.Fatal(err)
		}
		rebuild(t, image, "new")
		if got, err := os.ReadFile(held); err != nil || string(got) != "old" {
			t.Errorf("from %s: got %q, %v, want what was held", filepath.Base(from), got, err)
		}
	}
	if err := holdImage(t.Context(), filepath.Join(dir, "none"), filepath.Join(dir, "held")); err == nil {
		t.Error("an image that is not there: got no error")
	}
}

// TestDisksStandOnTheHeldImage: a node that is started again finds its disk, however
// often the image was built in between.
func TestDisksStandOnTheHeldImage(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatalf("REQUIRE_VM=1 promised QEMU: %v", err)
		}
		t.Skipf("needs qemu-img: %v; make setup installs it", err)
	}
	node := Node{Name: "node1"}
	c := newCluster(Options{Dir: t.TempDir(), ImageDir: t.TempDir()}, record{Name: "demo", Nodes: []Node{node}})
	if err := CreateEmpty(t.Context(), c.options.image(), 1<<20); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{c.NodeDir(node), filepath.Dir(c.UserDataPath(node))} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(c.UserDataPath(node), []byte("kind: Machine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.makeDisks(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	path, _ := c.Disk(node)
	out, err := exec.CommandContext(t.Context(), "qemu-img", "info", "--output=json", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Base string `json:"full-backing-filename"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(c.NodeDir(node), baseFile); info.Base != want {
		t.Errorf("the disk stands on %s, want %s", info.Base, want)
	}
}

// TestStartAgain: a cluster is found as the machine that it was made as, and one that
// never ran is not started.
func TestStartAgain(t *testing.T) {
	dir := t.TempDir()
	made := newCluster(Options{Dir: dir}, record{Name: "demo", Arch: "amd64", CPUs: 3, MemoryBytes: 5 << 30})
	if err := made.save(); err != nil {
		t.Fatal(err)
	}
	found, err := Open(Options{Dir: dir, CPUs: 1, MemoryBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if found.options.CPUs != 3 || found.options.MemoryBytes != 5<<30 {
		t.Errorf("got %d processors and %d bytes, want those of the record", found.options.CPUs, found.options.MemoryBytes)
	}
	if err := found.StartAgain(t.Context()); err == nil || !strings.Contains(err.Error(), "never ran") {
		t.Errorf("a cluster that never ran: got %v, want that it did not", err)
	}
	found.record.Nodectl.Merged = true
	if err := found.StartAgain(t.Context()); err != nil { // it has no nodes
		t.Error(err)
	}
	_, err = Create(t.Context(), Options{Name: "demo", Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "make cluster-start") {
		t.Errorf("another one in its place: got %v, want what starts it again", err)
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
