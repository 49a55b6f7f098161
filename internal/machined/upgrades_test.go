package machined

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/cyvive/cyvive/internal/machined/boot/trial"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/machined/reset"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/release"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// twoSlots is a disk with two slots, and its boot loader.
type twoSlots struct {
	mu      sync.Mutex
	roots   map[string]string // root hash of each
	entries map[string]upgrade.Entry
	broken  error // of the boot partition
	blessed int   // how often an entry was
	written []byte
	// gate, where it is set, is waited for in the middle of writing.
	gate chan struct{}
}

func (d *twoSlots) Slot(_ context.Context, name string) (upgrade.Slot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return upgrade.Slot{RootHash: d.roots[name], RootBytes: 1 << 20, VerityBytes: 1 << 20}, nil
}

func (d *twoSlots) Write(ctx context.Context, name, rootHash string, root, tree io.Reader) error {
	data, err := io.ReadAll(root)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, tree); err != nil {
		return err
	}
	d.mu.Lock()
	gate := d.gate
	d.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roots[name], d.written = rootHash, data
	return nil
}

func (d *twoSlots) Read() (map[string]upgrade.Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]upgrade.Entry{}
	for _, slot := range []string{"a", "b"} {
		e := d.entries[slot]
		e.KernelBytes = 1 << 20
		out[slot] = e
	}
	return out, d.broken
}

func (d *twoSlots) change(slot string, e upgrade.Entry) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken == nil {
		d.entries[slot] = e
	}
	return d.broken
}

func (d *twoSlots) Put(slot, version string, _ int, kernel io.Reader) error {
	if kernel != nil {
		if _, err := io.Copy(io.Discard, kernel); err != nil {
			return err
		}
	}
	return d.change(slot, upgrade.Entry{Version: version, Counted: true})
}

func (d *twoSlots) Kernel(_ string, read func(*io.SectionReader) error) error {
	return read(io.NewSectionReader(strings.NewReader("kernel"), 0, 6))
}

func (d *twoSlots) Bless(slot string) error {
	d.mu.Lock()
	d.blessed++
	d.mu.Unlock()
	return d.change(slot, upgrade.Entry{Version: d.version(slot)})
}

// spoilt is the version of an entry that has no tries left.
const spoilt = "spoilt "

func (d *twoSlots) Spoil(slot string) error {
	return d.change(slot, upgrade.Entry{Version: spoilt + d.version(slot), Counted: true})
}
func (d *twoSlots) Forget(slot string) error { return d.change(slot, upgrade.Entry{}) }

func (d *twoSlots) version(slot string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.entries[slot].Version
}

func (d *twoSlots) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

// clock is the real one, moved.
type clock struct {
	mu    sync.Mutex
	moved time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.moved)
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved += d
}

func hash(digit string) string { return strings.Repeat(digit, 64) }

func releaseKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
}

var (
	oldRelease = upgrade.System{Version: "1.0.0", RootHash: hash("1"), Slot: "a"}
	newRelease = upgrade.System{Version: "2.0.0", RootHash: hash("2"), Slot: "b"}
)

// upgrading is a node of two slots.
type upgrading struct {
	*node
	disk  *twoSlots
	clock *clock
	dir   string
	runs  upgrade.System
}

// startUpgrading starts the agent of a release. Before it, another boot of the old release left the record.
func startUpgrading(t *testing.T, runs upgrade.System, record upgrade.Record, change func(*Config)) *upgrading {
	t.Helper()
	u := &upgrading{clock: &clock{}, dir: t.TempDir(), runs: runs, disk: &twoSlots{
		roots:   map[string]string{"a": oldRelease.RootHash, "b": newRelease.RootHash},
		entries: map[string]upgrade.Entry{"a": {Version: oldRelease.Version}},
	}}
	if record.Target == newRelease {
		u.disk.entries["b"] = upgrade.Entry{Version: newRelease.Version, Counted: true}
	}
	data, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(u.dir, "state")
	for _, dir := range []string{state, filepath.Join(u.dir, "data")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(state, "upgrade.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	guard := trial.NewGuard(runs == newRelease, time.Now())
	u.startAgent(t, storagetest.New(1<<30), func(c *Config) {
		c.Init.(*fakeInit).guard = guard
		change(c)
	})
	return u
}

// startAgent starts an agent of the boot.
func (u *upgrading) startAgent(t *testing.T, disk *storagetest.Machine, change func(*Config)) {
	t.Helper()
	u.node = startNodeWith(t, filepath.Join(u.dir, "state"), disk, func(c *Config) {
		c.Now = u.clock.now
		c.Boot.Version = server.Version{OS: u.runs.Version, RootHash: u.runs.RootHash, Slot: u.runs.Slot}
		c.Upgrades = &Upgrades{
			Slots: u.disk, Entries: u.disk, Architecture: "amd64", Keys: []ed25519.PublicKey{releaseKey().Public().(ed25519.PublicKey)},
			Pushed: filepath.Join(u.dir, "data/pushed"),
		}
		change(c)
	})
}

// restartAgent ends the agent, and starts another in the same boot, so long after the kernel's start. Init is the same, and its guard.
func (u *upgrading) restartAgent(t *testing.T, since time.Duration) {
	t.Helper()
	u.end()
	guard := u.init.guard
	u.startAgent(t, u.node.disk, func(c *Config) {
		c.Init.(*fakeInit).guard = guard
		c.Timeline.(*memoryTimeline).set(since)
	})
}

// neverReboots lets the agent look some times.
func (u *upgrading) neverReboots() {
	u.t.Helper()
	for range 3 {
		u.poke()
		<-time.After(upgradePause)
	}
	if slices.Contains(u.init.asked(), "reboot") {
		u.t.Errorf("init was asked for %v", u.init.asked())
	}
}

// poke has the agent look again.
func (u *upgrading) poke() { u.update(func(*snapshot) {}) }

// standalone is a configuration without a cluster.
func standalone(t *testing.T) []byte { return standaloneWithin(t, 5*time.Minute) }

// standaloneWithin is standalone with a deadline for trials.
func standaloneWithin(t *testing.T, deadline time.Duration) []byte {
	t.Helper()
	a, err := pki.NewAuthority("api", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	data, err := config.Marshal(&config.Config{Machine: config.Machine{
		Hostname: "node1", CA: config.KeyPair{Certificate: string(a.CertificatePEM()), Key: config.NewSecret(string(a.KeyPEM()))},
		Upgrade: config.Upgrade{Deadline: deadline},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func stage(want upgrade.Stage) func(snapshot) bool {
	return func(s snapshot) bool { return s.upgrade != nil && s.upgrade.Record.Stage == want }
}

func armed() upgrade.Record {
	return upgrade.Record{Stage: upgrade.Armed, Target: newRelease, From: oldRelease, Boot: "the boot before"}
}

// reasonOf is the reason of a health check.
func reasonOf(s snapshot, name string) string {
	i := slices.IndexFunc(s.checks, func(c server.Check) bool { return c.Name == name })
	if i < 0 {
		return "there is no check " + name
	}
	return s.checks[i].Reason
}

// renews has a node count how often its boot loader is asked for.
func renews(count *atomic.Int32) func(*Config) {
	return func(c *Config) {
		c.Upgrades.Renew = func() (string, error) {
			count.Add(1)
			return "version 2 in the place of 1", nil
		}
	}
}

// TestTrialIsBlessed: a release whose gates hold for a while stays, health says how long it is on trial, and init learns of both. Then its boot loader is put in
// the place of the one that there is, and not before.
func TestTrialIsBlessed(t *testing.T) {
	t.Parallel()
	var renewed atomic.Int32
	u := startUpgrading(t, newRelease, armed(), renews(&renewed))
	u.await("trial", stage(upgrade.Trial))
	u.await("its reason in health", func(s snapshot) bool {
		return strings.HasPrefix(reasonOf(s, "upgrade"), "version 2.0.0 is on trial and waits for: config: ")
	})
	u.source.set(standalone(t))
	u.await("all else in order", func(s snapshot) bool {
		return !slices.ContainsFunc(s.checks, func(c server.Check) bool { return !c.Healthy && c.Name != upgradeCheck })
	})
	if slices.ContainsFunc(u.init.asked(), func(s string) bool { return strings.HasPrefix(s, "trial") }) {
		t.Errorf("init was told before there was something to tell: %v", u.init.asked())
	}
	if renewed.Load() > 0 {
		t.Error("the boot loader was replaced during the trial")
	}
	// A minute of life is a sign of it; that all has held for half a minute blesses.
	u.clock.move(trial.SignEvery)
	u.poke()
	u.await("blessed", stage(upgrade.Idle))
	if e := u.disk.entries["b"]; e.Counted || e.Version != "2.0.0" {
		t.Errorf("entry %+v", e)
	}
	u.await("health", func(s snapshot) bool { return healthy(s, "upgrade") })
	u.awaitInit("trial false")
	u.awaitOther("the boot loader", func() bool { return renewed.Load() == 1 })
	if l := u.snapshot().upgrade.Record.Last; l == nil || !l.Succeeded || l.Target != newRelease {
		t.Errorf("outcome %+v", l)
	}
	if slices.Contains(u.init.asked(), "reboot") {
		t.Errorf("init was asked for %v", u.init.asked())
	}
}

// awaitInit waits until init was asked.
func (u *upgrading) awaitInit(call string) {
	u.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if slices.Contains(u.init.asked(), call) {
			return
		}
		u.poke()
		<-time.After(20 * time.Millisecond)
	}
	u.t.Fatalf("init was asked for %v, not for %q", u.init.asked(), call)
}

// TestTrialGoesBack: a release that has no network at its deadline goes back, and says why in every place.
func TestTrialGoesBack(t *testing.T) {
	t.Parallel()
	var renewed atomic.Int32
	u := startUpgrading(t, newRelease, armed(), renews(&renewed))
	u.host.SetCarrier("eth0", false)
	u.source.set(standalone(t))
	u.await("trial without network", func(s snapshot) bool {
		return stage(upgrade.Trial)(s) && healthy(s, "config") && healthy(s, "storage") && healthy(s, "confinement") && !healthy(s, "network")
	})
	u.clock.move(trial.SignEvery)
	u.awaitInit("trial true")
	u.timeline.set(5*time.Minute - time.Second)
	u.poke()
	<-time.After(2 * upgradePause)
	if stage(upgrade.Reverting)(u.snapshot()) {
		t.Fatal("it goes back before its deadline")
	}
	u.timeline.set(5 * time.Minute)
	u.awaitInit("reboot")
	u.await("the way back", stage(upgrade.Reverting))
	const why = "going back to version 1.0.0: not well 5m0s after its start: network: link eth0 has no carrier (cable or peer)"
	if got := reasonOf(u.snapshot(), "upgrade"); got != why {
		t.Errorf("health says %q, want %q", got, why)
	}
	if got := u.disk.version("b"); got != spoilt+"2.0.0" {
		t.Errorf("the entry has version %q, want it spoilt", got)
	}
	status, err := upgradesAPI{u.Agent}.UpgradeStatus(t.Context())
	if err != nil || status.Stage != server.UpgradeReverting || !strings.Contains(status.Reason, "has no carrier") {
		t.Errorf("status %+v, %v", status, err)
	}
	if err := u.Teardown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if boots := u.history.get().Boots(); boots[len(boots)-1].Reason != why {
		t.Errorf("the ledger says %q, want %q", boots[len(boots)-1].Reason, why)
	}
	// Init ends what does not go down by itself: it hears no more of the agent.
	before := len(u.init.asked())
	u.clock.move(10 * time.Minute)
	u.poke()
	<-time.After(2 * upgradePause)
	if after := u.init.asked(); len(after) != before || slices.Contains(after, "trial false") {
		t.Errorf("init was told %v", after)
	}
	if renewed.Load() > 0 {
		t.Error("the boot loader was replaced by that of a release that goes back")
	}
}

// TestGoesBackAgain: a reboot that could not be begun is asked for again, whoever counts.
func TestGoesBackAgain(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, newRelease, armed(), func(c *Config) {
		c.Init.(*fakeInit).refuse = []error{errors.New("init is busy")}
	})
	u.await("trial", stage(upgrade.Trial))
	u.source.set(standalone(t))
	u.await("configuration", func(s snapshot) bool { return healthy(s, "config") })
	u.timeline.set(5 * time.Minute)
	u.poke()
	u.awaitInit("reboot")
	if !stage(upgrade.Reverting)(u.snapshot()) {
		t.Errorf("it reboots in stage %s", u.snapshot().upgrade.Record.Stage)
	}
}

// TestTrialFailedBefore: the release before the trial runs again, and the ledger says why, also of a boot that left nothing else.
func TestTrialFailedBefore(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, oldRelease, armed(), func(c *Config) {
		c.Crash = func() (string, error) { return "kernel panic: no init", nil }
	})
	u.await("idle", stage(upgrade.Idle))
	u.awaitInit("trial false")
	if l := u.snapshot().upgrade.Record.Last; l == nil || l.Succeeded || l.Reason != "kernel panic: no init" {
		t.Errorf("outcome %+v", l)
	}
	boots, err := bootsAPI{u.Agent}.Boots(t.Context())
	if err != nil || len(boots) != 2 {
		t.Fatalf("boots %+v, %v", boots, err)
	}
	want := server.Boot{End: server.BootUnclean, Version: "2.0.0", Slot: "b", Reason: "fell back to version 1.0.0: kernel panic: no init"}
	if d := cmp.Diff(want, boots[1]); d != "" {
		t.Errorf("the boot of the trial (-want +got):\n%s", d)
	}
}

// TestUndecidedTrialEnds: a release that cannot read its boot partition cannot go back by itself; the machine starts again, and the boot loader counts.
func TestUndecidedTrialEnds(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, newRelease, armed(), func(c *Config) {
		c.Upgrades.Entries.(*twoSlots).fail(errors.New("input/output error"))
	})
	u.source.set(standalone(t))
	u.await("the reason", func(s snapshot) bool {
		return healthy(s, "config") && strings.Contains(reasonOf(s, "upgrade"), "input/output error")
	})
	if _, err := (upgradesAPI{u.Agent}).UpgradeStatus(t.Context()); !errors.Is(err, server.ErrUnavailable) {
		t.Errorf("status: %v", err)
	}
	u.timeline.set(5*time.Minute + undecidedGrace - time.Second)
	u.poke()
	<-time.After(2 * upgradePause)
	if slices.Contains(u.init.asked(), "reboot") {
		t.Fatal("it ends before its time")
	}
	u.timeline.set(5*time.Minute + undecidedGrace)
	u.neverReboots() // the agent is too young to know
	u.clock.move(undecidedGrace)
	u.awaitInit("reboot")
}

// TestUndecidedWithoutCount: the same, and the boot loader has not counted the start: to start again would lead to the same for ever.
func TestUndecidedWithoutCount(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, newRelease, armed(), func(c *Config) {
		c.Init.(*fakeInit).guard = nil
		c.Upgrades.Entries.(*twoSlots).fail(errors.New("input/output error"))
	})
	u.await("the reason", func(s snapshot) bool { return strings.Contains(reasonOf(s, "upgrade"), "input/output error") })
	u.timeline.set(48 * time.Hour)
	u.clock.move(48 * time.Hour)
	u.neverReboots()
}

// TestRestartAfterTheTrial: an agent that is started again long after its release was blessed leaves the node alone, also when the record of the blessing
// was never stored and the disk cannot be read for a while.
func TestRestartAfterTheTrial(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, newRelease, armed(), func(*Config) {})
	u.await("trial", stage(upgrade.Trial))
	record := filepath.Join(u.state, "upgrade.json")
	if err := errors.Join(os.Rename(record, record+".old"), os.Mkdir(record, 0o700)); err != nil {
		t.Fatal(err)
	}
	u.source.set(standalone(t))
	u.await("all else in order", func(s snapshot) bool {
		return !slices.ContainsFunc(s.checks, func(c server.Check) bool { return !c.Healthy && c.Name != upgradeCheck })
	})
	u.clock.move(trial.SignEvery)
	u.awaitInit("trial false")

	u.end()
	if err := errors.Join(os.Remove(record), os.Rename(record+".old", record)); err != nil {
		t.Fatal(err)
	}
	u.disk.fail(errors.New("input/output error"))
	u.restartAgent(t, 48*time.Hour)
	u.await("the reason", func(s snapshot) bool { return strings.Contains(reasonOf(s, "upgrade"), "input/output error") })
	u.clock.move(undecidedGrace)
	u.neverReboots()
	u.disk.fail(nil)
	u.await("it is looked at again", stage(upgrade.Idle))
	if l := u.snapshot().upgrade.Record.Last; l == nil || !l.Succeeded {
		t.Errorf("outcome %+v", l)
	}
}

// TestRestartUntold: the same, and init was never told: the agent of before ended at just that moment.
func TestRestartUntold(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, newRelease, upgrade.Record{Stage: upgrade.Idle}, func(c *Config) {
		c.Upgrades.Entries.(*twoSlots).entries["b"] = upgrade.Entry{Version: newRelease.Version}
		c.Timeline.(*memoryTimeline).set(48 * time.Hour)
	})
	u.awaitInit("trial false")
	u.neverReboots()
	if got := u.disk.version("b"); got != newRelease.Version {
		t.Errorf("the entry has version %q", got)
	}
}

// TestRestartAmidTheTrial: an agent that is started again in a trial does not take the default of a deadline for that of the configuration, which it has to
// find first, and the state volume before it.
func TestRestartAmidTheTrial(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, newRelease, armed(), func(*Config) {})
	u.await("trial", stage(upgrade.Trial))
	u.end()
	u.node.disk.Boot(true)
	u.node.disk.FailPower(0)
	u.restartAgent(t, 20*time.Minute)
	u.neverReboots()
	u.clock.move(undecidedGrace - 40*time.Second)
	u.node.disk.Boot(true)
	u.await("trial", stage(upgrade.Trial))
	u.clock.move(40 * time.Second) // more than the grace since the start of the agent, and less since there is a place for a configuration
	u.neverReboots()
	if !stage(upgrade.Trial)(u.snapshot()) {
		t.Fatalf("without a configuration it is now %s", u.snapshot().upgrade.Record.Stage)
	}
	u.source.set(standaloneWithin(t, time.Hour))
	u.await("all else in order", func(s snapshot) bool {
		return !slices.ContainsFunc(s.checks, func(c server.Check) bool { return !c.Healthy && c.Name != upgradeCheck })
	})
	u.clock.move(trial.SignEvery)
	u.await("blessed", stage(upgrade.Idle))
	u.awaitInit("trial false")
	u.neverReboots()
}

// TestBlessedWithoutRecord: a release is blessed, and the disk then takes no record of it. It stays: a reboot would take nothing back.
func TestBlessedWithoutRecord(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, newRelease, armed(), func(*Config) {})
	u.await("trial", stage(upgrade.Trial))
	record := filepath.Join(u.state, "upgrade.json")
	if err := errors.Join(os.Rename(record, record+".old"), os.Mkdir(record, 0o700)); err != nil {
		t.Fatal(err)
	}
	u.source.set(standalone(t))
	u.await("all else in order", func(s snapshot) bool {
		return !slices.ContainsFunc(s.checks, func(c server.Check) bool { return !c.Healthy && c.Name != upgradeCheck })
	})
	u.clock.move(trial.SignEvery)
	u.awaitInit("trial false")
	if entries, err := u.disk.Read(); err != nil || entries["b"].Counted {
		t.Errorf("entries %+v, %v", entries, err)
	}
	u.timeline.set(5*time.Minute + undecidedGrace)
	u.neverReboots()
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}
	u.await("a record", stage(upgrade.Idle))
	u.neverReboots()
	u.disk.mu.Lock()
	defer u.disk.mu.Unlock()
	if u.disk.blessed != 1 {
		t.Errorf("the entry was blessed %d times", u.disk.blessed)
	}
}

// TestNoTrialIsNotEnded: the same disk, and no trial: the node goes on.
func TestNoTrialIsNotEnded(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, oldRelease, upgrade.Record{Stage: upgrade.Idle}, func(c *Config) {
		c.Upgrades.Entries.(*twoSlots).fail(errors.New("input/output error"))
	})
	u.await("the reason", func(s snapshot) bool { return strings.Contains(reasonOf(s, "upgrade"), "input/output error") })
	u.timeline.set(48 * time.Hour)
	u.clock.move(48 * time.Hour)
	u.neverReboots()
	u.disk.fail(nil)
	u.await("it is looked at again", stage(upgrade.Idle))
	u.awaitInit("trial false")
}

// TestWithoutSlots: a node that was not started from a slot tells init so, and refuses upgrades.
func TestWithoutSlots(t *testing.T) {
	n := startNode(t, t.TempDir(), storagetest.New(1<<30))
	u := &upgrading{node: n, clock: &clock{}}
	u.awaitInit("trial false")
	if _, err := (upgradesAPI{n.Agent}).Rollback(t.Context(), true); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("roll back: %v", err)
	}
	if got := reasonOf(n.snapshot(), "upgrade"); got != "there is no check upgrade" {
		t.Errorf("health: %s", got)
	}
}

// bundle is a release, signed with a key.
func bundle(t *testing.T, key ed25519.PrivateKey, version string) []byte {
	t.Helper()
	return bundleOf(t, key, version, []byte("kernel"))
}

// bundleOf is bundle with a kernel image.
func bundleOf(t *testing.T, key ed25519.PrivateKey, version string, kernel []byte) []byte {
	t.Helper()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	root := strings.Repeat("root ", 1000)
	content := map[string][]byte{release.Kernel: kernel, release.Verity: []byte("tree"), release.Root: encoder.EncodeAll([]byte(root), nil)}
	m := release.Manifest{Version: version, Architecture: "amd64", RootHash: hash("3"), RootBytes: int64(len(root))}
	for _, name := range []string{release.Kernel, release.Verity, release.Root} {
		sum := sha256.Sum256(content[name])
		m.Files = append(m.Files, release.File{Name: name, Bytes: int64(len(content[name])), SHA256: hex.EncodeToString(sum[:])})
	}
	envelope, err := release.Sign(m, key)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := release.Write(&out, envelope, m, func(name string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content[name])), nil }); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestUpgradeByTheAPI goes from a push to the reboot.
func TestUpgradeByTheAPI(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, oldRelease, upgrade.Record{Stage: upgrade.Idle}, func(*Config) {})
	u.source.set(standalone(t))
	u.await("idle, in order", func(s snapshot) bool { return stage(upgrade.Idle)(s) && inOrder(s) })
	api, ctx := upgradesAPI{u.Agent}, t.Context()
	good := bundle(t, releaseKey(), "1.1.0")
	stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
	for name, test := range map[string]struct {
		data []byte
		want error
	}{
		"cut":             {good[:len(good)-3000], server.ErrInvalid},
		"altered":         {bytes.Replace(good, []byte("tree"), []byte("Tree"), 1), server.ErrInvalid},
		"a stranger's":    {bundle(t, stranger, "1.1.0"), server.ErrDenied},
		"older":           {bundle(t, releaseKey(), "0.9.0"), server.ErrPrecondition},
		"nothing at all":  {nil, server.ErrInvalid},
		"another archive": {bytes.Repeat([]byte("x"), 4096), server.ErrInvalid},
	} {
		if _, err := api.Push(ctx, server.UpgradeAllow{}, bytes.NewReader(test.data)); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	none := func(int64, int64) error { return nil }
	if _, err := api.Install(ctx, true, none); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("install without a push: %v", err)
	}
	want := server.System{Version: "1.1.0", Slot: "b", RootHash: hash("3")}
	if got, err := api.Push(ctx, server.UpgradeAllow{}, bytes.NewReader(good)); got != want || err != nil {
		t.Fatalf("push: %+v, %v", got, err)
	}
	// A caller who cannot be told how far it is ends it, and nothing is armed.
	lost := errors.New("the client has hung up")
	u.disk.gate = make(chan struct{})
	if _, err := api.Install(ctx, true, func(int64, int64) error { return lost }); !errors.Is(err, lost) {
		t.Errorf("install for nobody: %v", err)
	}
	if s, err := api.UpgradeStatus(ctx); err != nil || s.Stage != server.UpgradeIdle || s.Last == nil || s.Last.Succeeded {
		t.Errorf("after it: %+v, %v", s, err)
	}
	var progress []int64
	got, err := api.Install(ctx, true, func(written, total int64) error {
		if progress = append(progress, written, total); len(progress) == 2 {
			close(u.disk.gate)
		}
		return nil
	})
	if got != want || err != nil || len(progress) == 0 {
		t.Fatalf("install: %+v, %v, progress %v", got, err, progress)
	}
	if slices.Contains(u.init.asked(), "reboot") {
		t.Error("a staged upgrade reboots")
	}
	status, err := api.UpgradeStatus(ctx)
	if err != nil || status.Stage != server.UpgradeArmed || status.Target != want || status.Other != want || status.Deadline != 5*time.Minute || status.TotalBytes != 0 {
		t.Errorf("status %+v, %v", status, err)
	}
	if _, err := api.Push(ctx, server.UpgradeAllow{}, bytes.NewReader(good)); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "starts with the next reboot") {
		t.Errorf("push while armed: %v", err)
	}
	if err := api.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	if err := api.Cancel(ctx); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("cancel twice: %v", err)
	}
	if got, err := api.Rollback(ctx, false); got.Slot != "b" || err != nil {
		t.Errorf("to the other slot: %+v, %v", got, err)
	}
	if !slices.Contains(u.init.asked(), "reboot") {
		t.Errorf("init was asked for %v", u.init.asked())
	}
	if _, err := api.Push(ctx, server.UpgradeAllow{}, bytes.NewReader(good)); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "going down") {
		t.Errorf("push while the machine goes down: %v", err)
	}
}

// TestGateOfAMoment: what does not hold at the beginning of an upgrade, and does a moment later, is asked of the new release; what does not hold for longer is
// not.
func TestGateOfAMoment(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, oldRelease, upgrade.Record{Stage: upgrade.Idle}, func(c *Config) { c.Pace.GateGrace = 3 * time.Second })
	u.source.set(standalone(t))
	u.await("idle, in order", func(s snapshot) bool {
		return stage(upgrade.Idle)(s) && !slices.ContainsFunc(s.checks, func(c server.Check) bool { return !c.Healthy })
	})
	api, ctx := upgradesAPI{u.Agent}, t.Context()
	listens := func(is bool) { u.update(func(s *snapshot) { s.listening, s.listeningSince = is, time.Now() }) }
	for _, c := range []struct {
		name   string
		lasts  time.Duration
		waived []string
	}{{"for long", 0, []string{"api"}}, {"for a moment", 200 * time.Millisecond, nil}} {
		if _, err := api.Push(ctx, server.UpgradeAllow{}, bytes.NewReader(bundle(t, releaseKey(), "1.1.0"))); err != nil {
			t.Fatal(err)
		}
		listens(false)
		if c.lasts > 0 {
			time.AfterFunc(c.lasts, func() { listens(true) })
		}
		if _, err := api.Install(ctx, true, func(int64, int64) error { return nil }); err != nil {
			t.Fatal(err)
		}
		status, err := api.UpgradeStatus(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var waived []string
		for _, g := range status.Gates {
			if g.Waived {
				waived = append(waived, g.Name)
			}
		}
		if !slices.Equal(waived, c.waived) {
			t.Errorf("%s: not asked for %q, want %q", c.name, waived, c.waived)
		}
		if err := api.Cancel(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhileComingUp: what has not come up yet is asked of a release. When the deadline is over, what is missing is broken, and an upgrade may be what mends it.
func TestWhileComingUp(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, oldRelease, upgrade.Record{Stage: upgrade.Idle}, func(*Config) {})
	u.await("idle", stage(upgrade.Idle))
	api, ctx := upgradesAPI{u.Agent}, t.Context()
	if _, err := api.Push(ctx, server.UpgradeAllow{}, bytes.NewReader(bundle(t, releaseKey(), "1.1.0"))); err != nil {
		t.Fatal(err)
	}
	none := func(int64, int64) error { return nil }
	hungUp, hangUp := context.WithCancel(ctx)
	hangUp()
	if _, err := api.Rollback(hungUp, false); !errors.Is(err, context.Canceled) {
		t.Errorf("roll back for nobody: %v", err)
	}
	if _, err := api.Install(ctx, true, none); err != nil {
		t.Fatal(err)
	}
	if got := u.snapshot().upgrade.Record.Waived; len(got) > 0 {
		t.Errorf("not asked for %q", got)
	}
	if _, err := api.Install(ctx, true, none); !errors.Is(err, upgrade.ErrBusy) {
		t.Errorf("a second one: %v", err)
	}
	if err := api.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	u.timeline.set(config.DefaultUpgradeDeadline)
	if _, err := api.Rollback(ctx, true); err != nil {
		t.Fatal(err)
	}
	if got := u.snapshot().upgrade.Record.Waived; !slices.Contains(got, "config") {
		t.Errorf("not asked for %q", got)
	}
}

// TestUpgradeDuringReset: a node that leaves its cluster for a reset takes no other release.
func TestUpgradeDuringReset(t *testing.T) {
	t.Parallel()
	var note atomic.Pointer[[]byte]
	u := startUpgrading(t, oldRelease, upgrade.Record{Stage: upgrade.Idle}, func(c *Config) {
		c.Resets = &Resets{Read: func() ([]byte, error) {
			if data := note.Load(); data != nil {
				return *data, nil
			}
			return nil, nil
		}}
	})
	u.source.set(standalone(t))
	u.await("idle, in order", func(s snapshot) bool { return stage(upgrade.Idle)(s) && inOrder(s) })
	data, err := reset.Begin([]string{"data"}, false, false, "a boot", "alice").Encode()
	if err != nil {
		t.Fatal(err)
	}
	note.Store(&data)
	api, ctx := upgradesAPI{u.Agent}, t.Context()
	_, pushed := api.Push(ctx, server.UpgradeAllow{}, bytes.NewReader(bundle(t, releaseKey(), "1.1.0")))
	_, installed := api.Install(ctx, true, func(int64, int64) error { return nil })
	_, back := api.Rollback(ctx, true)
	for what, err := range map[string]error{"push": pushed, "install": installed, "roll back": back} {
		if !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "a reset is under way: wipe data, asked for by alice") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestGateAfterWriting: what has come up while the release was written is asked of it.
func TestGateAfterWriting(t *testing.T) {
	t.Parallel()
	u := startUpgrading(t, oldRelease, upgrade.Record{Stage: upgrade.Idle}, func(c *Config) {
		c.Timeline.(*memoryTimeline).set(config.DefaultUpgradeDeadline)
	})
	u.await("idle", stage(upgrade.Idle))
	api, ctx := upgradesAPI{u.Agent}, t.Context()
	if _, err := api.Push(ctx, server.UpgradeAllow{}, bytes.NewReader(bundle(t, releaseKey(), "1.1.0"))); err != nil {
		t.Fatal(err)
	}
	u.disk.gate = make(chan struct{})
	come := sync.OnceFunc(func() {
		u.source.set(standalone(t))
		u.await("all in order", inOrder)
		close(u.disk.gate)
	})
	if _, err := api.Install(ctx, true, func(int64, int64) error { come(); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := u.snapshot().upgrade.Record.Waived; len(got) > 0 {
		t.Errorf("not asked for %q", got)
	}
}

// inOrder is a node of which nothing is missing.
func inOrder(s snapshot) bool {
	return !slices.ContainsFunc(gates(s), func(g upgrade.Gate) bool { return !g.Holds })
}

// TestCrashIsNoted: what the kernel left of an ordinary boot is its reason, once.
func TestCrashIsNoted(t *testing.T) {
	state := t.TempDir()
	l, _, err := ledger.Open(filepath.Join(state, "boots.jsonl"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Begin(ledger.Boot{ID: "before", StartedAt: time.Unix(500, 0)}, true); err != nil {
		t.Fatal(err)
	}
	disk := storagetest.New(0)
	first := startNode(t, t.TempDir(), disk)
	first.await("volumes", func(s snapshot) bool { return s.identity })
	first.end()
	disk.Boot(false)
	n := startNodeWith(t, state, disk, func(c *Config) {
		c.Crash = func() (string, error) { return "kernel panic: bad", errors.New("one record cannot be read") }
	})
	n.await("identity", func(s snapshot) bool { return s.identity })
	boots := n.history.get().Boots()
	if len(boots) != 2 || boots[0].Reason != "kernel panic: bad" || boots[0].End != ledger.Unclean {
		t.Errorf("boots %+v", boots)
	}
}

// TestInitOutlastsEveryDeadline: init must not end a trial that the agent may still bless.
func TestInitOutlastsEveryDeadline(t *testing.T) {
	if trial.Longest <= config.MaxUpgradeDeadline+undecidedGrace {
		t.Errorf("init ends a trial after %s, and a deadline may be %s", trial.Longest, config.MaxUpgradeDeadline)
	}
	if trial.Silence < 2*trial.SignEvery+2*upgradeRetry {
		t.Errorf("init takes %s for silence, and a sign comes every %s", trial.Silence, trial.SignEvery)
	}
}

// TestGates: health is what a release is judged by, but for the check that tells of the judgement.
func TestGates(t *testing.T) {
	at := time.Unix(1000, 0)
	s := snapshot{upgradable: true, upgradeProblem: "x"}
	s.checks = dated(nil, health(s), at)
	var names []string
	for _, g := range gates(s) {
		names = append(names, fmt.Sprint(g.Name, " ", g.Holds))
		if !g.Holds && g.Reason == "" {
			t.Errorf("gate %s does not say what is missing", g.Name)
		}
	}
	want := []string{
		"api false", "config false", "network false", "storage false", "identity false", "confinement false",
		"etcd false", "kube-apiserver false", "node false", "services false",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("gates (-want +got):\n%s", d)
	}
}
