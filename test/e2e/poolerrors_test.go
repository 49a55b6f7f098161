package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/hack/qemu/powercut"
)

// erringDisk declares the disk in its place that a test breaks.
const erringDisk = `
apiVersion: cyvive.dev/v1alpha1
kind: Pool
name: tank
data: [{layout: mirror, disks: [{serial: one}, {serial: five}]}]
`

// brokenSocket is how the machine reaches that disk, in its folder.
const brokenSocket = "five.sock"

// serveDisk makes a disk for a machine that is not started yet.
func (p *pooled) serveDisk(t *testing.T) *powercut.Server {
	t.Helper()
	dir := p.NodeDir(p.node)
	disk, err := powercut.New(nil, filepath.Join(dir, "five.medium"), poolDiskBytes, powercut.DefaultCacheBytes, rand.New(rand.NewPCG(3, 0)))
	if err != nil {
		t.Fatal(err)
	}
	served, err := powercut.Serve(dir, brokenSocket, disk)
	if err != nil {
		t.Fatal(errors.Join(err, disk.Close()))
	}
	return served
}

// testPoolErrors has a disk return errors, which is given up, and the spare stand in. When it is mended and its errors are forgotten, it is in use again.
func testPoolErrors(t *testing.T, ctx context.Context, p *pooled, disk *powercut.Disk) {
	before, err := p.pool(ctx, "tank")
	if err != nil {
		t.Fatal(err)
	}
	p.apply(t, ctx, erringDisk)
	p.awaitPool(t, ctx, "tank", "the disk is in the pool", func(found *poolv1.Pool) error {
		if slices.Equal(identities(found), identities(before)) {
			return errors.New("the pool has the disks that it had")
		}
		return spareBack(found)
	})
	w := p.writer(ctx, []string{poolsDir}, 40000, unhurried, rand.New(rand.NewPCG(4, 0)))
	defer w.stop()
	w.await(t, ctx, 5)
	disk.Break(true)
	p.awaitPool(t, ctx, "tank", "the disk is given up, and the spare stands in", func(found *poolv1.Pool) error {
		if len(lost(found)) != 1 || !slices.Equal(spares(found), []poolv1.State{poolv1.State_STATE_IN_USE}) || !resilvered(found) {
			return fmt.Errorf("%d devices are lost, spares are %v, the scan is %v", len(lost(found)), spares(found), found.GetScan())
		}
		return nil
	})
	w.end(t, ctx, p)
	disk.Break(false)
	p.do(t, ctx, "pool", "clear", "tank")
	p.awaitPool(t, ctx, "tank", "the disk is in use again", spareBack)
}

// identities are the GUIDs of the devices with the data of a pool, in order.
func identities(p *poolv1.Pool) (all []uint64) {
	for _, v := range devices(p.GetVdevs()) {
		if v.GetClass() == poolv1.Class_CLASS_DATA {
			all = append(all, v.GetGuid())
		}
	}
	slices.Sort(all)
	return all
}
