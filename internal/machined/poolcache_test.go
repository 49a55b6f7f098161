package machined

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/etcd"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/arc"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storagetest"
)

const gib = 1 << 30

// cachedNode is a node of a cluster with a pool of its own of 100 GiB, and 64 GiB of memory.
func cachedNode(t *testing.T, state, reserved string, docs []byte) (*node, *poolMachine) {
	t.Helper()
	m := &poolMachine{pools: []pool.Pool{{Name: "node", GUID: 9, State: pool.Online, SizeBytes: 100 * gib}}}
	cfg := m.config()
	cfg.MemoryBytes, cfg.Reserved = 64*gib, reserved
	n := startNodeWith(t, state, storagetest.New(1<<30), func(c *Config) { c.Pools = cfg })
	n.source.set(docs)
	n.etcd.set(etcd.Status{Ready: true, Running: true, Healthy: true})
	return n, m
}

// TestKubeletLeavesMemoryToZFS: how much is decided before kubelet is, once in a boot, and is the most that ZFS gets from then on.
func TestKubeletLeavesMemoryToZFS(t *testing.T) {
	t.Parallel()
	state, reserved, docs := t.TempDir(), filepath.Join(t.TempDir(), "reserved"), documents(t)
	n, m := cachedNode(t, state, reserved, docs)
	want := arc.Max(100*gib, 64*gib)
	n.await("Kubernetes wanted", func(s snapshot) bool { return s.desired.Kube != nil })
	if s := n.snapshot(); s.desired.Kube.CacheBytes != want || s.cache.reserved != want || want <= 256<<20 {
		t.Errorf("kubelet leaves %d bytes, %d are reserved, want %d", s.desired.Kube.CacheBytes, s.cache.reserved, want)
	}
	n.await("kubelet to be told", func(snapshot) bool {
		n.kube.mu.Lock()
		defer n.kube.mu.Unlock()
		return n.kube.seen != nil && n.kube.seen.CacheBytes == want
	})
	// A pool more: what kubelet has read stays what ZFS gets.
	m.change(func(m *poolMachine) {
		m.pools = append(m.pools, pool.Pool{Name: "large", GUID: 10, State: pool.Online, SizeBytes: 1000 * gib})
	})
	n.wakers[plan.Pools].Wake()
	n.await("the pool to be seen", func(s snapshot) bool { return len(s.pools.Status.Pools) == 2 && s.pools.Satisfied })
	var governor arc.Governor
	n.limitCache(&governor, n.snapshot())
	if stats, err := m.cache.Stats(); err != nil || stats.MaxBytes != want || n.snapshot().desired.Kube.CacheBytes != want {
		t.Errorf("with another pool: %+v, %v, kubelet leaves %d, want %d", stats, err, n.snapshot().desired.Kube.CacheBytes, want)
	}
	n.end()

	// An agent that is started anew in the same boot, when the pools are others.
	again, _ := cachedNode(t, state, reserved, docs)
	again.await("Kubernetes wanted", func(s snapshot) bool { return s.desired.Kube != nil })
	if got := again.snapshot().desired.Kube.CacheBytes; got != want {
		t.Errorf("after a restart of the agent kubelet leaves %d bytes, want %d", got, want)
	}
}

// TestReservationOfTheBoot is read from the file, whatever pools there are, and one that cannot be read is made anew.
func TestReservationOfTheBoot(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint64{"268435456\n": 256 << 20, "67108863\n": arc.Max(100*gib, 64*gib), "nothing": arc.Max(100*gib, 64*gib)} {
		reserved := filepath.Join(t.TempDir(), "reserved")
		if err := os.WriteFile(reserved, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n, _ := cachedNode(t, t.TempDir(), reserved, documents(t))
		n.await("Kubernetes wanted", func(s snapshot) bool { return s.desired.Kube != nil })
		if got := n.snapshot().desired.Kube.CacheBytes; got != want {
			t.Errorf("%q: kubelet leaves %d bytes, want %d", text, got, want)
		}
		if got, err := readReserved(reserved); err != nil || got != want {
			t.Errorf("%q: the file has %d, %v, want %d", text, got, err, want)
		}
	}
}

// TestCacheIsLimited: by the rule from the start on, less under pressure, and a limit that cannot be set is told.
func TestCacheIsLimited(t *testing.T) {
	t.Parallel()
	m := &poolMachine{pools: []pool.Pool{{Name: "node", GUID: 9, State: pool.Online, SizeBytes: 100 * gib}}}
	cfg := m.config()
	cfg.MemoryBytes = 64 * gib
	n := startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) { c.Pools = cfg })
	n.await("a limit without a configuration", func(s snapshot) bool {
		return s.cache.limits.MaxBytes == arc.Max(0, 64*gib) && s.cache.limits.MinBytes == arc.MinBytes
	})
	n.source.set(standalone(t))
	n.await("the pools", snapshot.poolsKnown)
	rule := arc.Max(100*gib, 64*gib)
	var governor arc.Governor
	n.limitCache(&governor, n.snapshot())
	if s := n.snapshot(); s.cache.limits.MaxBytes != rule || s.cache.lowered || s.cache.reserved != 0 {
		t.Errorf("by the rule: %+v, want %d", s.cache, rule)
	}
	m.cache.change(func(c *cacheModule) { c.pressure, c.stats.SizeBytes = arc.Pressure{Some: 50, Full: 20}, 200<<20 })
	late := arc.Governor{} // one that has changed nothing yet does at once
	late.Limit(time.Now().Add(-time.Hour), arc.Pressure{}, rule, rule)
	n.limitCache(&late, n.snapshot())
	if s := n.snapshot(); s.cache.limits.MaxBytes != 150<<20 || !s.cache.lowered {
		t.Errorf("under pressure: %+v", s.cache)
	}
	got, err := poolsAPI{n.Agent}.Cache(t.Context())
	if err != nil || got.GetMaxBytes() != 150<<20 || got.GetMinBytes() != arc.MinBytes {
		t.Errorf("over the API: %v, %v", got, err)
	}
	var told []string
	if err := n.events.Stream(t.Context(), server.StreamOptions{Tail: -1}, func(e server.Event) error {
		told = append(told, e.Subject+": "+e.State+" "+e.Reason)
		return nil
	}); err != nil || !slices.ContainsFunc(told, func(e string) bool { return strings.HasPrefix(e, "memory of ZFS: limit lowered to 150 MiB of ") }) {
		t.Errorf("events %q, %v", told, err)
	}
	m.change(func(m *poolMachine) { m.pools[0].SizeBytes = 0 })
	n.wakers[plan.Pools].Wake()
	n.await("a smaller rule", func(s snapshot) bool { return s.cacheRule(64*gib) == 256<<20 && s.pools.Satisfied })
	var fourth arc.Governor
	m.cache.change(func(c *cacheModule) { c.pressure = arc.Pressure{} })
	n.limitCache(&fourth, n.snapshot())
	m.change(func(m *poolMachine) { m.pools[0].SizeBytes = 100 * gib })
	n.wakers[plan.Pools].Wake()
	n.await("the rule as it was", func(s snapshot) bool { return s.cacheRule(64*gib) == rule && s.pools.Satisfied })
	n.limitCache(&fourth, n.snapshot())
	if s := n.snapshot(); s.cache.limits.MaxBytes != 256<<20 || s.cache.lowered {
		t.Errorf("a rule that has grown is followed at once, or taken for pressure: %+v", s.cache)
	}
	m.cache.change(func(c *cacheModule) { c.err = errors.New("the module ignores it") })
	var third arc.Governor
	n.limitCache(&third, n.snapshot())
	n.await("the check", func(s snapshot) bool {
		c, ok := checkOf(s, "pool-cache")
		return ok && !c.Healthy && strings.Contains(c.Reason, "the module ignores it")
	})
	m.cache.change(func(c *cacheModule) { c.err, c.pressure = nil, arc.Pressure{} })
	n.limitCache(&third, n.snapshot())
	if _, ok := checkOf(n.snapshot(), "pool-cache"); ok {
		t.Errorf("what passed is told still: %+v", n.snapshot().cache)
	}
}
