package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/powercut"
	"github.com/cyvive/cyvive/hack/qemu/probe"
)

// poolDiskBytes is the size of each disk of a pool; much more than what is written.
const poolDiskBytes = 1 << 30

// mirrorPool is a mirror with a spare. What is read of its dataset comes from the disks, and what is written is there when the write returns.
const mirrorPool = `
apiVersion: cyvive.dev/v1alpha1
kind: Pool
name: tank
data: [{layout: mirror, disks: [{serial: one}, {serial: two}]}]
spares: [{serial: three}]
---
apiVersion: cyvive.dev/v1alpha1
kind: Dataset
name: tank/data
properties: {mountpoint: /var/mnt/data, sync: always, primarycache: metadata}
`

// replacedDisk declares another disk in the place of the one that is pulled.
const replacedDisk = `
apiVersion: cyvive.dev/v1alpha1
kind: Pool
name: tank
data: [{layout: mirror, disks: [{serial: one}, {serial: four}]}]
`

// poolsDir is where the dataset of the tests is mounted.
const poolsDir = "/var/mnt/data"

// TestPools makes a pool of a node's further disks over the API, and pulls one of them while files are written and read again; with LONG=1 fio writes and
// verifies, the disk is plugged in again and replaced, another returns errors, and snapshots are made and restored. Whoever writes sees no error.
func TestPools(t *testing.T) {
	besideOthers(t)
	e := requireImage(t)
	ctx := testContext(t, 40*time.Minute)
	o := e.smallOptions(t)
	for _, serial := range []string{"one", "two", "three", "four"} {
		o.Empty = append(o.Empty, cluster.EmptyDisk{Serial: serial, SizeBytes: poolDiskBytes})
	}
	o.Empty = append(o.Empty, cluster.EmptyDisk{Serial: "five", Socket: brokenSocket})
	if e.withFio() {
		var err error
		if o.ProbeFiles, err = probe.Closure(ctx, fioProgram); err != nil {
			t.Fatalf("%v; make soak installs fio", err)
		}
	}
	var served *powercut.Server
	t.Cleanup(func() { // after the machine, and before its folder
		if served == nil {
			return
		}
		if err := errors.Join(served.Close(), served.Disk().Close()); err != nil {
			t.Error(err)
		}
	})
	nodes := makePooled(t, ctx, e, o, nil)
	p := nodes[0]
	served = p.serveDisk(t)
	startPooled(t, ctx, nodes)
	for _, part := range []struct {
		name string
		run  func(*testing.T, context.Context, *pooled)
		long string
	}{
		{"make", testPoolMake, ""}, {"pull", testPoolPull, ""},
		{"plug", testPoolPlug, "a disk is pulled in make test"}, {"replace", testPoolReplace, "a disk is pulled in make test"},
		{"errors", func(t *testing.T, ctx context.Context, p *pooled) { testPoolErrors(t, ctx, p, served.Disk()) }, "a disk is pulled in make test"},
		{"scrub", testPoolScrub, "what is scrubbed comes from the parts before"}, {"snapshots", testSnapshots, "waits for schedules"},
		{"reboot", testPoolReboot, "boots a node"},
	} {
		ok := t.Run(part.name, func(t *testing.T) {
			if part.long != "" {
				longOnly(t, part.long)
			}
			part.run(t, testContext(t, bootTimeout), p)
		})
		if !ok {
			t.Fatalf("the parts behind %s are left out: each begins with what the one before leaves", part.name)
		}
	}
}

// testPoolMake: blank disks that are declared become a pool without a question.
func testPoolMake(t *testing.T, ctx context.Context, p *pooled) {
	patch := p.patch(t, mirrorPool)
	// A node that has to look for longer than the preview takes says that, and can tell another time.
	eventually(t, ctx, "a dry run says what is done about tank", func(ctx context.Context) error {
		dry, err := p.tell(ctx, "", "config", "apply", "--dry-run", "--patch", patch)
		if err == nil && !strings.Contains(dry, "create pool tank: data mirror of ") {
			err = fmt.Errorf("got\n%s", dry)
		}
		return err
	})
	if _, err := p.pool(ctx, "tank"); err == nil || !strings.Contains(err.Error(), `no pool "tank"`) {
		t.Errorf("after a dry run: status of tank: %v, want that there is no such pool", err)
	}
	p.apply(t, ctx, mirrorPool)
	p.awaitPool(t, ctx, "tank", "the pool is made", well)
	p.awaitMounted(t, ctx, "tank/data", poolsDir)
	p.put(t, ctx, fileName(poolsDir, 0), []byte("first"))
	p.has(t, ctx, fileName(poolsDir, 0), []byte("first"))
}

// testPoolPull pulls a disk of the mirror under a load that verifies what it writes, fio or the writer of the other parts: the pool says that it is degraded, the
// spare stands in and is filled by itself, and the node is in order all the while, since the pool can be used.
func testPoolPull(t *testing.T, ctx context.Context, p *pooled) {
	var w load
	if p.env.withFio() {
		w = p.fio(ctx, poolsDir)
	} else {
		t.Log("without fio: that takes LONG=1, and a node of this machine's architecture")
		w = p.writer(ctx, []string{poolsDir}, 1000, unhurried, rand.New(rand.NewPCG(1, 0)))
	}
	defer w.halt()
	w.underWay(t, ctx)
	asked := time.Now()
	if err := machine(t, p.Cluster, p.node).PullDisk(ctx, "two"); err != nil {
		t.Fatal(err)
	}
	pulled := time.Now()
	p.awaitPool(t, ctx, "tank", "the pool is degraded", func(found *poolv1.Pool) error {
		if found.GetHealthy() || found.GetState() != poolv1.State_STATE_DEGRADED || len(lost(found)) != 1 || found.GetNext() == "" {
			return fmt.Errorf("want it degraded, with one device that is lost and what to do next, and not %d", len(lost(found)))
		}
		return nil
	})
	t.Logf("it was told after %s", time.Since(pulled).Round(time.Second))
	checkPoolHealth(t, ctx, p)
	p.awaitPool(t, ctx, "tank", "the spare stands in", func(found *poolv1.Pool) error {
		if !slices.Equal(spares(found), []poolv1.State{poolv1.State_STATE_IN_USE}) || !resilvered(found) {
			return fmt.Errorf("spares are %v, the scan is %v", spares(found), found.GetScan())
		}
		return nil
	})
	t.Logf("the spare had all after %s", time.Since(pulled).Round(time.Second))
	w.further(t, ctx)
	w.end(t, ctx, p)
	if f, ok := w.(*fio); ok {
		f.ranThrough(t, asked, pulled)
	}
	checkEventOrder(t, ctx, p)
}

// testPoolPlug plugs the same disk in again: it is brought up to date, and the spare is let go.
func testPoolPlug(t *testing.T, ctx context.Context, p *pooled) {
	if err := machine(t, p.Cluster, p.node).PlugDisk(ctx, "two"); err != nil {
		t.Fatal(err)
	}
	p.awaitPool(t, ctx, "tank", "the spare is let go", spareBack)
	checkResilvered(t, ctx, p)
}

// testPoolReplace pulls it for good, and declares another in its place.
func testPoolReplace(t *testing.T, ctx context.Context, p *pooled) {
	w := p.writer(ctx, []string{poolsDir}, 20000, unhurried, rand.New(rand.NewPCG(2, 0)))
	defer w.stop()
	w.await(t, ctx, 5)
	if err := machine(t, p.Cluster, p.node).PullDisk(ctx, "two"); err != nil {
		t.Fatal(err)
	}
	p.awaitPool(t, ctx, "tank", "the pool is degraded", func(found *poolv1.Pool) error {
		if len(lost(found)) != 1 {
			return fmt.Errorf("%d devices are lost", len(lost(found)))
		}
		return nil
	})
	p.apply(t, ctx, replacedDisk)
	p.awaitPool(t, ctx, "tank", "the disk is replaced", spareBack)
	w.end(t, ctx, p)
}

// testPoolScrub reads all of it.
func testPoolScrub(t *testing.T, ctx context.Context, p *pooled) {
	p.do(t, ctx, "pool", "scrub", "start", "tank")
	p.awaitPool(t, ctx, "tank", "the scrub ends", scrubbed)
}

// testPoolReboot: a node that goes down in order exports its pools, and finds them as they were.
func testPoolReboot(t *testing.T, ctx context.Context, p *pooled) {
	before := currentBoot(t, ctx, p.suite)
	p.leave()
	p.do(t, ctx, "reboot")
	checkEnd(t, awaitBoot(t, ctx, p.suite, before), before, machinev1.BootEnd_BOOT_END_CLEAN)
	p.powerOn(t, ctx)
	p.awaitPool(t, ctx, "tank", "the pool is imported", well)
	p.awaitMounted(t, ctx, "tank/data", poolsDir)
	p.has(t, ctx, fileName(poolsDir, 0), []byte("first"))
}

// checkPoolHealth: the checks of the node's health about pools are in order while they can be used.
func checkPoolHealth(t *testing.T, ctx context.Context, p *pooled) {
	t.Helper()
	var health machinev1.GetHealthResponse
	if err := p.ask(ctx, &health, "health"); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, c := range health.GetChecks() {
		if c.GetName() == "pools" {
			found = true
			if !c.GetHealthy() {
				t.Errorf("health: %v, though the pool can be used", c)
			}
		}
	}
	if !found {
		t.Errorf("health has no check pools: %v", health.GetChecks())
	}
}

// eventClasses are the classes of the events of the pool, in order; what tells that a device is gone is "gone".
func eventClasses(t *testing.T, ctx context.Context, p *pooled) (classes []string) {
	t.Helper()
	for line := range strings.Lines(p.do(t, ctx, "pool", "events", "--output", "json")) {
		var event poolv1.StreamEventsResponse
		if err := protojson.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("read event %q: %v", line, err)
		}
		switch {
		case event.GetPool() != "tank":
		case event.GetClass() == "resource.fs.zfs.removed", event.GetClass() == "resource.fs.zfs.statechange" && slices.Contains(goneStates(), event.GetVdevState()):
			classes = append(classes, "gone")
		default:
			classes = append(classes, event.GetClass())
		}
	}
	return classes
}

// checkResilvered: the spare was let go behind a resilver of its own and one of the disk that is here again, and not before that had all.
func checkResilvered(t *testing.T, ctx context.Context, p *pooled) {
	t.Helper()
	var classes []string
	removed := -1
	eventually(t, ctx, "the kernel has told that the spare is let go", func(ctx context.Context) error {
		classes = eventClasses(t, ctx, p)
		if removed = slices.Index(classes, "sysevent.fs.zfs.vdev_remove"); removed < 0 {
			return fmt.Errorf("events of the pool: %q", classes)
		}
		return nil
	})
	done := 0
	for _, class := range classes[:removed] {
		if class == "sysevent.fs.zfs.resilver_finish" {
			done++
		}
	}
	if done < 2 {
		t.Errorf("events of the pool: %q, want the end of two resilvers before the spare is taken out", classes)
	}
}

// checkEventOrder: the kernel told of the device that went before the resilver of the spare began, and of its end behind that.
func checkEventOrder(t *testing.T, ctx context.Context, p *pooled) {
	t.Helper()
	classes := eventClasses(t, ctx, p)
	gone := slices.Index(classes, "gone")
	begun, done := slices.Index(classes, "sysevent.fs.zfs.resilver_start"), slices.Index(classes, "sysevent.fs.zfs.resilver_finish")
	if gone < 0 || begun < gone || done < begun {
		t.Errorf("events of the pool: %q, want a device that is gone, then a resilver that begins, then its end", classes)
	}
}
