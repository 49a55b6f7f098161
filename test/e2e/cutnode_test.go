package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/powercut"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// Sockets of the disks, in the machine's folder.
const (
	systemSocket = "system.sock"
	spareSocket  = "spare.sock"
)

// cutNode is a node without a cluster, whose disks lose at a power cut what was not flushed.
type cutNode struct {
	*suite
	random *rand.Rand
	// thorough says that many cuts are to be made, and time is no matter.
	thorough bool

	// image is the disk of the image, frozen are disks of the node that others are on; system and spare serve the disks that the machine has, in files
	// of their own.
	image         *powercut.Image
	frozen        []*powercut.Image
	system, spare *powercut.Server
	diskBytes     int64
	media         int
	// onSpare says that the machine has the spare disk only, triedHalf that it was started so from one that is half installed.
	onSpare, triedHalf bool

	// versions are those that the node may run, by root hash.
	versions map[string]string
	// known is the boot that answered last.
	known string
	// document is the configuration that the node has to have, but for the number of a change.
	document string
	// firstBoot is the course of one.
	firstBoot course
	// upgrades is what a phase leaves to the next.
	upgrades *upgradeCuts

	cuts         int
	cached, lost int64
}

func newCutNode(t *testing.T, ctx context.Context, e env, seed uint64) *cutNode {
	t.Helper()
	o := e.options(t)
	o.CPUs = 1 // see smallOptions: there are hundreds of starts
	return newCutNodeIn(t, ctx, e, o, seed)
}

// newCutNodeIn is newCutNode in a machine of one's own, but for its disks.
func newCutNodeIn(t *testing.T, ctx context.Context, e env, o cluster.Options, seed uint64) *cutNode {
	t.Helper()
	n := &cutNode{random: rand.New(rand.NewPCG(seed, 0)), versions: map[string]string{}}
	// After the machine, which what create registers stops, and before the folder is removed.
	t.Cleanup(func() { n.close(t) })
	o.Disks = n.disks
	n.diskBytes = o.DiskBytes
	n.suite = makeAlone(t, ctx, e, o, nil)
	var err error
	if n.image, err = powercut.OpenImage(e.out("disk.raw")); err != nil {
		t.Fatal(err)
	}
	dir := n.NodeDir(n.node)
	if n.system, err = powercut.Serve(dir, systemSocket, n.newDisk(t, n.image, n.diskBytes)); err != nil {
		t.Fatal(err)
	}
	if n.spare, err = powercut.Serve(dir, spareSocket, n.newDisk(t, nil, spareBytes)); err != nil {
		t.Fatal(err)
	}
	if err := n.Merge(ctx); err != nil {
		t.Fatal(err)
	}
	return n
}

// disks are what the machine has now.
func (n *cutNode) disks(string) []vm.Disk {
	spare := vm.Disk{Socket: spareSocket, Format: "raw", Serial: cluster.SpareSerial}
	if n.onSpare {
		return []vm.Disk{spare}
	}
	return []vm.Disk{{Socket: systemSocket, Format: "raw", Serial: cluster.SystemSerial}, spare}
}

// newDisk makes a disk with the content of an image.
func (n *cutNode) newDisk(t *testing.T, below *powercut.Image, sizeBytes int64) *powercut.Disk {
	t.Helper()
	n.media++
	path := filepath.Join(n.NodeDir(n.node), fmt.Sprintf("medium%d", n.media))
	d, err := powercut.New(below, path, sizeBytes, powercut.DefaultCacheBytes, rand.New(rand.NewPCG(n.random.Uint64(), 0)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// use puts a disk into the machine, which is off, and removes the one before.
func (n *cutNode) use(t *testing.T, s *powercut.Server, d *powercut.Disk) {
	t.Helper()
	old, err := s.Use(d)
	if err := errors.Join(err, old.Close()); err != nil {
		t.Fatal(err)
	}
}

// close removes the disks, and keeps what a person would look at when the test has failed.
func (n *cutNode) close(t *testing.T) {
	if n.system != nil && t.Failed() {
		n.keep(t)
	}
	for _, s := range []*powercut.Server{n.system, n.spare} {
		if s == nil {
			continue
		}
		if err := errors.Join(s.Close(), s.Disk().Close()); err != nil {
			t.Error(err)
		}
	}
	for _, image := range append(n.frozen, n.image) {
		if image == nil {
			continue
		}
		if err := image.Close(); err != nil {
			t.Error(err)
		}
	}
}

// powerOn starts the machine, and follows its console from the beginning.
func (n *cutNode) powerOn(t *testing.T, ctx context.Context) *vm.Console {
	t.Helper()
	console := vm.OpenConsole(n.ConsolePath(n.node))
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return console
}

// pull cuts the power of the machine, if it is on, and of its disks.
func (n *cutNode) pull(t *testing.T, ctx context.Context) (losses string) {
	t.Helper()
	if m, err := n.Machine(n.node); err == nil {
		if err := m.PowerCut(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*powercut.Server{n.system, n.spare} {
		loss, err := s.Cut()
		if err != nil {
			t.Fatal(err)
		}
		n.cached, n.lost = n.cached+loss.CachedBytes, n.lost+loss.LostBytes
		losses += fmt.Sprintf(" %d of %d kB", loss.LostBytes>>10, loss.CachedBytes>>10)
	}
	return losses
}

// cut is a power cut that counts.
func (n *cutNode) cut(t *testing.T, ctx context.Context, when string) {
	t.Helper()
	losses := n.pull(t, ctx)
	n.cuts++
	t.Logf("cut %d, %s; lost of system and spare disk:%s", n.cuts, when, losses)
}

// back starts the machine unless it is on, waits until the node is in order, and holds what it says against what may be after a cut. It returns what
// the node runs.
func (n *cutNode) back(t *testing.T, ctx context.Context, was plug) *machinev1.GetVersionResponse {
	t.Helper()
	n.powerOn(t, ctx)
	if err := n.AwaitHealthy(ctx); err != nil {
		t.Fatalf("after cut %d: %v", n.cuts, err)
	}
	boots, err := listBoots(ctx, n.suite)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkLedger(boots, n.known, was); err != nil {
		t.Errorf("after cut %d: %v", n.cuts, err)
	}
	n.known = boots[0].GetBootId()
	version := n.running(t, ctx)
	if want, ok := n.versions[version.GetRootHash()]; !ok || version.GetVersion() != want {
		t.Errorf("after cut %d the node runs version %s with root hash %s, want one of %v", n.cuts, version.GetVersion(), version.GetRootHash(), n.versions)
	}
	if d := n.stripped(t, ctx); n.document != "" && d != n.document {
		t.Errorf("after cut %d the node has the configuration\n%s\nwant\n%s", n.cuts, d, n.document)
	}
	return version
}

// on starts a node that is in order, unless it is on.
func (n *cutNode) on(t *testing.T, ctx context.Context) {
	t.Helper()
	if _, err := n.Machine(n.node); err == nil {
		return
	}
	n.powerOn(t, ctx)
	if err := n.AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	n.known = currentBoot(t, ctx, n.suite)
}
