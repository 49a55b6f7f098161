package machined

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	csi "github.com/cyvive/cyvive/internal/csi/node"
	"github.com/cyvive/cyvive/internal/etcd"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// driver is a CSI driver that does nothing but to be told.
type driver struct {
	mu      sync.Mutex
	specs   []csi.Spec
	running int
	now     func() csi.Spec
	publish func(csi.Status)
}

func (d *driver) Run(ctx context.Context, spec csi.Spec, now func() csi.Spec, publish func(csi.Status)) {
	d.mu.Lock()
	d.specs = append(d.specs, spec)
	d.running++
	d.now, d.publish = now, publish
	d.mu.Unlock()
	publish(csi.Status{Reason: "waiting for kubelet"})
	<-ctx.Done()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running--
}

func (d *driver) tell(s csi.Status) {
	d.mu.Lock()
	publish := d.publish
	d.mu.Unlock()
	publish(s)
}

// has says whether one driver runs, and drivers were made for the parents, one after the other.
func (d *driver) has(parents ...string) func() bool {
	return func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		var got []string
		for _, s := range d.specs {
			got = append(got, strings.Join(s.Parents, " "))
		}
		return reflect.DeepEqual(parents, got) && d.running == 1
	}
}

// isAway says whether the driver that runs is told of these file systems, below which volumes may be besides.
func (d *driver) isAway(parents ...string) func() bool {
	return func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.now != nil && slices.Equal(d.now().Away, parents)
	}
}

// isIn says whether the driver that runs is told of these file systems, below which volumes are.
func (d *driver) isIn(parents ...string) func() bool {
	return func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.now != nil && slices.Equal(d.now().Parents, parents)
	}
}

// withVolumes is a configuration with volumes.
func withVolumes(t *testing.T) []byte {
	t.Helper()
	return []byte(strings.Replace(string(documents(t)), "kind: Cluster\n", "kind: Cluster\nvolumes: zfs\n", 1))
}

func volumesCheck(s snapshot) *server.Check {
	if i := slices.IndexFunc(s.checks, func(c server.Check) bool { return c.Name == "volumes" }); i >= 0 {
		return &s.checks[i]
	}
	return nil
}

// TestVolumes: the driver runs from when Kubernetes is wanted on, also while that is held back later; its health is the node's; and it ends with the agent.
func TestVolumes(t *testing.T) {
	d := &driver{}
	n := startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) { c.CSI = d })
	n.source.set(withVolumes(t))
	n.await("the check", func(s snapshot) bool {
		c := volumesCheck(s)
		return c != nil && !c.Healthy && c.Reason == "waiting for Kubernetes"
	})
	n.etcd.set(etcd.Status{Ready: true, Running: true, Healthy: true})
	n.await("the driver's reason", func(s snapshot) bool { return volumesCheck(s).Reason == "waiting for kubelet" })
	d.tell(csi.Status{Ready: true})
	n.await("volumes in order", func(s snapshot) bool { return healthy(s, "volumes") })
	n.etcd.set(etcd.Status{Reason: "gone"})
	n.wakers[plan.Etcd].Wake()
	n.await("Kubernetes held back", func(s snapshot) bool { return s.desired.Kube == nil })
	n.etcd.set(etcd.Status{Ready: true, Running: true, Healthy: true})
	n.wakers[plan.Etcd].Wake()
	n.await("Kubernetes wanted again", func(s snapshot) bool { return s.desired.Kube != nil })
	if !d.has("node/plane/volumes")() || !healthy(n.snapshot(), "volumes") {
		t.Errorf("while Kubernetes was held back: drivers %+v, check %+v", d.specs, volumesCheck(n.snapshot()))
	}
	n.end()
	if d.running != 0 {
		t.Errorf("%d drivers run after the end", d.running)
	}
}

// TestOtherVolumes: a driver that is to have one pool more, or is to know where volumes may be besides, goes on. One from which a pool is taken is begun anew.
func TestOtherVolumes(t *testing.T) {
	d := &driver{}
	n := startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) { c.CSI = d })
	n.source.set(withVolumes(t))
	n.etcd.set(etcd.Status{Ready: true, Running: true, Healthy: true})
	n.awaitOther("a driver for one pool", d.has("node/plane/volumes"))
	declare := func(presence config.Presence) {
		n.update(func(s *snapshot) {
			c := *s.input.Config
			c.Pools = []config.Pool{{Name: "tank", Presence: presence}}
			c.Datasets = []config.Dataset{{Name: "tank/volumes"}}
			s.input.Config = &c
		})
	}
	declare(config.PoolExported)
	n.awaitOther("the pool that is away", d.isAway("tank/volumes"))
	if !d.has("node/plane/volumes")() {
		t.Error("the driver was begun anew for a pool that is not for volumes")
	}
	declare(config.PoolImported)
	n.awaitOther("the pool that is for volumes", d.isIn("node/plane/volumes", "tank/volumes"))
	if !d.isAway()() || !d.has("node/plane/volumes")() {
		t.Error("the driver was begun anew for one pool more")
	}
	declare(config.PoolExported)
	n.awaitOther("a driver without the pool", d.has("node/plane/volumes", "node/plane/volumes"))
	if !d.isIn("node/plane/volumes")() || !d.isAway("tank/volumes")() {
		t.Error("the pool was not taken from the driver")
	}
}

// TestNoVolumes: without a driver, health says so where volumes are wanted; where they are not, there is no check.
func TestNoVolumes(t *testing.T) {
	n := startNode(t, t.TempDir(), storagetest.New(1<<30))
	n.source.set(documents(t))
	n.await("the configuration", func(s snapshot) bool { return healthy(s, "config") })
	if c := volumesCheck(n.snapshot()); c != nil {
		t.Errorf("nobody makes volumes: %+v", c)
	}
	n.end()
	n = startNode(t, t.TempDir(), storagetest.New(1<<30))
	n.source.set(withVolumes(t))
	n.await("the check", func(s snapshot) bool {
		c := volumesCheck(s)
		return c != nil && strings.Contains(c.Reason, "no CSI driver")
	})
}
