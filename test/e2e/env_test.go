package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/network"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// env is where the image and the programs are.
type env struct{ root, arch string }

func (e env) out(elem ...string) string {
	return filepath.Join(append([]string{e.root, "out", e.arch}, elem...)...)
}

// requireImage returns the environment, and skips the test where no image has
// been built; with REQUIRE_VM=1 that is a failure.
func requireImage(t *testing.T) env {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	e := env{root: root, arch: os.Getenv("ARCH")}
	if e.arch == "" {
		e.arch = runtime.GOARCH
	}
	for _, path := range []string{e.out("disk.qcow2"), e.out("vmlinuz"), filepath.Join(root, "bin", "nodectl"), filepath.Join(root, "bin", "kubectl")} {
		_, err := os.Stat(path)
		switch {
		case err == nil:
		case os.Getenv("REQUIRE_VM") == "1":
			t.Fatalf("REQUIRE_VM=1 promised an image: %v; make image builds it", err)
		default:
			t.Skipf("needs the image: %v; make image builds it", err)
		}
	}
	return e
}

// testContext ends before the test does, so that a failure is still explained.
func testContext(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("%s took longer than %s", t.Name(), limit))
	t.Cleanup(cancel)
	return ctx
}

// workDir makes a folder that is removed when the test passes, and named when it
// does not.
func (e env) workDir(t *testing.T) string {
	t.Helper()
	base := filepath.Join(e.root, "out", "e2e")
	if err := os.MkdirAll(base, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(base, strings.ReplaceAll(t.Name(), "/", "-")+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console and logs are kept in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// options describe a cluster with ports, contexts and a folder of its own.
func (e env) options(t *testing.T) cluster.Options {
	t.Helper()
	dir := e.workDir(t)
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 2)
	return cluster.Options{
		Name: "e2e", Dir: filepath.Join(dir, "cluster"), Home: home,
		ImageDir: e.out(), Arch: e.arch, BinDir: filepath.Join(e.root, "bin"),
		CPUs: 2, MemoryBytes: 4096 << 20, DiskBytes: 12 << 30,
		APIPort: ports[0], KubernetesPort: ports[1],
		Out: testWriter{t},
	}
}

// smallOptions are options for a machine of a test that runs beside others, or starts it again and again. It has one processor: two of two each would share two. And of
// two that are emulated, one stops for good now and then while the other patches the kernel's code, or since an interrupt of its timer is never ended (seen in some
// hundred starts, with QEMU 7.2 and with 10.0; hack/qemu's --cpus). Two are in the tests of clusters.
func (e env) smallOptions(t *testing.T) cluster.Options {
	t.Helper()
	o := e.options(t)
	o.MemoryBytes, o.CPUs = 1<<30, 1
	return o
}

// handedOut are the ports that tests were given. To the kernel one is free again while its machine is off, and none of two tests that run beside each other
// may get the other's.
var handedOut = struct {
	sync.Mutex
	ports map[uint16]bool
}{ports: map[uint16]bool{}}

// freePorts returns ports of 127.0.0.1 that no other test was given.
func freePorts(t *testing.T, n int) []uint16 {
	t.Helper()
	handedOut.Lock()
	defer handedOut.Unlock()
	for range 100 {
		ports, err := network.FreePorts(make([]uint16, n)...)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(ports, func(port uint16) bool { return handedOut.ports[port] }) {
			continue
		}
		for _, port := range ports {
			handedOut.ports[port] = true
		}
		return ports
	}
	t.Fatalf("find %d free ports: in a hundred attempts the kernel had none that no test was given", n)
	return nil
}

// TestFreePorts takes so many that the kernel alone, which picks at random, would give some of them twice.
func TestFreePorts(t *testing.T) {
	seen := map[uint16]bool{}
	for range 500 {
		for _, port := range freePorts(t, 2) {
			if seen[port] {
				t.Fatalf("port %d was given twice", port)
			}
			seen[port] = true
		}
	}
}

// create makes a cluster that has not been started. Its machines end with the
// test.
func create(t *testing.T, ctx context.Context, o cluster.Options) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Create(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(ctx)
		if t.Failed() {
			c.Collect(ctx)
		}
		if err := c.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return c
}

// testWriter passes progress on to the test's log.
type testWriter struct{ t *testing.T }

// Write implements io.Writer.
func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// eventually repeats check until it returns nil. It rests four times as long as the
// check takes, and five seconds at most, so that a slow machine has time for what is
// waited for.
func eventually(t *testing.T, ctx context.Context, what string, check func(context.Context) error) {
	t.Helper()
	for {
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := check(limited)
		cancel()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v: %v", what, context.Cause(ctx), err)
		case <-time.After(min(max(500*time.Millisecond, 4*time.Since(began)), 5*time.Second)):
		}
	}
}

// machine finds the machine of a node.
func machine(t *testing.T, c *cluster.Cluster, node cluster.Node) *vm.VM {
	t.Helper()
	m, err := c.Machine(node)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
