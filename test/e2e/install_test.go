package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/powercut"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

const (
	// installTimeout is for one installation: half a gigabyte is read, hashed and written. Without KVM that takes some minutes.
	installTimeout = 15 * time.Minute
	// spareBytes is the second disk. An installation needs under three gigabytes.
	spareBytes = 8 << 30
)

// installPlan is what of nodectl install --dry-run is looked at (api/proto/install/v1, PlanResponse).
type installPlan struct {
	Plan struct {
		Disk         struct{ Name, Serial string }
		Version      string
		Steps        []struct{ Name string }
		Destroys     []string
		GoesOnBehind string
	}
}

func (s *suite) planInstall(t *testing.T, ctx context.Context, args ...string) (p installPlan) {
	t.Helper()
	// The node looks at each of its disks, and reads the hash tree: without KVM, and while it still comes up, that takes some seconds.
	out := s.nodectl(t, ctx, append([]string{"install", "--dry-run", "--output", "json", "--timeout", "1m"}, args...)...)
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// goneSerial is a disk that is pulled while the node installs itself on it.
const goneSerial = "gone"

// installDisks are those of a node that installs itself: its own, with the image, and the spare one that it is installed on, which a test can have fail.
type installDisks struct {
	spare *powercut.Server
	// own and installed say that the machine has its own disk, and that it starts from the spare one.
	own, installed bool
}

// of are the disks of a machine by its folder.
func (d *installDisks) of(dir string) []vm.Disk {
	var disks []vm.Disk
	if d.own {
		// The kernel finds it first, also where firmware starts the other one.
		disks = append(disks, vm.Disk{Path: filepath.Join(dir, ownDiskFile), Format: "qcow2", Serial: cluster.SystemSerial, Late: d.installed})
	}
	return append(disks, vm.Disk{Socket: spareSocket, Format: "raw", Serial: cluster.SpareSerial})
}

const ownDiskFile = "disk.qcow2"

// make makes them for a machine that is not started yet.
func (d *installDisks) make(t *testing.T, ctx context.Context, s *suite, ownBytes int64) {
	t.Helper()
	dir := s.NodeDir(s.node)
	if err := cluster.CreateOverlay(ctx, s.env.out("disk.qcow2"), filepath.Join(dir, ownDiskFile), ownBytes); err != nil {
		t.Fatal(err)
	}
	spare, err := powercut.New(nil, filepath.Join(dir, "spare.medium"), spareBytes, powercut.DefaultCacheBytes, rand.New(rand.NewPCG(5, 0)))
	if err != nil {
		t.Fatal(err)
	}
	if d.spare, err = powercut.Serve(dir, spareSocket, spare); err != nil {
		t.Fatal(errors.Join(err, spare.Close()))
	}
}

func (d *installDisks) close() error {
	if d.spare == nil {
		return nil
	}
	return errors.Join(d.spare.Close(), d.spare.Disk().Close())
}

// TestInstall has a node install itself on an empty disk, with the power cut in the middle, and with a disk that fails or is pulled there; and then run from the
// installed disk, alone and beside the one that it ran from before.
func TestInstall(t *testing.T) {
	e := requireImage(t)
	longOnly(t, "takes a quarter of an hour")
	ctx := testContext(t, 3*bootTimeout+4*installTimeout)
	o := e.options(t)
	disks := &installDisks{own: true}
	o.Disks = disks.of
	o.Empty = []cluster.EmptyDisk{{Serial: goneSerial, SizeBytes: spareBytes}}
	t.Cleanup(func() { // after the machine, and before its folder
		if err := disks.close(); err != nil {
			t.Error(err)
		}
	})
	c := create(t, ctx, o)
	s := &suite{Cluster: c, env: e, node: c.Nodes()[0]}
	disks.make(t, ctx, s, o.DiskBytes)
	bringUp(t, ctx, s)
	disk := spareDisk()
	testInstallRefuses(t, ctx, s)

	version := s.running(t, ctx)
	plan := s.planInstall(t, ctx, disk...)
	if p := plan.Plan; p.Disk.Serial != cluster.SpareSerial || p.Version != version.GetVersion() || len(p.Steps) == 0 || len(p.Destroys) > 0 || p.GoesOnBehind != "" {
		t.Fatalf("the plan is %+v", p)
	}
	t.Run("pulled", func(t *testing.T) { testInstallPulled(t, ctx, s) })
	s.cutInstall(t, ctx, disk, disks.spare)
	plan = s.planInstall(t, ctx, disk...)
	if p := plan.Plan; p.GoesOnBehind == "" || len(p.Steps) == 0 || len(p.Destroys) > 0 {
		t.Fatalf("after the cut the plan is %+v", p)
	}
	t.Logf("after the cut it goes on behind step %s", plan.Plan.GoesOnBehind)
	t.Run("errors", func(t *testing.T) { testInstallErrors(t, ctx, s, disks.spare.Disk()) })
	began := time.Now()
	s.nodectl(t, ctx, append([]string{"install"}, disk...)...)
	t.Logf("the rest of the installation took %.0f s", time.Since(began).Seconds())
	if p := s.planInstall(t, ctx, disk...).Plan; len(p.Steps) > 0 || p.GoesOnBehind != "complete" {
		t.Errorf("afterwards the plan is %+v", p)
	}

	// Both disks have the same root now; the boot loader says from which one it came.
	before := currentBoot(t, ctx, s)
	s.nodectl(t, ctx, "reboot")
	boots := awaitBoot(t, ctx, s, before)
	if len(boots) < 3 {
		t.Errorf("the ledger has %d boots: the node did not start from the disk that it ran from", len(boots))
	}

	s.shutDown(t, ctx)
	disks.own, disks.installed = false, true
	// The configuration is on the disk; what the sources have now does not count.
	if err := c.SetUserData(s.node, []byte("kind: Nonsense\n")); err != nil {
		t.Fatal(err)
	}
	s.comesUp(t, ctx)
	if got := s.running(t, ctx); got.GetVersion() != version.GetVersion() || got.GetRootHash() != version.GetRootHash() {
		t.Errorf("the installed disk runs version %s, root %s", got.GetVersion(), got.GetRootHash())
	}
	boots, err := listBoots(ctx, s)
	if err != nil || len(boots) != 1 {
		t.Errorf("the installed node has %d boots in its ledger, want its first one; %v", len(boots), err)
	}
	t.Run("both-disks", func(t *testing.T) { testBothDisks(t, ctx, s, disks) })
}

// testBothDisks gives the installed node, which is a node like any other and comes back, the disk that it ran from before: partitions of the same names, another
// state, and another pool named node.
func testBothDisks(t *testing.T, ctx context.Context, s *suite, disks *installDisks) {
	before, pool, history := currentBoot(t, ctx, s), s.ownPool(t, ctx), s.nodectl(t, ctx, "config", "history")
	s.shutDown(t, ctx)
	disks.own = true
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("the node is not in order %s after its start", bootTimeout))
	defer cancel()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	boots := awaitBoot(t, ctx, s, before)
	if len(boots) != 2 || boots[1].GetBootId() != before {
		t.Errorf("the ledger has the boots %v, want this one and %s", boots, before)
	}
	if err := s.AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	if got := s.ownPool(t, ctx); got != pool {
		t.Errorf("the node has the pool %d, and had %d", got, pool)
	}
	if got := s.nodectl(t, ctx, "config", "history"); got != history {
		t.Errorf("the node has the configurations\n%s\nand had\n%s", got, history)
	}
}

// ownPool is the GUID of the node's own pool.
func (s *suite) ownPool(t *testing.T, ctx context.Context) (guid uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	eventually(t, ctx, "the node's own pool", func(ctx context.Context) error {
		var list poolv1.ListResponse
		if err := s.tell(ctx, &list, "pool", "status", "node"); err != nil {
			return err
		}
		if len(list.GetPools()) != 1 || list.GetPools()[0].GetGuid() == 0 {
			return fmt.Errorf("the pools named node are %v", list.GetPools())
		}
		guid = list.GetPools()[0].GetGuid()
		return nil
	})
	return guid
}

// testInstallRefuses: what is not asked for in the right way changes nothing.
func testInstallRefuses(t *testing.T, ctx context.Context, s *suite) {
	t.Helper()
	for _, refused := range []struct {
		args []string
		want string
	}{
		{[]string{"--disk-serial", "system"}, "the node runs from it"},
		{[]string{"--disk-serial", "cidata"}, "can only be read"},
		{[]string{"--disk-serial", "nosuch"}, "no disk matches"},
		{[]string{"--disk-size", ">=1B"}, "exactly one has to"},
		{[]string{"--disk-serial", cluster.SpareSerial, "--wipe", "system"}, "wipe is for a disk named"},
	} {
		_, err := s.Tools().Nodectl(ctx, append([]string{"install"}, refused.args...)...)
		if err == nil || !strings.Contains(err.Error(), refused.want) {
			t.Errorf("nodectl install %v: %v, want an error with %q", refused.args, err, refused.want)
		}
	}
	var all inventoryv1.GetInventoryResponse
	ask(t, ctx, s, &all, "inventory", "--no-disk-health")
	serials := map[string]bool{}
	for _, d := range all.GetInventory().GetDisks() {
		serials[d.GetSerial()] = true
	}
	if !serials["system"] || !serials[cluster.SpareSerial] {
		t.Fatalf("the node's disks have the serial numbers %v", serials)
	}
}

// midInstall begins an installation, does something while the root is copied, and returns how the call has ended.
func (s *suite) midInstall(t *testing.T, ctx context.Context, disk []string, do func(ctx context.Context, hangUp func()) error) error {
	t.Helper()
	console := machine(t, s.Cluster, s.node).Console()
	limited, cancel := context.WithTimeoutCause(ctx, installTimeout, fmt.Errorf("the installation, and what was done to it, took longer than %s", installTimeout))
	defer cancel()
	calling, hangUp := context.WithCancel(limited)
	defer hangUp()
	waiting, stop := context.WithCancelCause(limited)
	defer stop(nil)
	ended := make(chan error, 1)
	go func() {
		_, err := s.Tools().Nodectl(calling, append([]string{"install"}, disk...)...)
		stop(fmt.Errorf("the call has ended: %v", err))
		ended <- err
	}()
	if _, err := console.WaitLine(waiting, regexp.MustCompile(`installing.*step=root`)); err != nil {
		t.Fatal(err)
	}
	if err := do(limited, hangUp); err != nil {
		t.Fatal(err)
	}
	return <-ended
}

// cutInstall cuts the power while the root is copied, and that of the disk with it.
func (s *suite) cutInstall(t *testing.T, ctx context.Context, disk []string, spare *powercut.Server) {
	t.Helper()
	m := machine(t, s.Cluster, s.node)
	err := s.midInstall(t, ctx, disk, func(ctx context.Context, hangUp func()) error {
		defer hangUp()
		time.Sleep(2 * time.Second) // somewhere in the middle of it
		if err := m.PowerCut(ctx); err != nil {
			return err
		}
		_, err := spare.Cut()
		return err
	})
	if err == nil {
		t.Fatal("the installation was over before the power was cut")
	}
	s.comesUp(t, ctx)
}

// comesUp starts the machine, and waits until the node is in order, for as long as one boot may take: a machine that starts nothing would be waited for until the
// end of the test.
func (s *suite) comesUp(t *testing.T, ctx context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("the node is not in order %s after its start", bootTimeout))
	defer cancel()
	for _, step := range []func(context.Context) error{s.Start, s.AwaitHealthy} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// testInstallErrors has the disk return errors in the middle of an installation, which goes on from there when it is mended.
func testInstallErrors(t *testing.T, ctx context.Context, s *suite, disk *powercut.Disk) {
	err := s.midInstall(t, ctx, spareDisk(), func(context.Context, func()) error {
		disk.Break(true)
		return nil
	})
	disk.Break(false)
	checkInstallFailed(t, err, cluster.SpareSerial)
	if !strings.Contains(err.Error(), "input/output error") {
		t.Error("the error does not say that it is one of the disk")
	}
	if p := s.planInstall(t, ctx, spareDisk()...).Plan; p.GoesOnBehind == "" || len(p.Steps) == 0 || len(p.Destroys) > 0 {
		t.Errorf("after the errors the plan is %+v", p)
	}
}

// testInstallPulled pulls the disk in the middle of an installation. When it is here again it is known as one that was begun.
func testInstallPulled(t *testing.T, ctx context.Context, s *suite) {
	disk, m := []string{"--disk-serial", goneSerial}, machine(t, s.Cluster, s.node)
	err := s.midInstall(t, ctx, disk, func(ctx context.Context, _ func()) error { return m.PullDisk(ctx, goneSerial) })
	checkInstallFailed(t, err, goneSerial)
	if text := fmt.Sprint(err); strings.Contains(text, "no space left") && !strings.Contains(text, "the disk is gone") {
		t.Error("a disk that is gone is told of as a full one")
	}
	if err := m.PlugDisk(ctx, goneSerial); err != nil {
		t.Fatal(err)
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	eventually(t, limited, "the disk is here again", func(ctx context.Context) error {
		out, err := s.Tools().Nodectl(ctx, "inventory", "--no-disk-health", "--output", "json")
		if err == nil && !strings.Contains(out, `"`+goneSerial+`"`) {
			err = errors.New("the node does not know it")
		}
		return err
	})
	if p := s.planInstall(t, ctx, disk...).Plan; p.GoesOnBehind == "" || len(p.Steps) == 0 || len(p.Destroys) > 0 {
		t.Errorf("when the disk is here again, the plan is %+v", p)
	}
}

// checkInstallFailed wants an error that names the disk, and says what is left.
func checkInstallFailed(t *testing.T, err error, serial string) {
	t.Helper()
	t.Logf("nodectl install says: %v", err)
	if err == nil {
		t.Fatal("the installation was over before the disk failed")
	}
	for _, want := range []string{"install on vd", "serial " + serial, "nothing but this disk was changed", "the same request goes on behind the last step that was done: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q", want)
		}
	}
}

// shutDown powers the node off, and waits until it is.
func (s *suite) shutDown(t *testing.T, ctx context.Context) {
	t.Helper()
	m := machine(t, s.Cluster, s.node)
	s.nodectl(t, ctx, "shutdown")
	s.awaitOff(t, ctx, m)
}

func (s *suite) awaitOff(t *testing.T, ctx context.Context, m *vm.VM) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, shutdownDeadline)
	defer cancel()
	if err := m.Wait(limited); err != nil {
		t.Fatal(err)
	}
}

// TestReset wipes a node's volumes: the data in order, and then both by force, with the power cut while they are wiped, and the machine off at the end.
func TestReset(t *testing.T) {
	e := requireImage(t)
	longOnly(t, "takes a quarter of an hour")
	ctx := testContext(t, 5*bootTimeout)
	c := create(t, ctx, e.options(t))
	s := &suite{Cluster: c, env: e, node: c.Nodes()[0]}
	bringUp(t, ctx, s)
	before := currentBoot(t, ctx, s)
	for _, refused := range []struct {
		args []string
		want string
	}{
		{[]string{"--volumes", "data", "--confirm", "another"}, `this node is named "` + s.node.Name + `"`},
		{[]string{"--volumes", "root", "--confirm", s.node.Name}, "expected state, data or both"},
	} {
		_, err := s.Tools().Nodectl(ctx, append([]string{"reset"}, refused.args...)...)
		if err == nil || !strings.Contains(err.Error(), refused.want) {
			t.Errorf("nodectl reset %v: %v, want an error with %q", refused.args, err, refused.want)
		}
	}

	s.nodectl(t, ctx, "reset", "--volumes", "data", "--confirm", s.node.Name)
	boots := awaitBoot(t, ctx, s, before) // the ledger is on state, and has both
	if !strings.Contains(boots[1].GetReason(), "reset: wipe data, asked for by ") {
		t.Errorf("the boot before ended with the reason %q", boots[1].GetReason())
	}
	if err := s.AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	if out, err := s.Tools().Kubectl(ctx, "get", "pods", "--all-namespaces", "--output", "jsonpath={.items[*].metadata.name}"); err != nil || strings.Contains(out, "demo") {
		t.Errorf("the cluster is to be a new one, and has the pods %q, %v", out, err)
	}
	if out := s.nodectl(t, ctx, "audit", "list"); !strings.Contains(out, "node.reset.v1.ResetService/Reset") {
		t.Error("the audit log, which is on state, does not have the reset")
	}
	s.resetByForce(t, ctx)
}

// resetByForce wipes both volumes, loses the power on the way, and finds a node that begins anew.
func (s *suite) resetByForce(t *testing.T, ctx context.Context) {
	t.Helper()
	m := machine(t, s.Cluster, s.node)
	console := m.Console()
	s.nodectl(t, ctx, "reset", "--volumes", "state,data", "--mode", "forced", "--power-off", "--confirm", s.node.Name)
	limited, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	if _, err := console.WaitLine(limited, regexp.MustCompile(`wiping.*volume=`)); err != nil {
		t.Fatal(err)
	}
	if err := m.PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	// What the cut left is wiped now, or all was: then the node is on its way up, and not off.
	m = machine(t, s.Cluster, s.node)
	off := make(chan error, 1)
	go func() { off <- m.Wait(ctx) }()
	select {
	case err := <-off:
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
	case err := <-s.answers(ctx):
		if err != nil {
			t.Fatal(err)
		}
		t.Log("the power failed after the last write of the reset")
	}
	if err := s.AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	boots, err := listBoots(ctx, s)
	if err != nil || len(boots) > 2 {
		t.Errorf("the ledger of a node that was reset has %d boots, %v", len(boots), err)
	}
}

// answers is sent to when the node is healthy.
func (s *suite) answers(ctx context.Context) <-chan error {
	healthy := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if reasons, err := s.Health(ctx, s.node); err == nil && len(reasons) == 0 {
				healthy <- nil
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second):
			}
		}
		healthy <- fmt.Errorf("wait for a healthy node: %w", context.Cause(ctx))
	}()
	return healthy
}
