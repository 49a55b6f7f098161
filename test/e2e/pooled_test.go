package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/probe"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// hostRoot is the root of the node as the probe sees it. The agent mounts in the same mount namespace.
const hostRoot = "/proc/1/root"

// onNode is where the node has a path below /var as documents and pods know it (package kube, Layout.PlaneVar).
func onNode(file string) string { return "/var/plane" + strings.TrimPrefix(file, "/var") }

// probedPath is where the probe finds such a path.
func probedPath(file string) string { return hostRoot + onNode(file) }

// pooled is a node without a cluster, and with a probe, by which files in its datasets are written and read: the node itself offers no such thing.
// What it asks nodectl for is asked of this node alone.
type pooled struct {
	*suite
	// probe is that of this boot. Only one goroutine may use it.
	probe *probe.Client
}

// guestProbe builds the program that package probe runs in a machine.
func (e env) guestProbe(t *testing.T, ctx context.Context) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "probe")
	build := exec.CommandContext(ctx, "go", "build", "-o", file, "github.com/cyvive/cyvive/hack/qemu/probe/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+e.arch)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build probe: %v\n%s", err, out)
	}
	return file
}

// makePooled makes the nodes of a cluster that is none, with an optional change of the configuration of each, by its index. They are started by startPooled.
func makePooled(t *testing.T, ctx context.Context, e env, o cluster.Options, change func(index int, cfg *config.Config)) []*pooled {
	t.Helper()
	o.MemoryBytes = 1 << 30
	if len(o.ProbeFiles) > 0 {
		o.MemoryBytes += 256 << 20 // they lie there
	}
	o.Probe = e.guestProbe(t, ctx)
	c := create(t, ctx, o)
	var nodes []*pooled
	for i, node := range c.Nodes() {
		err := c.Alone(node, func(cfg *config.Config) {
			if change != nil {
				change(i, cfg)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		p := &pooled{suite: &suite{Cluster: c, env: e, node: node, alone: true}}
		t.Cleanup(p.leave)
		nodes = append(nodes, p)
	}
	return nodes
}

// startPooled starts nodes that makePooled has made, and waits until they are in order.
func startPooled(t *testing.T, ctx context.Context, nodes []*pooled) {
	t.Helper()
	c := nodes[0].Cluster
	for _, step := range []func(context.Context) error{c.Merge, c.Start, c.AwaitHealthy} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range nodes {
		p.meet(t, ctx)
	}
}

// meet connects to the probe of the boot that runs.
func (p *pooled) meet(t *testing.T, ctx context.Context) {
	t.Helper()
	p.leave()
	var err error
	if p.probe, err = p.Probe(ctx, p.node); err != nil {
		t.Fatal(err)
	}
}

func (p *pooled) leave() {
	if p.probe != nil {
		_ = p.probe.Close()
		p.probe = nil
	}
}

// powerOff cuts the node's power.
func (p *pooled) powerOff(t *testing.T, ctx context.Context) {
	t.Helper()
	p.leave()
	if err := machine(t, p.Cluster, p.node).PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
}

// powerOn starts the node and waits until it is in order.
func (p *pooled) powerOn(t *testing.T, ctx context.Context) {
	t.Helper()
	if err := errors.Join(p.StartNode(ctx, p.node), p.AwaitNode(ctx, p.node)); err != nil {
		t.Fatal(err)
	}
	p.meet(t, ctx)
}

// tell runs nodectl for this node, with something on standard input.
func (p *pooled) tell(ctx context.Context, input string, args ...string) (string, error) {
	return p.Tools().NodectlInput(ctx, input, p.NodeArgs(p.node, args...)...)
}

// do runs nodectl for this node, and fails the test when that fails.
func (p *pooled) do(t *testing.T, ctx context.Context, args ...string) string {
	t.Helper()
	out, err := p.tell(ctx, "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ask has nodectl answer in JSON.
func (p *pooled) ask(ctx context.Context, into proto.Message, args ...string) error {
	out, err := p.tell(ctx, "", append(args, "--output", "json")...)
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("read answer of nodectl %v: %w", args, err)
	}
	return nil
}

// apply changes the configuration by a patch.
func (p *pooled) apply(t *testing.T, ctx context.Context, patch string) {
	t.Helper()
	p.do(t, ctx, "config", "apply", "--patch", p.patch(t, patch))
}

// put writes a file of the node. It is on the disk when that returns if the dataset has sync=always.
func (p *pooled) put(t *testing.T, ctx context.Context, file string, data []byte) {
	t.Helper()
	if err := p.probe.Write(ctx, probedPath(file), data); err != nil {
		t.Fatal(err)
	}
}

// has wants a file of the node to have some content.
func (p *pooled) has(t *testing.T, ctx context.Context, file string, want []byte) {
	t.Helper()
	if got, err := p.probe.Read(ctx, probedPath(file)); err != nil || got != string(want) {
		t.Errorf("%s of %s: %d bytes, %v, want the %d that were written", file, p.node.Name, len(got), err, len(want))
	}
}

// hasNot wants a file not to be there.
func (p *pooled) hasNot(t *testing.T, ctx context.Context, file string) {
	t.Helper()
	if _, err := p.probe.Read(ctx, probedPath(file)); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%s of %s: %v, want that there is none", file, p.node.Name, err)
	}
}

// mounted says whether a dataset is mounted in its place.
func (p *pooled) mounted(ctx context.Context, dataset, dir string) (bool, error) {
	mounts, err := p.probe.Read(ctx, "/proc/1/mounts")
	return strings.Contains(mounts, dataset+" "+onNode(dir)+" zfs "), err
}

// awaitMounted waits until a dataset is mounted in its place: what is written there before is refused.
func (p *pooled) awaitMounted(t *testing.T, ctx context.Context, dataset, dir string) {
	t.Helper()
	eventually(t, ctx, dataset+" is mounted", func(ctx context.Context) error {
		there, err := p.mounted(ctx, dataset, dir)
		if err == nil && !there {
			err = fmt.Errorf("%s is not mounted on %s of %s", dataset, onNode(dir), p.node.Name)
		}
		return err
	})
}

// noise is content that does not compress.
func noise(random *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}

// writtenFile is a file whose write was acknowledged.
type writtenFile struct {
	path string
	data []byte
}

// fileName is the name of the nth of several files in a directory.
func fileName(dir string, n int) string { return path.Join(dir, fmt.Sprintf("f%05d", n)) }
