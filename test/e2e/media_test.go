package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/network"
	"github.com/cyvive/cyvive/hack/qemu/vm"
	"github.com/cyvive/cyvive/hack/release/diskimage"
	"github.com/cyvive/cyvive/hack/release/media"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
)

// installMedia are those of the image, as make iso makes them, but for the keys of Secure Boot that machines would enrol.
type installMedia struct{ program, volume string }

func (e env) installMedia(t *testing.T) installMedia {
	t.Helper()
	dir := e.workDir(t)
	m := installMedia{program: filepath.Join(dir, "m.efi"), volume: filepath.Join(dir, "m.iso")}
	raw, keys := filepath.Join(dir, "signed.raw"), e.releases(t).Key()
	if err := diskimage.Sign(raw, e.out(), diskimage.Options{Keys: keys, Enrol: diskimage.EnrolOff}); err != nil {
		t.Fatal(err)
	}
	if err := media.Write(m.program, m.volume, media.Options{Dir: e.out(), Disk: raw, SecureBoot: keys.SecureBoot}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(m.program)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the program has %d MB", info.Size()/1e6)
	return m
}

// emptyMachine is a machine with an empty disk, and an owner whose key its user data names.
type emptyMachine struct {
	*newNode
	// disk is the image of the disk, and config a configuration without a cluster.
	disk, config string
}

// emptyMachine makes one with more disks behind its own. Change does the rest.
func (e env) emptyMachine(t *testing.T, ctx context.Context, change func(*cluster.Options), more ...vm.Disk) *emptyMachine {
	t.Helper()
	const diskFile = "empty.qcow2"
	o := e.options(t)
	o.Disks = func(dir string) []vm.Disk {
		return append([]vm.Disk{{Path: filepath.Join(dir, diskFile), Format: "qcow2", Serial: cluster.SystemSerial}}, more...)
	}
	change(&o)
	c := create(t, ctx, o)
	n := &emptyMachine{newNode: ownedBy(t, ctx, c)}
	n.disk = filepath.Join(c.NodeDir(n.node), diskFile)
	if err := cluster.CreateEmpty(ctx, n.disk, spareBytes); err != nil {
		t.Fatal(err)
	}
	userData, err := os.ReadFile(c.UserDataPath(n.node))
	if err != nil {
		t.Fatal(err)
	}
	n.config = withoutCluster(t, userData)
	if err := c.SetUserData(n.node, []byte(n.document(t, ctx))); err != nil {
		t.Fatal(err)
	}
	return n
}

// withoutCluster writes a configuration without Kubernetes to a file.
func withoutCluster(t *testing.T, userData []byte) string {
	t.Helper()
	cfg, err := config.Parse("user-data", userData)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Cluster = nil
	alone, err := config.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "node.yaml")
	if err := os.WriteFile(file, alone, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// awaitMedium starts the machine and waits until its owner can talk to what it has started from: a system in maintenance mode that says what it is, takes no
// configuration for itself, and has not touched the disk.
func (n *emptyMachine) awaitMedium(t *testing.T, ctx context.Context) (fingerprint string) {
	t.Helper()
	before, err := os.ReadFile(n.disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	fingerprint = n.fingerprint(t, ctx, 1)
	eventually(t, ctx, "the owner's first call", func(ctx context.Context) error {
		_, err := n.nodectl(ctx, fingerprint, "version")
		return err
	})
	// It is not healthy, and says why.
	if out, _ := n.nodectl(ctx, fingerprint, "health"); !strings.Contains(strings.Join(strings.Fields(out), " "), plan.OnMedium) {
		t.Errorf("health: got\n%s", out)
	}
	if _, err := n.nodectl(ctx, fingerprint, "config", "apply", n.config); err == nil || !strings.Contains(err.Error(), "installation medium") {
		t.Errorf("a configuration for itself: %v", err)
	}
	if after, err := os.ReadFile(n.disk); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the disk, which nobody has spoken of yet, has changed: %d bytes, and %d before; %v", len(after), len(before), err)
	}
	return fingerprint
}

// install has the medium put the node onto the disk, and wants the machine to start from that.
func (n *emptyMachine) install(t *testing.T, ctx context.Context, e env, fingerprint string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, installTimeout+2*bootTimeout)
	defer cancel()
	version, err := n.nodectl(ctx, fingerprint, "version")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.nodectl(ctx, fingerprint, "install", "--disk-serial", cluster.SystemSerial, "--config", n.config); err != nil {
		t.Fatal(err)
	}
	if _, err := n.nodectl(ctx, fingerprint, "reboot"); err != nil {
		t.Fatal(err)
	}
	for _, step := range []func(context.Context) error{n.Merge, n.AwaitHealthy} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s := &suite{Cluster: n.Cluster, env: e, node: n.node, alone: true}
	if got := s.running(t, ctx); got.GetSlot().String() != "SLOT_A" || !strings.Contains(version, got.GetVersion()) {
		t.Errorf("the installed node runs version %s of %s; the medium was\n%s", got.GetVersion(), got.GetSlot(), version)
	}
	if boots, err := listBoots(ctx, s); err != nil || len(boots) != 1 {
		t.Errorf("the installed node has %d boots in its ledger, want its first one; %v", len(boots), err)
	}
	if out := s.nodectl(t, ctx, "config", "history"); !strings.Contains(out, "owner") {
		t.Errorf("history: got\n%s", out)
	}
}

// TestInstallFromISO starts a machine with an empty disk from the medium, once as a CD and once as a stick, which is a disk for firmware. From the CD it is
// installed, and starts from its own disk then, with the CD still in its drive.
func TestInstallFromISO(t *testing.T) {
	e := requireImage(t)
	longOnly(t, "starts from a medium twice, and installs")
	ctx := testContext(t, installTimeout+5*bootTimeout)
	m := e.installMedia(t)
	none := func(*cluster.Options) {}
	t.Run("cd", func(t *testing.T) {
		n := e.emptyMachine(t, ctx, none, vm.Disk{Path: m.volume, Format: "raw", CD: true, Serial: "medium"})
		n.install(t, ctx, e, n.awaitMedium(t, ctx))
	})
	t.Run("stick", func(t *testing.T) {
		n := e.emptyMachine(t, ctx, none, vm.Disk{Path: m.volume, Format: "raw", ReadOnly: true, Serial: "medium"})
		n.awaitMedium(t, ctx)
	})
}

// TestInstallFromNetwork starts a machine with an empty disk, whose firmware is told of the medium by DHCP: by a URL, from which it is installed, and by a name
// that it asks a TFTP server for.
func TestInstallFromNetwork(t *testing.T) {
	e := requireImage(t)
	longOnly(t, "starts from the network twice, and installs")
	ctx := testContext(t, installTimeout+6*bootTimeout)
	m := e.installMedia(t)
	folder, name := filepath.Split(m.program)
	t.Run("http", func(t *testing.T) {
		web := httptest.NewServer(http.FileServer(http.Dir(folder)))
		defer web.Close()
		n := e.emptyMachine(t, ctx, func(o *cluster.Options) {
			o.Reach = []network.Reach{{Port: webPort, Command: e.dialer(t, ctx) + " " + strings.TrimPrefix(web.URL, "http://")}}
			o.Boot.File = "http://" + net.JoinHostPort(network.UserHost.String(), fmt.Sprint(webPort)) + "/" + name
		})
		n.install(t, ctx, e, n.awaitMedium(t, ctx))
	})
	t.Run("pxe", func(t *testing.T) {
		n := e.emptyMachine(t, ctx, func(o *cluster.Options) { o.Boot = network.Boot{File: name, Folder: filepath.Clean(folder)} })
		n.awaitMedium(t, ctx)
	})
}
