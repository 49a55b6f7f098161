package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// firstBootCourse is what a node says while it is set up: each of these when it has been done.
func firstBootCourse() course {
	return newCourse("from the plug to the agent", "", "before the file system of state", `machined started`, "state is mounted", `make file system on state`,
		"data grows", `make directory /state`, "the pool is made", `grow partition data`, "datasets, identity and ledger", `make pool on data`,
		"the rest of the boot", `milestone=storage`)
}

// rehearseFirstBoot sets the node up without a cut.
func (n *cutNode) rehearseFirstBoot(t *testing.T, ctx context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("no first boot in %s", bootTimeout))
	defer cancel()
	console := n.powerOn(t, ctx)
	n.firstBoot = n.rehearse(t, ctx, firstBootCourse(), console, func() error { return n.AwaitHealthy(ctx) })
	version := n.running(t, ctx)
	n.versions[version.GetRootHash()] = version.GetVersion()
	n.known = currentBoot(t, ctx, n.suite)
	n.document = n.stripped(t, ctx)
}

// cutFirstBoots: the node is set up all the same, and has the configuration that it was to find.
func cutFirstBoots(t *testing.T, n *cutNode, count int) {
	for range count {
		ctx := testContext(t, cutLimit)
		n.pull(t, ctx)
		n.use(t, n.system, n.newDisk(t, n.image, n.diskBytes))
		n.known = ""
		m := n.firstBoot.draw(n.random)
		console := n.powerOn(t, ctx)
		if err := m.reach(ctx, console, nil); err != nil {
			t.Fatal(err)
		}
		n.cut(t, ctx, m.String())
		n.back(t, ctx, off)
	}
}

// cutConfigurations changes the configuration again and again until the power is cut: the last change that the node has confirmed is there, or the one
// that was under way.
func cutConfigurations(t *testing.T, n *cutNode, count int) {
	ctx := testContext(t, cutLimit)
	n.on(t, ctx)
	_, number := n.configuration(t, ctx)
	began := time.Now()
	for range 2 {
		number++
		if err := n.change(ctx, "auto", number); err != nil {
			t.Fatal(err)
		}
	}
	lasts := time.Since(began) / 2
	t.Logf("without a cut, a change takes %.1f s", lasts.Seconds())
	n.document = n.stripped(t, ctx)
	for last := number; count > 0; count-- {
		ctx := testContext(t, cutLimit)
		mode := []string{"auto", "staged"}[n.random.IntN(2)]
		// The first one is as likely to be cut as one of the next two.
		after := time.Duration(n.random.Int64N(int64(3 * lasts)))
		c := n.changesUntil(t, ctx, mode, number, last, after)
		n.back(t, ctx, pulled)
		if _, number = n.configuration(t, ctx); number != c.confirmed && number != c.begun {
			t.Errorf("after cut %d the node has change %d; it had confirmed %d, and %d was under way, which ended with: %v", n.cuts, number, c.confirmed, c.begun, c.ended)
		}
		last = c.begun // no number is used twice
	}
}

// changes are some that were made one after the other.
type changes struct {
	// confirmed is the last one that the node has confirmed, begun the last one that it was asked for, ended how that ended.
	confirmed, begun int
	ended            error
}

// changesUntil makes changes until the power is cut. Has is the one that the node has, last the last number that was used.
func (n *cutNode) changesUntil(t *testing.T, ctx context.Context, mode string, has, last int, after time.Duration) changes {
	t.Helper()
	c := changes{confirmed: has, begun: last}
	over := make(chan struct{})
	calling, hangUp := context.WithCancel(ctx)
	defer hangUp()
	go func() {
		defer close(over)
		for c.ended == nil {
			c.begun++
			if c.ended = n.change(calling, mode, c.begun); c.ended == nil {
				c.confirmed = c.begun
			}
		}
	}()
	select {
	case <-time.After(after):
	case <-over:
		t.Fatalf("change %d: %v", c.begun, c.ended)
	}
	n.cut(t, ctx, fmt.Sprintf("%.2f s after the first of some changes (%s)", after.Seconds(), mode))
	hangUp()
	<-over
	return c
}

// change gives the node a configuration with a number in it.
func (n *cutNode) change(ctx context.Context, mode string, number int) error {
	path := filepath.Join(n.NodeDir(n.node), "change.yaml")
	text := fmt.Sprintf("kind: Machine\ncertSANs: [cut-%d.example, 127.0.0.1]\n", number)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	_, err := n.Tools().Nodectl(ctx, "config", "apply", "--mode", mode, "--patch", path)
	return errors.Join(err, context.Cause(ctx))
}
