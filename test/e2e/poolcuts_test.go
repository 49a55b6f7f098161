package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

const (
	// poolCuts is how often power is cut while files are written to two pools.
	poolCuts = 50
	// poolCutLimit is how long one cut may take, with the boot behind it.
	poolCutLimit = bootTimeout
	// rereadFiles is how many files of each cut are read again behind the later ones.
	rereadFiles = 3
	// earlyMost is how many files are written to a mount point while the node starts, and earlyPause is between two attempts.
	earlyMost, earlyPause = 10, 100 * time.Millisecond

	// ownDir is where a dataset of the node's own pool is mounted.
	ownDir = "/var/mnt/own"
	// lateDir is where one is mounted whose writes reach the disk some time after they return.
	lateDir = "/var/mnt/late"
)

// cutPools is a pool on the second disk, and a dataset on it and on the node's own pool. A write is on the disk when it returns; in a third, which is there so that
// a power cut finds something that was not flushed, it is not.
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
name: tank/late
properties: {mountpoint: /var/mnt/late}
---
apiVersion: cyvive.dev/v1alpha1
kind: Dataset
name: node/plane/volumes/own
properties: {mountpoint: /var/mnt/own, sync: always, primarycache: metadata}
`

// TestPoolCuts cuts the power of a node fifty times while files are written to two pools, on disks that lose what was not flushed (package powercut).
// After each cut the pools are imported by themselves, and each file is there whose write was acknowledged, be it while the node
// started: nothing is written beneath a dataset that is not mounted yet, of the node's own either. SEED repeats the moments.
func TestPoolCuts(t *testing.T) {
	longOnly(t, "a cut takes two minutes")
	e := requireImage(t)
	seed := cutSeed(t)
	t.Logf("SEED=%d, %d cuts", seed, poolCuts)
	ctx := testContext(t, 2*bootTimeout+poolCuts*poolCutLimit)
	o := e.smallOptions(t)
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
	for i := range poolCuts {
		files := n.cutWriting(t, testContext(t, poolCutLimit), p, 1+i*writtenMost)
		p.hasAll(t, ctx, files)
		p.hasAll(t, ctx, earlier)
		p.nothingBeneath(t, ctx)
		if t.Failed() {
			t.Fatalf("after cut %d of %d; SEED=%d", i+1, poolCuts, seed)
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
}

// cutWriting cuts the power at some moment of the writing, starts the node again, and waits until it is in order. It returns the files that have to be there.
func (n *cutNode) cutWriting(t *testing.T, ctx context.Context, p *pooled, first int) []writtenFile {
	t.Helper()
	const least, longest = 4, 8 * time.Second
	before := currentBoot(t, ctx, n.suite)
	w := p.writer(ctx, []string{poolsDir, lateDir, ownDir, lateDir}, first, 0, rand.New(rand.NewPCG(n.random.Uint64(), 0)))
	defer w.stop()
	w.await(t, ctx, least)
	wait(ctx, time.Duration(n.random.Int64N(int64(longest))))
	select {
	case <-w.done: // what it says is not the cut's
		files, err := w.stop()
		t.Fatalf("the writer ended before the cut, behind %d files: %v", len(files), err)
	default:
	}
	n.cut(t, ctx, "while files are written")
	<-w.done // it ends with the node's power
	files, err := w.stop()
	if err == nil {
		t.Fatalf("the writer had written %d files before the cut, which came into nothing", len(files))
	}
	files = slices.DeleteFunc(files, func(f writtenFile) bool { return path.Dir(f.path) == lateDir })
	p.leave()
	n.powerOn(t, ctx)
	p.meet(t, ctx)
	early := n.writeEarly(t, ctx, p)
	if err := n.AwaitHealthy(ctx); err != nil {
		t.Fatalf("after cut %d: %v", n.cuts, err)
	}
	checkEnd(t, awaitBoot(t, ctx, n.suite, before), before, machinev1.BootEnd_BOOT_END_UNCLEAN)
	p.bothPools(t, ctx)
	t.Logf("cut %d: %d files have to be there, and %d of the start", n.cuts, len(files), len(early))
	return append(files, early...)
}

// writeEarly writes to both mount points from the start of the machine until both datasets are mounted, and returns what was taken: what was written beneath one of
// them is not there any more when it is.
func (n *cutNode) writeEarly(t *testing.T, ctx context.Context, p *pooled) (files []writtenFile) {
	t.Helper()
	datasets := map[string]string{poolsDir: "tank/data", ownDir: "node/plane/volumes/own"}
	taken, refused := map[string]int{}, map[string]int{}
	for i := 0; ; i++ {
		mounted := 0
		for dir, dataset := range datasets {
			if taken[dir] < earlyMost {
				f := writtenFile{path.Join(dir, fmt.Sprintf("early-%d-%d", n.cuts, i)), []byte(dataset)}
				if err := p.probe.Write(ctx, probedPath(f.path), f.data); err == nil {
					files = append(files, f)
					taken[dir]++
				} else {
					refused[lastWords(err)]++
				}
			}
			there, err := p.mounted(ctx, dataset, dir)
			if err != nil {
				t.Fatalf("after cut %d, while the node starts: %v", n.cuts, err)
			}
			if there {
				mounted++
			}
		}
		if mounted == len(datasets) {
			t.Logf("cut %d: while the node started, %v files were taken, and others refused: %v", n.cuts, taken, refused)
			return files
		}
		wait(ctx, earlyPause)
	}
}

// nothingBeneath wants no dataset of the node to have files where something else is mounted in it: those were written while it was not. It looks at the node's own
// mounts, at those of the test among them.
func (p *pooled) nothingBeneath(t *testing.T, ctx context.Context) {
	t.Helper()
	text, err := p.probe.Read(ctx, "/proc/1/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := mountinfo.GetMountsFromReader(strings.NewReader(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	looked := map[string]bool{}
	for _, m := range mounts {
		var within []string
		for _, other := range mounts {
			// A dataset that is bound within itself shows its own files there.
			if strings.HasPrefix(other.Mountpoint, m.Mountpoint+"/") && other.Source != m.Source {
				within = append(within, other.Mountpoint)
			}
		}
		if m.FSType != "zfs" || m.Root != "/" || len(within) == 0 {
			continue
		}
		files, err := p.probe.Beneath(ctx, m.Mountpoint)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range within {
			looked[dir] = true
			for _, file := range files {
				if strings.HasPrefix(path.Join(m.Mountpoint, file), dir+"/") {
					t.Errorf("%s has the file %s, beneath what is mounted on %s", m.Source, file, dir)
				}
			}
		}
	}
	for _, dir := range []string{poolsDir, ownDir} {
		if files, err := p.probe.Beneath(ctx, onNode(dir)); err != nil || len(files) == 0 {
			t.Errorf("%s has %d files, want those that were written: %v", onNode(dir), len(files), err)
		}
		if !looked[onNode(dir)] {
			t.Errorf("it was not looked beneath %s; it was beneath %v", onNode(dir), slices.Sorted(maps.Keys(looked)))
		}
	}
}

// lastWords are those of an error behind all that says what was tried.
func lastWords(err error) string {
	text := err.Error()
	return text[strings.LastIndex(text, ": ")+1:]
}

// bothPools waits until both pools are well and the test's datasets mounted: below one that is not, nothing can be written.
func (p *pooled) bothPools(t *testing.T, ctx context.Context) {
	t.Helper()
	for _, pool := range []string{"tank", "node"} {
		p.awaitPool(t, ctx, pool, "pool "+pool+" is well", well)
	}
	p.awaitMounted(t, ctx, "tank/data", poolsDir)
	p.awaitMounted(t, ctx, "tank/late", lateDir)
	p.awaitMounted(t, ctx, "node/plane/volumes/own", ownDir)
}
