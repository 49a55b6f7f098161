package machined

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// inPools are datasets and a schedule of the pool tank, and a dataset in the system's own pool.
const inPools = `---
apiVersion: cyvive.dev/v1alpha1
kind: Dataset
name: tank/data
properties: {compression: zstd, quota: 1GiB, mountpoint: /var/mnt/data}
---
apiVersion: cyvive.dev/v1alpha1
kind: Dataset
name: node/plane/volumes/db
userProperties: {"org.example:owner": me}
---
apiVersion: cyvive.dev/v1alpha1
kind: SnapshotSchedule
name: yearly
datasets: [{name: tank}]
schedule: yearly
keep: {last: 1}
`

// someMounts are a dataset.Mounts without a kernel.
type someMounts struct {
	mu sync.Mutex
	// on are datasets by their targets, options those that they are mounted with.
	on, options map[string]string
	// sealed are the targets whose mount points were made.
	sealed []string
}

func (m *someMounts) Seal(_ context.Context, target string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sealed = append(m.sealed, target)
	return nil
}

func (m *someMounts) Mounted(context.Context) (map[string]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.on), nil
}

func (m *someMounts) Mount(_ context.Context, name, target string, options []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on[target], m.options[target] = name, strings.Join(options, ",")
	return nil
}

func (m *someMounts) Unmount(_ context.Context, target string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.on, target)
	return nil
}

// lateSystem has the datasets of a pool only once that is imported.
type lateSystem struct {
	zfs.System
	machine *poolMachine
}

func (s lateSystem) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	for _, root := range q.Roots {
		if root != "tank" && !strings.HasPrefix(root, "tank/") {
			continue
		}
		imported := false
		s.machine.change(func(m *poolMachine) {
			imported = slices.ContainsFunc(m.pools, func(p pool.Pool) bool { return p.Name == "tank" })
		})
		if !imported {
			return nil, fmt.Errorf("zfs list %s: %w", root, zfs.ErrNotExist)
		}
	}
	return s.System.List(ctx, q)
}

// filledNode is a node on which tank, and what lies in it, is declared. The pool's disks come when the test plugs them in; on them are older snapshots.
func filledNode(t *testing.T) (n *node, m *poolMachine, model *zfstest.Model, mounts *someMounts) {
	t.Helper()
	model, mounts = zfstest.New("node1", "tank", "node"), &someMounts{on: map[string]string{}, options: map[string]string{}}
	ctx := t.Context()
	for _, err := range []error{
		model.Create(ctx, "node/plane", zfs.CreateOptions{}), model.Create(ctx, "node/plane/volumes", zfs.CreateOptions{}), model.Snapshot(ctx, []string{"tank@yearly-20200101T000000Z"}, nil),
		model.Snapshot(ctx, []string{"tank@yearly-20210101T000000Z"}, nil), model.Snapshot(ctx, []string{"tank@mine"}, nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	model.Advance(time.Since(time.Unix(1_700_000_000, 0))) // from the clock that a model begins with to about now, by which the schedule goes
	m = &poolMachine{pools: []pool.Pool{{Name: "node", GUID: 9, State: pool.Online}}}
	cfg := m.config()
	cfg.Datasets, cfg.Mounts, cfg.Reserved = lateSystem{model, m}, mounts, filepath.Join(t.TempDir(), "reserved")
	n = startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) { c.Pools = cfg })
	n.source.set(append(append(standalone(t), tank...), inPools...))
	return n, m, model, mounts
}

// plug brings the disks of tank, and has them looked at.
func plug(n *node, m *poolMachine) {
	m.change(func(m *poolMachine) {
		m.disks = []pool.Disk{blankDisk("/dev/vdb", "S-1"), blankDisk("/dev/vdc", "S-2")}
	})
	n.wakers[plan.Pools].Wake()
}

func checkOf(s snapshot, name string) (server.Check, bool) {
	i := slices.IndexFunc(s.checks, func(c server.Check) bool { return c.Name == name })
	if i < 0 {
		return server.Check{}, false
	}
	return s.checks[i], true
}

// namesBelow are the datasets and snapshots of a model below a root.
func namesBelow(t *testing.T, model *zfstest.Model, root string) []string {
	t.Helper()
	list, err := model.List(t.Context(), zfs.Query{Roots: []string{root}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume, zfs.Snapshot}, Depth: -1})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range list {
		out = append(out, d.Name)
	}
	return out
}

// TestDatasetsAreMade: what is declared is made and mounted as soon as its pool is imported, which nobody waits for by looking; snapshots are made and pruned by their
// schedule, and others left alone.
func TestDatasetsAreMade(t *testing.T) {
	t.Parallel()
	n, m, model, mounts := filledNode(t)
	n.await("the pool to be missed", func(s snapshot) bool {
		c, _ := checkOf(s, plan.Datasets)
		return s.datasets.Satisfied && !c.Healthy && strings.Contains(c.Reason, "tank") && strings.Contains(c.Reason, "does not exist")
	})
	n.await("the schedule to miss it", func(s snapshot) bool {
		c, _ := checkOf(s, plan.Snapshots)
		return !c.Healthy && strings.Contains(c.Reason, "schedule yearly: tank")
	})
	n.awaitOther("its mount point to be made", func() bool {
		mounts.mu.Lock()
		defer mounts.mu.Unlock()
		return slices.Contains(mounts.sealed, "/var/mnt/data")
	})
	plug(n, m)
	n.await("all to be made", func(s snapshot) bool {
		d, _ := checkOf(s, plan.Datasets)
		c, _ := checkOf(s, plan.Snapshots)
		return d.Healthy && c.Healthy && s.schedules.Status.Ready && s.schedules.Status.Next > 0
	})
	list, err := model.List(t.Context(), zfs.Query{Roots: []string{"tank/data"}, Kinds: []zfs.Kind{zfs.Filesystem}, Properties: []string{"compression", "quota", dataset.ManagedProperty}})
	if err != nil || len(list) != 1 || list[0].Properties["compression"].Value != "zstd" || list[0].Properties["quota"].Value != "1073741824" ||
		!strings.Contains(list[0].Properties[dataset.ManagedProperty].Value, "compression") {
		t.Errorf("tank/data: %+v, %v", list, err)
	}
	full, err := datasetsAPI{n.Agent}.Declared(t.Context())
	if err != nil || len(full) != 2 || full[0].GetName() != "node/plane/volumes/db" || full[1].GetName() != "tank/data" || full[1].GetQuotaBytes() != 1<<30 || full[1].GetAvailableBytes() == 0 {
		t.Errorf("how full what is declared is: %v, %v", full, err)
	}
	if got := namesBelow(t, model, "node"); !slices.Contains(got, "node/plane/volumes/db") {
		t.Errorf("in the system's pool: %q", got)
	}
	if on, _ := mounts.Mounted(t.Context()); on["/var/mnt/data"] != "tank/data" || len(on) != 1 || mounts.options["/var/mnt/data"] != "nodev,nosuid" {
		t.Errorf("mounted: %q with %q", on, mounts.options)
	}
	var made, old int
	for _, name := range namesBelow(t, model, "tank") {
		switch {
		case strings.HasPrefix(name, "tank@yearly-202001"), strings.HasPrefix(name, "tank@yearly-202101"):
			old++
		case strings.HasPrefix(name, "tank@yearly-"):
			made++
		}
	}
	schedules, err := snapshotsAPI{n.Agent}.Schedules(t.Context())
	if err != nil || len(schedules) != 1 || schedules[0].GetName() != "yearly" || schedules[0].GetSnapshots() < 1 || schedules[0].GetNewestAt() == nil || len(schedules[0].GetProblems()) > 0 {
		t.Errorf("the schedule over the API: %v, %v", schedules, err)
	}
	if got := namesBelow(t, model, "tank"); made != 1 || old != 0 || !slices.Contains(got, "tank@mine") {
		t.Errorf("snapshots after a pass: %q", got)
	}
}

// TestNoDatasetWithoutOpenZFS says so, and nothing else fails.
func TestNoDatasetWithoutOpenZFS(t *testing.T) {
	t.Parallel()
	n := startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) { c.NoPools = "its module is not loaded" })
	n.source.set(append(append(standalone(t), tank...), inPools...))
	for _, name := range []string{plan.Pools, plan.Datasets, plan.Snapshots} {
		n.await(name, func(s snapshot) bool {
			c, ok := checkOf(s, name)
			return ok && !c.Healthy && strings.Contains(c.Reason, "this node has no OpenZFS: its module is not loaded")
		})
	}
	n.await("the rest", func(s snapshot) bool { return healthy(s, "storage") && healthy(s, "network") && healthy(s, "identity") })
	for what, err := range map[string]error{"conditions": second(datasetsAPI{n.Agent}.Conditions(t.Context(), "")), "schedules": second(snapshotsAPI{n.Agent}.Schedules(t.Context()))} {
		if !errors.Is(err, server.ErrPrecondition) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := (poolsAPI{n.Agent}).List(t.Context()); err == nil || !strings.Contains(err.Error(), "its module is not loaded") {
		t.Errorf("the API: %v", err)
	}
}

// TestDatasetThatCannotBe: what a person has to decide is in the health and an event; nothing is destroyed for it, nor for a document that is gone.
func TestDatasetThatCannotBe(t *testing.T) {
	t.Parallel()
	n, m, model, mounts := filledNode(t)
	n.awaitOther("its mount point to be made", func() bool {
		mounts.mu.Lock()
		defer mounts.mu.Unlock()
		return slices.Contains(mounts.sealed, "/var/mnt/data")
	})
	plug(n, m)
	n.await("all to be made", func(s snapshot) bool { return s.datasets.Status.Ready && len(s.datasets.Status.Datasets) > 2 })
	n.update(func(s *snapshot) {
		c := *s.input.Config
		c.Datasets = []config.Dataset{{Name: "tank/data", Volume: &config.Volume{SizeBytes: 1 << 20}}, {Name: "tank/a/b"}}
		s.input.Config = &c
	})
	n.await("the conditions", func(s snapshot) bool {
		c, _ := checkOf(s, plan.Datasets)
		reasons := map[string]dataset.Reason{}
		for _, one := range s.datasets.Status.Conditions {
			reasons[one.Dataset] = one.Reason
		}
		return !c.Healthy && reasons["tank/data"] == dataset.KindDiffers && reasons["tank/a/b"] == dataset.ParentMissing && reasons["node/plane/volumes/db"] == dataset.NotDeclared
	})
	if got := namesBelow(t, model, "tank"); !slices.Contains(got, "tank/data") || slices.Contains(got, "tank/a/b") {
		t.Errorf("there are %q", got)
	}
	conditions, err := datasetsAPI{n.Agent}.Conditions(t.Context(), "tank/data")
	if err != nil || len(conditions) != 1 || conditions[0].GetReason() != "KindDiffers" || conditions[0].GetDataset() != "tank/data" {
		t.Errorf("over the API: %v, %v", conditions, err)
	}
	if conditions, err = (datasetsAPI{n.Agent}).Conditions(t.Context(), ""); err != nil || len(conditions) != 2 {
		t.Errorf("all, over the API: %v, %v", conditions, err)
	}
	var told []string
	if err := n.events.Stream(t.Context(), server.StreamOptions{Tail: -1}, func(e server.Event) error {
		told = append(told, fmt.Sprintf("%+v", e))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a volume is declared", "tank/a is not there"} {
		if !slices.ContainsFunc(told, func(e string) bool { return strings.Contains(e, want) }) {
			t.Errorf("no event with %q in %q", want, told)
		}
	}
}

// TestSnapshotsPreview: what a changed schedule would do is told by a domain of its own, with what replication needs.
func TestSnapshotsPreview(t *testing.T) {
	t.Parallel()
	n, m, _, _ := filledNode(t)
	plug(n, m)
	n.await("a pass", func(s snapshot) bool { return s.schedules.Status.Ready && s.schedules.Status.Next > 0 })
	d := n.snapshot().desired
	spec := *d.Snapshots
	spec.Policies = append(slices.Clone(spec.Policies), snapshots.Policy{
		Name: "other", Prefix: "other-", Targets: []snapshots.Target{{Dataset: "tank"}}, When: snapshots.Schedule{Calendar: snapshots.Yearly, Day: 1, Month: time.January},
	})
	d.Snapshots = &spec
	ops, err := n.views[plan.Snapshots](t.Context(), d)
	if err != nil || len(ops) != 1 || !strings.HasPrefix(ops[0], "make tank@other-") {
		t.Errorf("got %q, %v", ops, err)
	}
}

func TestSystemDatasets(t *testing.T) {
	for name, want := range map[string]bool{
		"node": true, "node/etcd": true, "node/var/x": true, "node/plane/volumes": true, "node/plane/volumesx": true, "node/plane/volumes/": false, "node/plane/volumes/a": false,
		"node/plane/volumes/a/b": false, "node2/etcd": false, "tank": false, "tank/node": false, "": false,
	} {
		if got := systemDataset(name); got != want {
			t.Errorf("%q is the system's: %t", name, got)
		}
	}
}
