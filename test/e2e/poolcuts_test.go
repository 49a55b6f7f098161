package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

const (
	// A pool is cut so often in make test and in make soak.
	fewPoolCuts, manyPoolCuts = 2, 50
	// poolCutLimit is how long one cut may take, with the boot behind it.
	poolCutLimit = bootTimeout
	// rereadFiles is how many files of each cut are read again behind the later ones.
	rereadFiles = 3

	// ownDir is where a dataset of the node's own pool is mounted, which is /var/mnt/own for pods.
	ownDir = "/var/plane/mnt/own"
)

// cutPools is a pool on the second disk, and a dataset on it and on the node's own pool. A write is on the disk when it returns.
const cutPools = `
apiVersion: cyvive.dev/v1alpha1
kind: Pool
name: tank
data: [{layout: single, disks: [{serial: spare}]}]
---
apiVersion: cyvive.dev/v1alpha1
kind: Dataset
name: tank/data
properties: {mountpoint: /var/mnt/data, sync: always, primarycache: metadata}
---
apiVersion: cyvive.dev/v1alpha1
kind: Dataset
name: node/volumes/own
properties: {mountpoint: /var/mnt/own, sync: always, primarycache: metadata}
`

// TestPoolCuts cuts the power of a node while files are written to two pools, on disks that lose what was not flushed (package powercut): a few
// times, or with LONG=1 fifty. After each cut the pools are imported by themselves, and each file is there whose write was acknowledged; so are those of
// somebody who writes all through the boot, before the datasets are mounted and behind that. SEED repeats the moments.
func TestPoolCuts(t *testing.T) {
	e := requireImage(t)
	cuts, seed := fewPoolCuts, cutSeed(t)
	if long() {
		cuts = manyPoolCuts
	}
	t.Logf("SEED=%d, %d cuts", seed, cuts)
	ctx := testContext(t, 2*bootTimeout+time.Duration(cuts)*poolCutLimit)
	o := e.options(t)
	o.Probe = e.guestProbe(t, ctx)
	n := newCutNodeIn(t, ctx, e, o, seed)
	n.powerOn(t, ctx)
	if err := n.AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	p := &pooled{suite: n.suite}
	t.Cleanup(p.leave)
	p.meet(t, ctx)
	p.apply(t, ctx, cutPools)
	p.bothPools(t, ctx)
	var earlier []writtenFile
	refused := 0
	for i := range cuts {
		files, more := n.cutWriting(t, testContext(t, poolCutLimit), p, 1+i*writtenMost)
		refused += more
		p.hasAll(t, ctx, files)
		p.hasAll(t, ctx, earlier)
		if t.Failed() {
			t.Fatalf("after cut %d of %d; SEED=%d", i+1, cuts, seed)
		}
		for range rereadFiles {
			earlier = append(earlier, files[n.random.IntN(len(files))])
		}
	}
	for _, pool := range []string{"tank", "node"} {
		p.do(t, ctx, "pool", "scrub", "start", pool)
		p.awaitPool(t, ctx, pool, "the scrub ends", scrubbed)
	}
	if err := vacuous(n.cuts, n.lost); err != nil {
		t.Error(err)
	}
	t.Logf("%d writes were refused while a dataset was not mounted", refused)
	if refused == 0 {
		t.Error("nobody has tried to write beneath a dataset that was not mounted")
	}
}

// cutWriting cuts the power at some moment of the writing, starts the node again, and waits until it is in order. It returns the files that have to be there,
// and how many writes were refused while the datasets were not mounted yet.
func (n *cutNode) cutWriting(t *testing.T, ctx context.Context, p *pooled, first int) (files []writtenFile, refused int) {
	t.Helper()
	const least, longest = 4, 8 * time.Second
	before := currentBoot(t, ctx, n.suite)
	w := p.writer(ctx, []string{poolsDir, ownDir}, first, 0, rand.New(rand.NewPCG(n.random.Uint64(), 0)))
	defer w.stop()
	w.await(t, ctx, least)
	wait(ctx, time.Duration(n.random.Int64N(int64(longest))))
	n.cut(t, ctx, "while files are written")
	files, err := w.stop()
	if err == nil {
		t.Fatalf("the writer had written %d files before the cut, which came into nothing", len(files))
	}
	n.powerOn(t, ctx)
	p.meet(t, ctx)
	b := p.writeBeneath(ctx, n.cuts, rand.New(rand.NewPCG(n.random.Uint64(), 0)))
	defer b.stop()
	if err := n.AwaitHealthy(ctx); err != nil {
		t.Fatalf("after cut %d: %v", n.cuts, err)
	}
	b.stop()
	checkEnd(t, awaitBoot(t, ctx, n.suite, before), before, machinev1.BootEnd_BOOT_END_UNCLEAN)
	p.meet(t, ctx)
	p.bothPools(t, ctx)
	t.Logf("cut %d: %d files have to be there, and %d that were written in the boot", n.cuts, len(files), len(b.files))
	return append(files, b.files...), b.refused
}

// beneath is somebody who writes to where datasets are mounted, while the node starts.
type beneath struct {
	quit, done chan struct{}
	once       sync.Once

	// files are those whose writes were acknowledged, and refused counts those that were not permitted, as where nothing is mounted. They are read behind stop.
	files   []writtenFile
	refused int
}

// writeBeneath begins to write, a little file for each attempt, whatever comes of it. Meanwhile the probe of the node is its own. A file that is written before its
// dataset is mounted would lie beneath it, and could not be seen any more.
func (p *pooled) writeBeneath(ctx context.Context, cut int, random *rand.Rand) *beneath {
	b := &beneath{quit: make(chan struct{}), done: make(chan struct{})}
	node, dirs := p.probe, []string{poolsDir, ownDir}
	go func() {
		defer close(b.done)
		for n := range writtenMost {
			select {
			case <-b.quit:
				return
			case <-ctx.Done():
				return
			case <-time.After(unhurried):
			}
			file := writtenFile{path.Join(dirs[n%len(dirs)], fmt.Sprintf("b%02d-%04d", cut, n)), noise(random, 512)}
			switch err := node.Write(ctx, hostRoot+file.path, file.data); {
			case err == nil:
				b.files = append(b.files, file)
			case strings.Contains(err.Error(), "operation not permitted"):
				b.refused++
			}
		}
	}()
	return b
}

// stop ends it, and waits for what is under way.
func (b *beneath) stop() {
	b.once.Do(func() { close(b.quit) })
	<-b.done
}

// bothPools waits until both pools are well and their datasets mounted: below one that is not, nothing can be written.
func (p *pooled) bothPools(t *testing.T, ctx context.Context) {
	t.Helper()
	for _, pool := range []string{"tank", "node"} {
		p.awaitPool(t, ctx, pool, "pool "+pool+" is well", well)
	}
	p.awaitMounted(t, ctx, "tank/data", poolsDir)
	p.awaitMounted(t, ctx, "node/volumes/own", ownDir)
}
