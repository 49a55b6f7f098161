package e2e

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	diskv1 "github.com/cyvive/cyvive/api/proto/disk/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/probe"
)

// TestEncryptedPools goes through what TestPools does on a node whose own volumes are encrypted, and so the disks of its pool: a disk that is pulled fails and does not
// say why, and has to be opened anew when it is here again. The node opens all of them at its next boot. It runs with LONG=1 only.
func TestEncryptedPools(t *testing.T) {
	longOnly(t, "it does what TestPools does once more")
	e := requireImage(t)
	ctx := testContext(t, 40*time.Minute)
	o := e.options(t)
	for _, serial := range []string{"one", "two", "three", "four"} {
		o.Empty = append(o.Empty, cluster.EmptyDisk{Serial: serial, SizeBytes: poolDiskBytes})
	}
	if e.arch == runtime.GOARCH {
		var err error
		if o.ProbeFiles, err = probe.Closure(ctx, fioProgram); err != nil {
			t.Fatalf("%v; make vm-test installs fio", err)
		}
	}
	nodes := makePooled(t, ctx, e, o, nil)
	p := nodes[0]
	(&sealed{suite: p.suite}).givePassphrase(t, firstPassphrase)
	startPooled(t, ctx, nodes)
	for _, part := range []struct {
		name string
		run  func(*testing.T, context.Context, *pooled)
	}{
		{"make", testPoolMake}, {"encrypted", testPoolEncrypted}, {"pull", testPoolPull}, {"plug", testPoolPlug}, {"replace", testPoolReplace},
		{"scrub", testPoolScrub}, {"rotate", testPoolRotate}, {"reboot", testPoolReboot}, {"still-encrypted", testPoolEncrypted},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, testContext(t, bootTimeout), p) }) {
			t.Fatalf("the parts behind %s are left out: each begins with what the one before leaves", part.name)
		}
	}
}

// testPoolEncrypted: every device of the pool is in an encrypted volume that has the recovery key.
func testPoolEncrypted(t *testing.T, ctx context.Context, p *pooled) {
	eventually(t, ctx, "the disks of the pool have the recovery key", func(ctx context.Context) error {
		var list diskv1.ListVolumesResponse
		if err := p.ask(ctx, &list, "disk", "list"); err != nil {
			return err
		}
		used := map[string]bool{}
		for _, v := range list.GetVolumes() {
			if strings.HasPrefix(v.GetName(), "pool-") && v.GetMounted() && v.GetEncrypted() && v.GetRecoverable() && v.GetReason() == "" {
				used["/dev/mapper/cyvive-"+v.GetName()] = true
			}
		}
		found, err := p.pool(ctx, "tank")
		if err != nil {
			return err
		}
		all := devices(found.GetVdevs())
		for _, v := range all {
			if !used[v.GetPath()] {
				return fmt.Errorf("device %s of the pool is in none of %v", v.GetPath(), list.GetVolumes())
			}
		}
		if len(all) < 3 {
			return fmt.Errorf("the pool has %d devices, want a mirror and a spare", len(all))
		}
		return nil
	})
}

// testPoolRotate gives all that is encrypted other keys while the pool is in use.
func testPoolRotate(t *testing.T, ctx context.Context, p *pooled) {
	p.do(t, ctx, "disk", "rotate")
	p.awaitPool(t, ctx, "tank", "the pool is well", well)
}
