package machined

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/eventlog"
	"github.com/cyvive/cyvive/internal/machined/state"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/diagnose"
	"github.com/cyvive/cyvive/internal/storage/pool/events"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storagetest"
)

func fixedNow() time.Time { return time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC) }

const tank = `---
apiVersion: cyvive.dev/v1alpha1
kind: Pool
name: tank
data:
- layout: mirror
  disks: [{serial: S-1}, {serial: S-2}]
`

// pooledNode is a node with OpenZFS and two disks, on which the pool tank is declared.
func pooledNode(t *testing.T, prepare func(*poolMachine)) (*node, *poolMachine) {
	t.Helper()
	m := &poolMachine{disks: []pool.Disk{blankDisk("/dev/vdb", "S-1"), blankDisk("/dev/vdc", "S-2")}}
	cfg := m.config()
	if prepare != nil {
		prepare(m)
	}
	n := startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) { c.Pools = cfg })
	n.source.set(append(standalone(t), tank...))
	return n, m
}

func poolCheck(s snapshot) server.Check {
	for _, c := range s.checks {
		if c.Name == "pools" {
			return c
		}
	}
	return server.Check{}
}

// TestNoPools: a node without OpenZFS is as it always was, and says of declared pools that it cannot have them.
func TestNoPools(t *testing.T) {
	t.Parallel()
	n := startNode(t, t.TempDir(), storagetest.New(1<<30))
	n.source.set(standalone(t))
	n.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity })
	if c := poolCheck(n.snapshot()); c.Name != "" {
		t.Errorf("a check of pools where none is declared: %+v", c)
	}
	api, ctx := poolsAPI{n.Agent}, t.Context()
	for name, err := range map[string]error{
		"list": second(api.List(ctx)), "importable": second(api.Importable(ctx)), "plan": second(api.Plan(ctx)), "confirm": api.Confirm(ctx, "tank", "destroy", "me"),
		"scrub": api.Scrub(ctx, "tank", poolv1.ScrubAction_SCRUB_ACTION_START), "trim": api.Trim(ctx, "tank", poolv1.TrimAction_TRIM_ACTION_START),
		"clear": api.Clear(ctx, "tank", ""), "offline": second(api.Offline(ctx, "tank", "/dev/vdb", "")), "online": api.Online(ctx, "tank", "/dev/vdb"),
		"cache": second(api.Cache(ctx)), "events": api.Events(ctx, server.PoolEventOptions{}, nil),
	} {
		if !errors.Is(err, server.ErrPrecondition) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	declared := startNode(t, t.TempDir(), storagetest.New(1<<30))
	declared.source.set(append(standalone(t), tank...))
	declared.await("the check", func(s snapshot) bool { return strings.Contains(poolCheck(s).Reason, "no OpenZFS") })
}

// TestUndeclaredPools: without a Pool document, pools are shown and left alone.
func TestUndeclaredPools(t *testing.T) {
	t.Parallel()
	m := &poolMachine{pools: []pool.Pool{{Name: "node", GUID: 9, State: pool.Online}}}
	cfg := m.config()
	n := startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) { c.Pools = cfg })
	n.source.set(standalone(t))
	n.await("pools", func(s snapshot) bool { return s.pools.Satisfied && len(s.pools.Status.Pools) == 1 })
	list, err := poolsAPI{n.Agent}.List(t.Context())
	if err != nil || len(list.GetPools()) != 1 || list.GetPools()[0].GetDeclared() || !list.GetPools()[0].GetImported() || !list.GetReady() {
		t.Errorf("got %v, %v", list, err)
	}
	if c := poolCheck(n.snapshot()); c.Name != "" || len(m.done()) > 0 {
		t.Errorf("a check %+v, and calls %q", c, m.done())
	}
}

// TestPoolIsMade: blank disks become the declared pool without anybody being asked.
func TestPoolIsMade(t *testing.T) {
	t.Parallel()
	n, m := pooledNode(t, nil)
	n.await("the pool", func(s snapshot) bool { return poolCheck(s).Healthy })
	api := poolsAPI{n.Agent}
	list, err := api.List(t.Context())
	if err != nil || len(list.GetPools()) != 1 {
		t.Fatalf("got %v, %v", list, err)
	}
	p := list.GetPools()[0]
	if !p.GetHealthy() || !p.GetDeclared() || p.GetState() != poolv1.State_STATE_ONLINE || len(p.GetVdevs()) != 1 || len(p.GetVdevs()[0].GetChildren()) != 2 ||
		!strings.Contains(p.GetPicture(), "└─ vdc1") || p.GetProperties()["compatibility"] != "openzfs-2.3" || list.GetObservedAt().AsTime() != fixedNow() {
		t.Errorf("got %v", p)
	}
	if calls := m.done(); !slices.Contains(calls, "create tank") || !slices.Contains(calls, "prepare /dev/vdc") {
		t.Errorf("calls %q", calls)
	}
	plan, err := api.Plan(t.Context())
	if err != nil || len(plan.GetOperations())+len(plan.GetConditions()) > 0 {
		t.Errorf("there is more to do: %v, %v", plan, err)
	}
	cache, err := api.Cache(t.Context())
	if err != nil || cache.GetSizeBytes() != 5 || cache.GetDeviceHits() != 1 {
		t.Errorf("cache %v, %v", cache, err)
	}
}

// TestPoolThatFails: an operation that fails keeps nobody from the datasets of the other pools, nor for ever from those of the pool itself.
func TestPoolThatFails(t *testing.T) {
	t.Parallel()
	n, _ := pooledNode(t, func(m *poolMachine) { m.fail = errors.New("it cannot be done") })
	n.await("datasets are looked at", func(s snapshot) bool { return s.desired.Datasets != nil && s.desired.Snapshots != nil })
	n.await("the check", func(s snapshot) bool { return strings.Contains(poolCheck(s).Reason, "it cannot be done") })
}

// TestPoolsHealth: the check is about the use of the pools. What cannot be done to one that is in use is no part of it, unless nobody knows how it is.
func TestPoolsHealth(t *testing.T) {
	t.Parallel()
	ready, not := pool.Status{Ready: true}, pool.Status{Reason: "pool tank: It is not imported yet."}
	for name, c := range map[string]struct {
		report state.Report[pool.Status]
		want   string
	}{
		"well":               {state.Report[pool.Status]{Generation: 1, Status: ready, Satisfied: true}, ""},
		"a step fails":       {state.Report[pool.Status]{Generation: 1, Status: ready, Tried: true, Problem: "set it: no"}, ""},
		"it cannot be seen":  {state.Report[pool.Status]{Generation: 1, Status: ready, Problem: "list pools: no"}, "list pools: no"},
		"it is not imported": {state.Report[pool.Status]{Generation: 1, Status: not, Tried: true, Problem: "import it: no"}, "import it: no"},
	} {
		s := snapshot{pooled: true, pools: c.report}
		s.input.Config = &config.Config{Pools: []config.Pool{{Name: "tank"}}}
		got := poolsHealth(s)
		if len(got) != 1 || got[0].Healthy != (c.want == "") || got[0].Reason != c.want {
			t.Errorf("%s: got %+v, want %q", name, got, c.want)
		}
	}
}

// TestOwnPoolIsScrubbed: the node's own pool, which no document names, is scrubbed by itself, but not while the node comes up.
func TestOwnPoolIsScrubbed(t *testing.T) {
	t.Parallel()
	m := &poolMachine{pools: []pool.Pool{{Name: "node", GUID: 9, State: pool.Online}}}
	cfg := m.config()
	n := startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) { c.Pools = cfg })
	n.source.set(standalone(t))
	n.await("pools", func(s snapshot) bool { return s.pools.Satisfied && len(s.pools.Status.Pools) == 1 })
	if calls := m.done(); len(calls) > 0 {
		t.Errorf("while it comes up: %q", calls)
	}
	n.timeline.set(ownScrubAfter + ownScrubSpread)
	n.wakers[plan.Pools].Wake()
	n.awaitOther("the scrub", func() bool { return slices.Contains(m.done(), "scrub node") })
}

func TestOwnScrub(t *testing.T) {
	// The second of the GUIDs waits for seven minutes more, and the first for none.
	of := func(guid zfs.GUID) state.Report[pool.Status] {
		return state.Report[pool.Status]{Status: pool.Status{Pools: []pool.PoolStatus{{Name: "tank", GUID: 1}, {Name: "node", GUID: guid, Imported: true}}}}
	}
	first, second := of(2*180), of(5*180+7)
	at := func(stage upgrade.Stage) snapshot {
		return snapshot{pools: first, upgradable: true, upgrade: &upgrade.Status{Record: upgrade.Record{Stage: stage}}}
	}
	for name, c := range map[string]struct {
		s      snapshot
		uptime time.Duration
		want   string
	}{
		"just started":            {snapshot{pools: first}, ownScrubAfter - 1, ""},
		"up for a while":          {snapshot{pools: first}, ownScrubAfter, "node"},
		"another one":             {snapshot{pools: second}, ownScrubAfter + 7*time.Minute - 1, ""},
		"that has waited for its": {snapshot{pools: second}, ownScrubAfter + 7*time.Minute, "node"},
		"pools not looked at yet": {snapshot{}, ownScrubAfter + ownScrubSpread, ""},
		"its slots not known":     {snapshot{pools: first, upgradable: true}, ownScrubAfter, ""},
		"a release on trial":      {at(upgrade.Trial), ownScrubAfter, ""},
		"a release given up":      {at(upgrade.Reverting), ownScrubAfter, ""},
		"a release that stays":    {at(upgrade.Idle), ownScrubAfter, "node"},
		"that has just started":   {at(upgrade.Idle), ownScrubAfter - 1, ""},
	} {
		a := &Agent{cfg: Config{Timeline: &memoryTimeline{since: c.uptime}}, store: state.New(c.s)}
		if got := a.ownScrub(); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// TestOwnPoolHealth: what is wrong with the node's own pool is told; the node is ready all the same, and no release goes back for it.
func TestOwnPoolHealth(t *testing.T) {
	for name, c := range map[string]struct {
		status pool.PoolStatus
		want   []server.Check
	}{
		"not imported": {pool.PoolStatus{Name: "node"}, nil},
		"another":      {pool.PoolStatus{Name: "tank", Imported: true}, nil},
		"well":         {pool.PoolStatus{Name: "node", Imported: true, Healthy: true, Summary: "It is well.", Next: "Nothing."}, []server.Check{{Name: ownPoolCheck, Healthy: true, Aside: true}}},
		"lost blocks": {
			pool.PoolStatus{Name: "node", Imported: true, Summary: "3 blocks of data are lost for good.", Next: "Restore them."},
			[]server.Check{{Name: ownPoolCheck, Reason: "3 blocks of data are lost for good. Restore them.", Aside: true}},
		},
	} {
		s := snapshot{pools: state.Report[pool.Status]{Status: pool.Status{Pools: []pool.PoolStatus{c.status}}}}
		s.checks = ownPoolHealth(s)
		if !slices.Equal(s.checks, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, s.checks, c.want)
		}
		if slices.ContainsFunc(gates(s), func(g upgrade.Gate) bool { return g.Name == ownPoolCheck }) {
			t.Errorf("%s: it is a gate of releases", name)
		}
		if name == "well" && !slices.ContainsFunc(health(s), func(c server.Check) bool { return c.Name == ownPoolCheck }) {
			t.Error("it is not in the health")
		}
	}
}

// TestPoolWaitsForAPerson: a disk that holds something is not used before somebody says so, for this very operation.
func TestPoolWaitsForAPerson(t *testing.T) {
	t.Parallel()
	n, m := pooledNode(t, func(m *poolMachine) { m.disks[1].Contents = "an ext4 file system" })
	n.await("the check", func(s snapshot) bool { return poolCheck(s).Reason != "" && s.pools.Satisfied })
	api, ctx := poolsAPI{n.Agent}, t.Context()
	plan, err := api.Plan(ctx)
	if err != nil || len(plan.GetOperations()) != 1 || !plan.GetOperations()[0].GetWaiting() || !strings.Contains(plan.GetOperations()[0].GetNeeds(), "an ext4 file system") {
		t.Fatalf("plan %v, %v", plan, err)
	}
	text := plan.GetOperations()[0].GetText()
	for name, c := range map[string][2]string{"another pool": {"other", text}, "another operation": {"tank", text + "!"}, "nothing": {"tank", ""}} {
		if err := api.Confirm(ctx, c[0], c[1], "me"); !errors.Is(err, server.ErrPrecondition) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is on the disk by now is something else: what was shown is not done.
	m.change(func(m *poolMachine) { m.disks[1].Contents = "an xfs file system" })
	if err := api.Confirm(ctx, "tank", text, "me"); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "xfs") {
		t.Errorf("of what has changed: %v", err)
	}
	if calls := m.done(); len(calls) > 0 {
		t.Fatalf("done without a confirmation: %q", calls)
	}
	list, err := api.List(ctx)
	if err != nil || len(list.GetPools()[0].GetWaiting()) != 1 || list.GetReady() {
		t.Fatalf("list %v, %v", list, err)
	}
	if err := api.Confirm(ctx, "tank", list.GetPools()[0].GetWaiting()[0].GetText(), "me"); err != nil {
		t.Fatal(err)
	}
	n.await("the pool", func(s snapshot) bool { return poolCheck(s).Healthy })
	if left := n.confirmed.with(pool.Spec{}, fixedNow()).Confirmed; len(left) > 0 {
		t.Errorf("the confirmation holds on: %v", left)
	}
}

// TestPoolPreview: what loses data is in what is shown beforehand, with how it is confirmed, and so is what keeps a pool from being made.
func TestPoolPreview(t *testing.T) {
	t.Parallel()
	n, m := pooledNode(t, func(m *poolMachine) { m.disks[1].Contents = "an ext4 file system" })
	n.await("the check", func(s snapshot) bool { return poolCheck(s).Reason != "" && s.pools.Satisfied })
	ops, err := n.views[plan.Pools](t.Context(), n.snapshot().desired)
	if err != nil || len(ops) != 1 || !strings.HasPrefix(ops[0], "create pool tank: ") || !strings.Contains(ops[0], "holds an ext4 file system") ||
		!strings.HasSuffix(ops[0], " (waits for a confirmation: nodectl pool confirm tank)") {
		t.Errorf("on a disk that holds something: %q, %v", ops, err)
	}
	m.change(func(m *poolMachine) { m.disks = m.disks[:1] })
	ops, err = n.views[plan.Pools](t.Context(), n.snapshot().desired)
	if err != nil || len(ops) != 1 || !strings.HasPrefix(ops[0], "to decide: pool tank: disk not found: no disk matches serial=S-2: ") || strings.Contains(ops[0], "\n") {
		t.Errorf("without a disk: %q, %v", ops, err)
	}
}

// TestConfirmedByWhatWasFound: who is answered by what was found without the state volume confirms nothing that could be done once it is there.
func TestConfirmedByWhatWasFound(t *testing.T) {
	t.Parallel()
	n, _ := pooledNode(t, func(m *poolMachine) { m.disks[1].Contents = "an ext4 file system" })
	n.await("the check", func(s snapshot) bool { return poolCheck(s).Reason != "" && s.pools.Satisfied })
	api, ctx := poolsAPI{n.Agent}, t.Context()
	list, err := api.List(ctx)
	if err != nil || len(list.GetPools()) != 1 || len(list.GetPools()[0].GetWaiting()) != 1 {
		t.Fatalf("list %v, %v", list, err)
	}
	n.update(func(s *snapshot) { s.came = missed })
	err = api.Confirm(ctx, "tank", list.GetPools()[0].GetWaiting()[0].GetText(), "me")
	if left := n.confirmed.with(pool.Spec{}, n.now()).Confirmed; !errors.Is(err, server.ErrUnavailable) || len(left) > 0 {
		t.Errorf("confirmed is %v; %v", left, err)
	}
}

func TestConfirmationsEnd(t *testing.T) {
	op := pool.Op{Verb: pool.DestroyPool, Pool: "tank", GUID: 7, Needs: "all that is in it is lost"}
	one := pool.Confirmation{Pool: "tank", Operation: op.String()}
	var c confirmations
	start := fixedNow()
	c.add(one, start.Add(time.Minute))
	c.add(one, start.Add(2*time.Minute))
	spec := pool.Spec{Confirmed: []pool.Confirmation{{Pool: "old"}}}
	if got := c.with(spec, start.Add(time.Minute)).Confirmed; !slices.Equal(got, []pool.Confirmation{one}) {
		t.Errorf("got %v", got)
	}
	other := op
	other.GUID = 8
	c.done(other)
	if got := c.with(spec, start).Confirmed; len(got) != 1 {
		t.Errorf("another operation ended it: %v", got)
	}
	if got := c.with(spec, start.Add(2*time.Minute)).Confirmed; len(got) != 0 {
		t.Errorf("it does not end: %v", got)
	}
	c.add(one, start.Add(time.Hour))
	c.done(op)
	if got := c.with(spec, start).Confirmed; len(got) != 0 {
		t.Errorf("what was done is confirmed still: %v", got)
	}
}

// TestPoolActs does what a person asks for, and refuses what the pool's state does not allow.
func TestPoolActs(t *testing.T) {
	t.Parallel()
	n, m := pooledNode(t, nil)
	n.await("the pool", func(s snapshot) bool { return poolCheck(s).Healthy })
	api, ctx := poolsAPI{n.Agent}, t.Context()
	start, pause, stop := poolv1.ScrubAction_SCRUB_ACTION_START, poolv1.ScrubAction_SCRUB_ACTION_PAUSE, poolv1.ScrubAction_SCRUB_ACTION_STOP
	begin, halt, end := poolv1.TrimAction_TRIM_ACTION_START, poolv1.TrimAction_TRIM_ACTION_PAUSE, poolv1.TrimAction_TRIM_ACTION_STOP
	offline := func(name, device, confirm string) func() error {
		return func() error { return second(api.Offline(ctx, name, device, confirm)) }
	}
	for _, step := range []struct {
		name string
		call func() error
		want error
		does string
	}{
		{"scrub another", func() error { return api.Scrub(ctx, "nosuch", start) }, server.ErrNotFound, ""},
		{"pause nothing", func() error { return api.Scrub(ctx, "tank", pause) }, server.ErrPrecondition, ""},
		{"scrub", func() error { return api.Scrub(ctx, "tank", start) }, nil, "scrub tank"},
		{"scrub twice", func() error { return api.Scrub(ctx, "tank", start) }, server.ErrPrecondition, ""},
		{"pause", func() error { return api.Scrub(ctx, "tank", pause) }, nil, "pause scrub tank"},
		{"pause twice", func() error { return api.Scrub(ctx, "tank", pause) }, server.ErrPrecondition, ""},
		{"go on", func() error { return api.Scrub(ctx, "tank", start) }, nil, "scrub tank"},
		{"stop", func() error { return api.Scrub(ctx, "tank", stop) }, nil, "stop scrub tank"},
		{"stop twice", func() error { return api.Scrub(ctx, "tank", stop) }, server.ErrPrecondition, ""},
		{"stop no trim", func() error { return api.Trim(ctx, "tank", end) }, server.ErrPrecondition, ""},
		{"trim", func() error { return api.Trim(ctx, "tank", begin) }, nil, "trim tank"},
		{"trim twice", func() error { return api.Trim(ctx, "tank", begin) }, server.ErrPrecondition, ""},
		{"pause trim", func() error { return api.Trim(ctx, "tank", halt) }, nil, "suspend trim tank"},
		{"stop trim", func() error { return api.Trim(ctx, "tank", end) }, nil, "cancel trim tank"},
		{"clear all", func() error { return api.Clear(ctx, "tank", "") }, nil, "clear tank"},
		{"clear one", func() error { return api.Clear(ctx, "tank", "vdb1") }, nil, "clear tank 102"},
		{"clear none", func() error { return api.Clear(ctx, "tank", "vdz1") }, server.ErrNotFound, ""},
		{"offline unnamed", offline("tank", "/dev/vdb1", ""), server.ErrPrecondition, ""},
		{"offline by another name", offline("tank", "/dev/vdb1", "node"), server.ErrPrecondition, ""},
		{"offline another", offline("tank", "/dev/vdz1", "tank"), server.ErrNotFound, ""},
		{"offline", offline("tank", "/dev/vdb1", "tank"), nil, "offline tank 102 false"},
		{"offline the last", offline("tank", "103", "tank"), server.ErrPrecondition, ""},
		{"online", func() error { return api.Online(ctx, "tank", "102") }, nil, "online tank 102"},
		{"online none", func() error { return api.Online(ctx, "tank", "") }, server.ErrNotFound, ""},
	} {
		before := len(m.done())
		err := step.call()
		did := m.done()[before:]
		if !errors.Is(err, step.want) || (step.does == "") != (len(did) == 0) || step.does != "" && !slices.Contains(did, step.does) {
			t.Errorf("%s: got %v and %q, want %v and %q", step.name, err, did, step.want, step.does)
		}
	}
	m.change(func(m *poolMachine) {
		m.turn("102", pool.Faulted)
		m.fail = fmt.Errorf("zpool: %w", zfs.ErrSuspended)
	})
	if err := api.Online(ctx, "tank", "102"); !errors.Is(err, server.ErrPrecondition) || !slices.Contains(m.done(), "clear tank 102") {
		t.Errorf("of a pool that is suspended: %v, %q", err, m.done())
	}
	m.change(func(m *poolMachine) { m.fail = fmt.Errorf("zpool: it %w", pool.ErrStaysOut) })
	if err := api.Online(ctx, "tank", "102"); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("of a device that stays out of use: %v", err)
	}
	m.change(func(m *poolMachine) {
		m.fail = nil
		m.scan("tank", pool.Scan{Function: pool.Resilver, Progress: pool.Running})()
	})
	if err := api.Scrub(ctx, "tank", start); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("scrub of what resilvers: %v", err)
	}
	m.change(func(m *poolMachine) { m.scan("tank", pool.Scan{})(); m.pools[0].State, m.calls = pool.Suspended, nil })
	if err := api.Scrub(ctx, "tank", start); !errors.Is(err, server.ErrPrecondition) || slices.Contains(m.done(), "scrub tank") {
		t.Errorf("scrub of what is suspended: %v, %q", err, m.done())
	}
	n.ending.mu.Lock()
	n.ending.asked = true
	n.ending.mu.Unlock()
	if err := api.Clear(ctx, "tank", ""); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("while the machine goes down: %v", err)
	}
}

// TestKeptOut: a device whose disk was written to without the pool is not brought online over the API either.
func TestKeptOut(t *testing.T) {
	t.Parallel()
	n, m := pooledNode(t, nil)
	n.await("the pool", func(s snapshot) bool { return poolCheck(s).Healthy })
	m.change(func(m *poolMachine) {
		m.turn("102", pool.Offline)
		label := *m.disks[0].Label
		label.Peers = []pool.Peer{{GUID: 103, Away: true}}
		m.disks[0].Label = &label
	})
	n.wakers[plan.Pools].Wake()
	n.await("the disk to be seen", func(s snapshot) bool {
		return len(s.pools.Status.Pools) == 1 && len(s.pools.Status.Pools[0].Waiting) == 1 && s.pools.Status.Pools[0].Waiting[0].Verb == pool.WipeDisk
	})
	err := poolsAPI{n.Agent}.Online(t.Context(), "tank", "102")
	if !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "is lost") || slices.Contains(m.done(), "online tank 102") {
		t.Errorf("got %v and %q", err, m.done())
	}
}

// TestPoolsBusy: while the node is at work on its pools, what it has seen last is shown, and nothing else is told.
func TestPoolsBusy(t *testing.T) {
	t.Parallel()
	n, m := pooledNode(t, func(m *poolMachine) {
		m.importable = []pool.Importable{{Name: "old", GUID: 77, Problem: pool.Incomplete, Missing: []string{"/dev/vdx1"}, Destroyed: true}, {Name: "tank", GUID: 5, Problem: pool.Damaged}}
		m.disks = append(m.disks, blankDisk("/dev/vdd", "S-9"))
		m.disks[2].Label = &pool.Label{Device: "/dev/vdd1", Pool: "old", PoolGUID: 77, GUID: 78}
	})
	n.await("a look", func(s snapshot) bool { return s.pools.Satisfied && len(s.pools.Status.Pools) == 1 })
	api := poolsAPI{n.Agent}
	found, err := api.Importable(t.Context())
	if err != nil || len(found.GetPools()) != 2 || found.GetPools()[0].GetDeclared() || !found.GetPools()[1].GetDeclared() || found.GetPools()[0].GetProblem() != "devices are missing" {
		t.Errorf("importable %v, %v", found, err)
	}
	block := make(chan struct{})
	m.change(func(m *poolMachine) { m.block = block })
	defer close(block)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	list, err := api.List(ctx)
	if err != nil || len(list.GetPools()) != 1 || len(list.GetPools()[0].GetConditions()) == 0 || list.GetObservedAt() == nil {
		t.Errorf("list %v, %v", list, err)
	}
	if _, err := api.Plan(ctx); !errors.Is(err, server.ErrUnavailable) {
		t.Errorf("plan: %v", err)
	}
}

// report is an event as zpool prints it.
func report(id int, class, fields string) string {
	return fmt.Sprintf("Nov 26 2026 04:00:00.000000001\t%s\n        pool = \"tank\"\n        pool_guid = 0x65\n%s        time = 0x6a000000 0x%x \n        eid = 0x%x\n\n", class, fields, id, id)
}

// TestPoolFaults reads events, has a faulty device taken out for them, and gives them out again from where a client left off.
func TestPoolFaults(t *testing.T) {
	t.Parallel()
	reader, writer := io.Pipe()
	defer writer.Close()
	n, _ := pooledNode(t, func(m *poolMachine) { m.reports = reader })
	n.await("the pool", func(s snapshot) bool { return poolCheck(s).Healthy })
	go func() {
		io.WriteString(writer, report(1, "sysevent.fs.zfs.pool_create", ""))
		io.WriteString(writer, "dropped 3 events\n")
		io.WriteString(writer, report(5, "resource.fs.zfs.removed", "        vdev_guid = 0x66\n        vdev_path = \"/dev/vdb1\"\n        vdev_state = \"REMOVED\" (0x3)\n"))
	}()
	api := poolsAPI{n.Agent}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var got []string
	if err := api.Events(ctx, server.PoolEventOptions{StreamOptions: server.StreamOptions{Follow: true, Tail: -1}}, func(e *poolv1.StreamEventsResponse) error {
		got = append(got, fmt.Sprintf("%d %s: %s", e.GetId(), e.GetPool(), e.GetText()))
		if len(got) == 3 {
			return io.EOF
		}
		return nil
	}); !errors.Is(err, io.EOF) {
		t.Fatalf("after %q: %v", got, err)
	}
	want := []string{"1 tank: created", "0 : 3 events were lost before anybody read them", "5 tank: a device was pulled: /dev/vdb1, REMOVED"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for name, c := range map[string]struct {
		o    server.PoolEventOptions
		want int
	}{
		"all":          {server.PoolEventOptions{StreamOptions: server.StreamOptions{Tail: -1}}, 3},
		"newest":       {server.PoolEventOptions{StreamOptions: server.StreamOptions{Tail: 2}}, 2},
		"behind 1":     {server.PoolEventOptions{StreamOptions: server.StreamOptions{Tail: -1}, AfterID: 1, AfterTime: time.Unix(0x6a000000, 1)}, 2},
		"behind all":   {server.PoolEventOptions{StreamOptions: server.StreamOptions{Tail: -1}, AfterID: 5, AfterTime: time.Unix(0x6a000000, 5)}, 1},
		"earlier boot": {server.PoolEventOptions{StreamOptions: server.StreamOptions{Tail: -1}, AfterID: 500, AfterTime: time.Unix(0x69000000, 5)}, 3},
	} {
		n := 0
		if err := api.Events(ctx, c.o, func(*poolv1.StreamEventsResponse) error { n++; return nil }); err != nil || n != c.want {
			t.Errorf("%s: %d events, %v, want %d", name, n, err, c.want)
		}
	}
}

// TestPoolTended: a device that was pulled gets its spare, in a pool that is declared.
func TestPoolTended(t *testing.T) {
	t.Parallel()
	pulled := func(m *poolMachine) {
		spare := pool.Vdev{Name: "/dev/vdd1", Type: "disk", Class: pool.Spare, Path: "/dev/vdd1", GUID: 300, State: pool.Available}
		m.pools[0].Vdevs = append(m.pools[0].Vdevs, spare)
		m.turn("102", pool.Removed)
		m.pools[0].State = pool.Degraded
		m.disks = slices.DeleteFunc(m.disks, func(d pool.Disk) bool { return d.Device == "/dev/vdb" })
	}
	batch := []events.Event{{Class: events.Removed, EID: 9, Time: time.Now(), Pool: "tank", PoolGUID: 101, VdevGUID: 102, VdevType: "disk"}}
	tend := func(n *node) bool {
		pools, err := n.poolsForEvents(t.Context())
		return err == nil && n.tend(t.Context(), diagnose.New(diagnose.Config{}), batch, pools)
	}
	n, m := pooledNode(t, nil)
	n.await("the pool", func(s snapshot) bool { return poolCheck(s).Healthy })
	m.change(pulled)
	if !tend(n) || !slices.Contains(m.done(), "replace tank 102 /dev/vdd1") {
		t.Errorf("a declared pool: %q", m.done())
	}
	m.change(func(m *poolMachine) { m.fail = zfs.ErrBusy })
	if tend(n) {
		t.Error("what could not be done counts as done")
	}
	// Another disk is where the spare was: it is not taken.
	foreign := blankDisk("/dev/vdd", "FOREIGN")
	foreign.Devices, foreign.Contents = append(foreign.Devices, "/dev/vdd1"), "something"
	m.change(func(m *poolMachine) { m.fail, m.calls, m.disks = nil, nil, append(m.disks, foreign) })
	n.wakers[plan.Pools].Wake()
	n.await("the disk", func(s snapshot) bool {
		return slices.ContainsFunc(s.pools.Status.Disks, func(d pool.Disk) bool { return d.Device == foreign.Device })
	})
	spare := diagnose.Action{Kind: diagnose.UseSpare, Pool: "tank", VdevGUID: 102, Spares: []pool.Vdev{{Name: "/dev/vdd1", Path: "/dev/vdd1", GUID: 300}}}
	if err := n.actOn(t.Context(), spare); err == nil || slices.Contains(m.done(), "replace tank 102 /dev/vdd1") {
		t.Errorf("another disk in the place of the spare: %v, %q", err, m.done())
	}

	other := &poolMachine{}
	cfg := other.config()
	if err := other.Create(t.Context(), pool.Creation{Pool: "tank", Groups: []pool.Group{{Layout: pool.Mirror, Devices: []string{"/dev/vdb1", "/dev/vdc1"}}}}); err != nil {
		t.Fatal(err)
	}
	other.change(pulled)
	free := startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) { c.Pools = cfg })
	free.source.set(standalone(t))
	free.await("pools", func(s snapshot) bool { return s.pools.Satisfied })
	if !tend(free) || slices.Contains(other.done(), "replace tank 102 /dev/vdd1") {
		t.Errorf("a pool that is not declared: %q", other.done())
	}
}

// TestFaultOfAnUndeclaredPool: nothing is done for it, which is told once and not with every ten errors.
func TestFaultOfAnUndeclaredPool(t *testing.T) {
	t.Parallel()
	m := &poolMachine{}
	cfg := m.config()
	if err := m.Create(t.Context(), pool.Creation{Pool: "tank", Groups: []pool.Group{{Layout: pool.Mirror, Devices: []string{"/dev/vdb1", "/dev/vdc1"}}}}); err != nil {
		t.Fatal(err)
	}
	n := startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) { c.Pools = cfg })
	n.source.set(standalone(t))
	n.await("pools", func(s snapshot) bool { return s.pools.Satisfied })
	engine := diagnose.New(diagnose.Config{})
	one := events.Event{Class: events.Checksum, Pool: "tank", PoolGUID: 101, VdevGUID: 102, VdevType: "disk"}
	for range 3 {
		pools, err := n.poolsForEvents(t.Context())
		if err != nil || !n.tend(t.Context(), engine, slices.Repeat([]events.Event{one}, 10), pools) {
			t.Fatalf("not tended: %v", err)
		}
	}
	told := slices.DeleteFunc(n.told(server.EventAgent), func(text string) bool { return !strings.HasPrefix(text, string(diagnose.Degrade)) })
	if len(told) != 1 || !strings.Contains(told[0], "not declared to be written to") {
		t.Errorf("told %q", told)
	}
}

// TestReadOnlyIsNotTended: of a pool that is declared read-only nothing is changed for what happens to its devices.
func TestReadOnlyIsNotTended(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		m := &poolMachine{}
		declared := &config.Config{Pools: []config.Pool{{Name: "tank", Presence: config.PoolImported, ReadOnly: readOnly}}}
		a := &Agent{
			cfg: Config{Pools: m.config()}, log: slog.New(slog.DiscardHandler), now: time.Now, events: eventlog.New(time.Now), poolEvents: newPoolLog(),
			store: state.New(snapshot{input: plan.Input{Config: declared}}),
		}
		if err := m.Create(t.Context(), pool.Creation{Pool: "tank", Groups: []pool.Group{{Layout: pool.Mirror, Devices: []string{"/dev/vdb1", "/dev/vdc1"}}}}); err != nil {
			t.Fatal(err)
		}
		m.pools[0].Vdevs = append(m.pools[0].Vdevs, pool.Vdev{Name: "/dev/vdd1", Type: "disk", Class: pool.Spare, Path: "/dev/vdd1", GUID: 300, State: pool.Available})
		m.turn("102", pool.Removed)
		m.pools[0].State = pool.Degraded
		pools, err := a.poolsForEvents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pulled := events.Event{Class: events.Removed, EID: 9, Time: time.Now(), Pool: "tank", PoolGUID: 101, VdevGUID: 102, VdevType: "disk"}
		well := a.tend(t.Context(), diagnose.New(diagnose.Config{}), []events.Event{pulled}, pools)
		if done := slices.Contains(m.done(), "replace tank 102 /dev/vdd1"); !well || done == readOnly {
			t.Errorf("read-only %t: well %t, done %q", readOnly, well, m.done())
		}
	}
}

// TestMarksAreShown: a device with too many wrong checksums is marked, and who lists the pools sees that, and why, until its errors are cleared.
func TestMarksAreShown(t *testing.T) {
	t.Parallel()
	n, m := pooledNode(t, nil)
	n.await("the pool", func(s snapshot) bool { return poolCheck(s).Healthy })
	var of, device zfs.GUID
	errs := func(count uint64) {
		m.change(func(m *poolMachine) {
			leaf := &m.pools[0].Vdevs[0].Children[0]
			leaf.ChecksumErrors, of, device = count, m.pools[0].GUID, leaf.GUID
		})
	}
	errs(10)
	for i := range 10 {
		n.poolEvents.add(events.Event{Class: events.Checksum, EID: uint64(i + 1), Pool: "tank", PoolGUID: of, VdevGUID: device, ParentGUID: 1, VdevType: "disk"})
	}
	n.await("the mark", func(s snapshot) bool { return len(s.marks) == 1 })
	list, err := poolsAPI{n.Agent}.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	marks := map[uint64]string{}
	for _, p := range list.GetPools() {
		for _, top := range p.GetVdevs() {
			for _, leaf := range top.GetChildren() {
				if leaf.GetMark() != "" {
					marks[leaf.GetGuid()] = leaf.GetMark()
				}
			}
		}
	}
	if len(marks) != 1 || marks[uint64(device)] != "10 checksum errors in 10m0s" {
		t.Errorf("marks %v, want one of device %s", marks, device)
	}
	errs(0)
	n.poolEvents.add(events.Event{Class: events.ConfigSync, EID: 11, Pool: "tank", PoolGUID: of})
	n.await("the end of the mark", func(s snapshot) bool { return len(s.marks) == 0 })
}

// TestEventsAreKept: a fault that was reported while the pools could not be looked at, or none was declared yet, is acted on as soon as they can, or it is.
func TestEventsAreKept(t *testing.T) {
	declared := &config.Config{Pools: []config.Pool{{Name: "tank", Presence: config.PoolImported}}}
	t.Run("pools that cannot be looked at", func(t *testing.T) { keptEvents(t, zfs.ErrBusy, declared, declared) })
	t.Run("no configuration", func(t *testing.T) { keptEvents(t, nil, nil, declared) })
}

// keptEvents has a fault reported when a look at pools has an error, and a configuration is there, or not. Then all is in order.
func keptEvents(t *testing.T, blind error, before, after *config.Config) {
	synctest.Test(t, func(t *testing.T) {
		m := &poolMachine{}
		a := &Agent{
			cfg: Config{Pools: m.config()}, log: slog.New(slog.DiscardHandler), now: time.Now, events: eventlog.New(time.Now), poolEvents: newPoolLog(),
			store: state.New(snapshot{input: plan.Input{Config: before}}),
		}
		if err := m.Create(t.Context(), pool.Creation{Pool: "tank", Groups: []pool.Group{{Layout: pool.Mirror, Devices: []string{"/dev/vdb1", "/dev/vdc1"}}}}); err != nil {
			t.Fatal(err)
		}
		m.pools[0].Vdevs = append(m.pools[0].Vdevs, pool.Vdev{Name: "/dev/vdd1", Type: "disk", Class: pool.Spare, Path: "/dev/vdd1", GUID: 300, State: pool.Available})
		m.turn("102", pool.Removed)
		m.pools[0].State, m.blind = pool.Degraded, blind
		a.poolEvents.add(events.Event{Class: events.Removed, EID: 9, Time: time.Now(), Pool: "tank", PoolGUID: 101, VdevGUID: 102, VdevType: "disk"})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.tendPools(ctx) }()
		time.Sleep(time.Second)
		if slices.Contains(m.done(), "replace tank 102 /dev/vdd1") {
			t.Errorf("done before: %q", m.done())
		}
		m.change(func(m *poolMachine) { m.blind = nil })
		a.store.Update(func(s snapshot) snapshot { s.input.Config = after; return s })
		time.Sleep(poolEventsPause + poolResync)
		synctest.Wait()
		if !slices.Contains(m.done(), "replace tank 102 /dev/vdd1") {
			t.Errorf("done: %q", m.done())
		}
		cancel()
		<-ended
	})
}

func TestPoolLogForgets(t *testing.T) {
	l := newPoolLog()
	for i := range keepPoolEvents + 5 {
		l.add(events.Event{EID: uint64(i + 1)})
	}
	got, next, _ := l.since(0)
	if len(got) != keepPoolEvents || next != keepPoolEvents+5 || got[0].EID != 6 {
		t.Errorf("%d events before %d, the first is %d", len(got), next, got[0].EID)
	}
	if rest, next, _ := l.since(keepPoolEvents + 4); len(rest) != 1 || next != keepPoolEvents+5 {
		t.Errorf("%d events before %d", len(rest), next)
	}
	// Snapshots that are made and pruned push no fault out.
	l = newPoolLog()
	l.add(events.Event{Class: events.IO, EID: 1})
	for i := range 2 * keepPoolEvents {
		l.add(events.Event{Class: events.History, EID: uint64(i + 2)})
	}
	l.add(events.Event{Class: events.Removed, EID: 2*keepPoolEvents + 2})
	got, next, _ = l.since(0)
	if n := len(got); n != keepPoolHistory+2 || got[0].EID != 1 || got[1].EID != keepPoolHistory*3+2 || got[n-1].Class != events.Removed || next != 2*keepPoolEvents+2 {
		t.Errorf("%d events before %d, from %+v, %+v", n, next, got[0], got[1])
	}
	for i := range 2 * keepPoolEvents {
		l.add(events.Event{Class: events.IO, EID: uint64(2*keepPoolEvents + 3 + i)})
	}
	if got, _, _ = l.since(0); len(got) != keepPoolEvents || l.history != 0 {
		t.Errorf("%d events, %d of them of history", len(got), l.history)
	}
}
