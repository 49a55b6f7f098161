package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
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
	t.Cleanup(func() {
		if t.Failed() {
			n.explain(t)
		}
	})
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

// explain shows where a start has ended: what firmware, boot stub and kernel said last, and what QEMU did.
func (n *emptyMachine) explain(t *testing.T) {
	t.Helper()
	console, err := os.ReadFile(n.ConsolePath(n.node))
	t.Logf("the console, which says last (%v):\n%s", err, lastLines(console, 60))
	if words, err := os.ReadFile(filepath.Join(n.NodeDir(n.node), "qemu.log")); err != nil || len(words) > 0 {
		t.Logf("QEMU says (%v):\n%s", err, words)
	}
}

// lastLines are the last lines of a console in which something is.
func lastLines(console []byte, most int) string {
	var lines []string
	for line := range strings.Lines(string(sequences.ReplaceAll(console, nil))) {
		line = strings.TrimSpace(strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' {
				return -1
			}
			return r
		}, line))
		if line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

func TestLastLines(t *testing.T) {
	console := "one\r\n\x1b[2J\x1b[01;01H>>Start PXE over IPv4.\r\r\n \r\n  PXE-E16: No valid\x07 offer\r\n"
	if got, want := lastLines([]byte(console), 2), ">>Start PXE over IPv4.\nPXE-E16: No valid offer"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := lastLines(nil, 2); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

const (
	// onMedium is what stage 1 says with the disk of a medium, onRoot what it says at its end.
	onMedium, onRoot = `the root is that of an installation medium`, `switching to the verified root`
	// givenUp is what a console says of a start that goes no further: firmware has tried all that it knows, the boot stub has halted, or the kernel has stopped.
	givenUp = `No bootable option or device was found|UEFI Interactive Shell|efi_assert|Initramfs unpacking failed|Kernel panic - not syncing`
)

// awaitStart waits for the lines of the console by which it can be seen how far a start from a medium comes, and for each as long as all may take.
func (n *emptyMachine) awaitStart(t *testing.T, ctx context.Context, limit time.Duration) {
	t.Helper()
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the start from the medium took longer than %s", limit))
	defer cancel()
	m, began := machine(t, n.Cluster, n.node), time.Now()
	waiting, stop := context.WithCancelCause(limited)
	defer stop(nil)
	go func() {
		if m.Wait(waiting) == nil {
			stop(errors.New("the machine has ended"))
		}
	}()
	for _, station := range []struct{ line, otherwise string }{
		{`Linux version `, "firmware does not start the program: is the medium, or its server, found at all, and is there an error of its loader or of the boot stub"},
		{onMedium, "the kernel has not unpacked the disk that the program brings (what does it say of its initramfs, and of memory), or cannot make a loop device of it"},
		{onRoot, "the root that is in memory is not opened"},
	} {
		line, err := m.Console().WaitLine(waiting, regexp.MustCompile(station.line+"|"+givenUp))
		if err == nil && !regexp.MustCompile(station.line).MatchString(line) {
			err = fmt.Errorf("the console says %q", line)
		}
		if err != nil {
			t.Fatalf("%s: %v", station.otherwise, err)
		}
		t.Logf("after %.0f s: %s", time.Since(began).Seconds(), line)
	}
}

// awaitMedium starts the machine and waits until its owner can talk to what it has started from: a system in maintenance mode that says what it is, takes no
// configuration for itself, and has not touched the disk. Limit is for the start, of which a download may take most.
func (n *emptyMachine) awaitMedium(t *testing.T, ctx context.Context, limit time.Duration) (fingerprint string) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(ctx, limit+bootTimeout, fmt.Errorf("what the medium started was not up after %s", limit+bootTimeout))
	defer cancel()
	before, err := os.ReadFile(n.disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	n.awaitStart(t, ctx, limit)
	fingerprint = n.fingerprint(t, ctx, 1)
	eventually(t, ctx, "the owner's first call", func(ctx context.Context) error {
		_, err := n.nodectl(ctx, fingerprint, "version")
		return err
	})
	// It is not healthy, and says why.
	if out, err := n.nodectl(ctx, fingerprint, "health"); !strings.Contains(strings.Join(strings.Fields(out), " "), plan.OnMedium) {
		t.Errorf("health: got %v and\n%s", err, out)
	}
	if _, err := n.nodectl(ctx, fingerprint, "config", "apply", n.config); err == nil || !strings.Contains(err.Error(), "installation medium") {
		t.Errorf("a configuration for itself: %v", err)
	}
	if after, err := os.ReadFile(n.disk); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the disk, which nobody has spoken of yet, has changed: %d bytes, and %d before; %v", len(after), len(before), err)
	}
	return fingerprint
}

// sealDisk has the configuration of the node ask for a disk that is sealed to the TPM.
func (n *emptyMachine) sealDisk(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("node.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Machine.Disk.Encryption.Mode = config.EncryptionTPM
	if text, err = config.Marshal(cfg); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// install has the medium put the node onto the disk, and wants the machine to start from that.
func (n *emptyMachine) install(t *testing.T, ctx context.Context, e env, fingerprint string) *suite {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, installTimeout+2*bootTimeout)
	defer cancel()
	version, err := n.nodectl(ctx, fingerprint, "version")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := n.nodectl(ctx, fingerprint, "install", "--disk-serial", cluster.SystemSerial, "--config", n.config); err != nil {
		t.Fatal(err)
	}
	t.Logf("the installation took %.0f s", time.Since(began).Seconds())
	console := machine(t, n.Cluster, n.node).Console()
	if _, err := n.nodectl(ctx, fingerprint, "reboot"); err != nil {
		t.Fatal(err)
	}
	n.awaitOwnDisk(t, ctx, console)
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
	return s
}

// awaitOwnDisk waits until the machine has started again, and wants that to be from its own disk: a node that never answers would not tell.
func (n *emptyMachine) awaitOwnDisk(t *testing.T, ctx context.Context, console *vm.Console) {
	t.Helper()
	limited, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("the start from the installed disk took longer than %s", bootTimeout))
	defer cancel()
	line, err := console.WaitLine(limited, regexp.MustCompile(onMedium+"|"+onRoot+"|"+givenUp))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(onRoot).MatchString(line) {
		t.Fatalf("the machine was to start from the disk on which the node was installed, and says %q", line)
	}
}

// TestInstallFromISO starts a machine with an empty disk from the medium, once as a CD and once as a USB stick, which is a disk for firmware. From each it is
// installed, from the CD onto a disk that is sealed to its TPM, and starts from its own disk then, with the medium still in its place.
func TestInstallFromISO(t *testing.T) {
	e := requireImage(t)
	longOnly(t, "starts from a medium twice, and installs")
	ctx := testContext(t, 2*installTimeout+8*bootTimeout)
	m := e.installMedia(t)
	t.Run("cd", func(t *testing.T) {
		withTPM := func(o *cluster.Options) { o.TPM = true }
		n := e.emptyMachine(t, ctx, withTPM, vm.Disk{Path: m.volume, Format: "raw", CD: true, Serial: "medium"})
		fingerprint := n.awaitMedium(t, ctx, bootTimeout)
		n.sealDisk(t)
		// That the TPM gives the key out could not be tried before this.
		s := &sealed{suite: n.install(t, ctx, e, fingerprint)}
		s.checkOpen(t, ctx)
	})
	t.Run("stick", func(t *testing.T) {
		none := func(*cluster.Options) {}
		n := e.emptyMachine(t, ctx, none, vm.Disk{Path: m.volume, Format: "raw", USB: true, Snapshot: true, Serial: "medium"})
		fingerprint := n.awaitMedium(t, ctx, bootTimeout)
		n.checkStick(t, ctx, fingerprint)
		n.install(t, ctx, e, fingerprint)
	})
}

// checkStick wants the system to have found the stick that it was started from, though it does not need it any more.
func (n *emptyMachine) checkStick(t *testing.T, ctx context.Context, fingerprint string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	eventually(t, ctx, "a disk on USB", func(ctx context.Context) error {
		out, err := n.nodectl(ctx, fingerprint, "inventory", "--no-disk-health", "--output", "json")
		if err != nil {
			return err
		}
		var all inventoryv1.GetInventoryResponse
		if err := protojson.Unmarshal([]byte(out), &all); err != nil {
			return err
		}
		disks := all.GetInventory().GetDisks()
		if !slices.ContainsFunc(disks, func(d *inventoryv1.Disk) bool { return d.GetBus() == inventoryv1.DiskBus_DISK_BUS_USB }) {
			return fmt.Errorf("the machine has the disks %v", disks)
		}
		return nil
	})
}

// loadTimeout is for a start over the network. Firmware tries PXE by IPv6, which nobody answers, for a minute before it tries HTTP; by TFTP, it has the program
// in blocks of 1428 bytes, and asks for each when it has the one before.
const loadTimeout = 2 * bootTimeout

// TestInstallFromNetwork starts a machine with an empty disk, whose firmware is told of the medium by DHCP: by a URL, from which it is installed, and by a name
// that it asks a TFTP server for, from which it comes up. Both are the same program, of which an installation needs nothing but what is in memory.
func TestInstallFromNetwork(t *testing.T) {
	e := requireImage(t)
	longOnly(t, "starts from the network twice, and installs")
	ctx := testContext(t, installTimeout+5*bootTimeout+2*loadTimeout)
	m := e.installMedia(t)
	folder, name := filepath.Split(m.program)
	t.Run("http", func(t *testing.T) {
		web := httptest.NewServer(noted(t, http.FileServer(http.Dir(folder))))
		t.Cleanup(web.Close) // after the machine has ended: it waits for what is being served
		n := e.emptyMachine(t, ctx, func(o *cluster.Options) {
			o.Reach = []network.Reach{{Port: webPort, Command: e.dialer(t, ctx) + " " + strings.TrimPrefix(web.URL, "http://")}}
			o.Boot.File = "http://" + net.JoinHostPort(network.UserHost.String(), fmt.Sprint(webPort)) + "/" + name
		})
		n.install(t, ctx, e, n.awaitMedium(t, ctx, loadTimeout))
	})
	t.Run("pxe", func(t *testing.T) {
		n := e.emptyMachine(t, ctx, func(o *cluster.Options) { o.Boot = network.Boot{File: name, Folder: filepath.Clean(folder)} })
		n.awaitMedium(t, ctx, loadTimeout)
	})
}

// noted has the test's log tell of each answer of a server: what firmware asks for, and how much of it it takes.
func noted(t *testing.T, served http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began, counted := time.Now(), &countedWriter{ResponseWriter: w}
		defer func() {
			t.Logf("%s %s of %q: status %d, %d bytes in %.0f s", r.Method, r.URL, r.UserAgent(), counted.status, counted.bytes, time.Since(began).Seconds())
		}()
		served.ServeHTTP(counted, r)
	})
}

// countedWriter counts what is written.
type countedWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (c *countedWriter) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (c *countedWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	return n, err
}
