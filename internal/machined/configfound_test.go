package machined

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/configstore"
	"github.com/cyvive/cyvive/internal/machined/install"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

// setUp is a machine whose source once had its configuration.
type setUp struct {
	*node
	disk  *storagetest.Machine
	vault *vault
	docs  []byte
}

// setUpBy sets one up whose disk is opened in a mode; empty is plain.
func setUpBy(t *testing.T, mode config.EncryptionMode) *setUp {
	t.Helper()
	s := &setUp{disk: storagetest.New(1 << 30), docs: standalone(t)}
	if mode != "" {
		s.docs, s.vault = withEncryption(t, mode), &vault{disk: s.disk, key: recovery.New()}
	}
	s.startIn(t, t.TempDir(), "first", func(p *source) { p.set(s.docs) })
	s.await("its configuration", func(s snapshot) bool {
		return s.input.Config != nil && s.input.Kept && s.storage.Status.Ready && s.identity
	})
	return s
}

func (s *setUp) startIn(t *testing.T, state, boot string, prepare func(*source)) {
	t.Helper()
	s.node = startNodeWith(t, state, s.disk, func(c *Config) {
		if s.vault != nil {
			withTPM(s.disk, s.vault)(c)
		}
		c.Boot.ID = boot
		prepare(c.Source.(*source))
	})
}

// boots starts the machine once more, whose source is another then.
func (s *setUp) boots(t *testing.T, boot string, prepare func(*source)) {
	t.Helper()
	s.end()
	s.disk.Boot(true)
	s.startIn(t, s.state, boot, prepare)
}

func (s *setUp) other() []byte { return []byte(strings.Replace(string(s.docs), "node1", "other", 1)) }

func (s *setUp) record() configstore.Record {
	s.configs.mu.Lock()
	defer s.configs.mu.Unlock()
	return s.configs.store.Record()
}

// is looks for a configuration in force by its host name, and for the record: which revision is current, and how many there were.
func (s *setUp) is(t *testing.T, when, hostname string, current, newest uint64) {
	t.Helper()
	s.await("a configuration: "+when, func(s snapshot) bool { return s.input.Config != nil })
	got := s.snapshot().input.Config.Machine.Hostname
	if r := s.record(); got != hostname || r.Current != current || r.Newest != newest {
		t.Errorf("%s: the host name is %q, want %q; the record is %+v", when, got, hostname, r)
	}
}

// TestFoundStays: what a source had is the node's configuration from then on. It does not matter what that place, or one before it, has at a later start, which may
// be a volume that a pod has labelled; nor that none has anything, or that one is away. Once state is made anew, they are asked again.
func TestFoundStays(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]config.EncryptionMode{"plain": "", "encrypted": config.EncryptionTPM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setUpBy(t, mode)
			for boot, prepare := range map[string]func(*source){
				"the same place has another":   func(p *source) { p.set(s.other()) },
				"a place before it has one":    func(p *source) { p.doc = &Document{Name: "cidata: user-data", Data: s.other()} },
				"the same place has nonsense":  func(p *source) { p.set([]byte("kind: Planet\n")) },
				"none has anything":            func(*source) {},
				"the metadata service is away": func(p *source) { p.fail(&Waiting{For: "the metadata service"}) },
				"a place cannot be read":       func(p *source) { p.fail(os.ErrPermission) },
			} {
				s.boots(t, boot, prepare)
				s.is(t, boot, "node1", 1, 1)
			}
			s.end()
			if err := os.RemoveAll(filepath.Join(s.state, "config")); err != nil {
				t.Fatal(err)
			}
			if mode != "" {
				s.disk.SetContents("/dev/vda7", storage.Contents{Blank: true})
				s.disk.ForgetKey(storage.Data)
			}
			s.boots(t, "state is made anew", func(p *source) { p.set(s.other()) })
			s.is(t, "state is made anew", "other", 1, 1)
		})
	}
}

// TestAppliedStays: what was applied is there when the source has another, or what is no configuration.
func TestAppliedStays(t *testing.T) {
	t.Parallel()
	s := setUpBy(t, "")
	s.end()
	applied(t, s.state, []byte(strings.Replace(string(s.docs), "node1", "node2", 1)))
	for boot, data := range map[string][]byte{"as before": s.docs, "another": s.other(), "nonsense": []byte("kind: Planet\n")} {
		s.boots(t, boot, func(p *source) { p.set(data) })
		s.is(t, boot, "node2", 2, 2)
	}
}

// TestPlainAndDamaged: a plain disk of which nothing can be read asks its source where that gave the configuration that was on it, and not where it was applied: then
// the owner gives it another.
func TestPlainAndDamaged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		applied bool
		pattern string
		// hostname is that of what is in force; none where it is empty.
		hostname        string
		current, newest uint64
	}{
		"found, and the records are gone":   {false, "record-*", "node1", 1, 1},
		"found, and the revision is gone":   {false, "revision-*", "other", 2, 2},
		"applied, and the newest is gone":   {true, "revision-00000002", "node1", 1, 2},
		"applied, and all are gone":         {true, "revision-*", "", 0, 2},
		"applied, and all there is is gone": {true, "*", "", 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setUpBy(t, "")
			s.end()
			if c.applied {
				applied(t, s.state, []byte(strings.Replace(string(s.docs), "node1", "node2", 1)))
			}
			(&stolen{state: s.state}).spoil(t, c.pattern)
			s.boots(t, "second", func(p *source) { p.set(s.other()) })
			if c.hostname != "" {
				s.is(t, name, c.hostname, c.current, c.newest)
				return
			}
			s.await("the reason", func(s snapshot) bool { return strings.HasPrefix(s.configProblem, errNoneLeft.Error()) && s.without })
			time.Sleep(2 * s.cfg.Pace.SlowSearch)
			if r := s.record(); s.snapshot().input.Config != nil || r.Current != 0 || r.Newest != c.newest {
				t.Errorf("in force is %v, the record is %+v", s.snapshot().input.Config, r)
			}
			request := server.ConfigRequest{By: "owner", Mode: server.ConfigAuto, ConfigDocument: server.ConfigDocument{Document: string(s.docs)}}
			if _, err := (configsAPI{s.Agent}).ApplyConfig(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			s.await("what its owner gives it", func(s snapshot) bool { return s.input.Config != nil && s.input.Config.Machine.Hostname == "node1" })
		})
	}
}

// TestPlainComesLate: a plain state volume comes when the configuration of the source is in force already. What is stored on it counts, and is not replaced.
func TestPlainComesLate(t *testing.T) {
	t.Parallel()
	s := setUpBy(t, "")
	s.end()
	s.disk.Boot(true)
	s.disk.FailPower(0)
	s.startIn(t, s.state, "second", func(p *source) { p.set(s.other()) })
	s.await("what the source has", func(s snapshot) bool {
		return s.input.Config != nil && s.input.Config.Machine.Hostname == "other" && s.came == missed
	})
	s.disk.FailPower(-1)
	s.wakers[plan.Storage].Wake()
	s.await("what is stored", func(s snapshot) bool { return mounted(s, storage.State) && s.input.Config.Machine.Hostname == "node1" })
	s.is(t, "afterwards", "node1", 1, 1)
}

// TestFoundThatCannotBeUsed: a release that cannot use what a source once gave the node says so, for its trial to fail. The source, which has better by now, does not
// take its place; its owner does.
func TestFoundThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	s := setUpBy(t, "")
	s.end()
	store, err := configstore.Open(configstore.OSDir(filepath.Join(s.state, "config")), configstore.Config{
		Now: time.Now, Boot: "of the next release", SinceBoot: func() time.Duration { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Add(configstore.Revision{Mode: configstore.Source, Document: newerDocument(s.docs)},
		func(r configstore.Record, n uint64) (configstore.Record, error) { return r.Found(n) })
	if err != nil {
		t.Fatal(err)
	}
	s.boots(t, "second", func(p *source) { p.set(s.docs) })
	s.await("the reason", func(s snapshot) bool {
		return strings.HasPrefix(reasonOf(s, "config"), "use revision 2 of the state volume: revision 2:") && s.without
	})
	time.Sleep(2 * s.cfg.Pace.SlowSearch)
	if r := s.record(); s.snapshot().input.Config != nil || r.Current != 2 || r.Newest != 2 {
		t.Errorf("in force is %v, the record is %+v", s.snapshot().input.Config, r)
	}
	request := server.ConfigRequest{By: "owner", Mode: server.ConfigAuto, ConfigDocument: server.ConfigDocument{Document: string(s.docs)}}
	if _, err := (configsAPI{s.Agent}).ApplyConfig(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	s.await("what its owner gives it", func(s snapshot) bool { return s.input.Config != nil && reasonOf(s, "config") == "" })
}

// withUnreadKey is a node of a cluster whose stored configuration has secrets that are sealed, and that could not read the key which opens them when it started. The
// key can be read by now, and the source has another configuration.
func withUnreadKey(t *testing.T, change func(*Config)) *bare {
	t.Helper()
	disk, state := storagetest.New(1<<30), t.TempDir()
	n := startNode(t, state, disk)
	n.awaitOther("a recipient", func() bool { return n.recipient() != "" })
	n.source.set(sealedFor(t, documents(t), n.recipient()))
	n.await("its configuration", func(s snapshot) bool {
		return s.input.Config != nil && s.input.Kept && s.storage.Status.Ready && s.identity
	})
	n.end()
	disk.Boot(true)
	path := filepath.Join(state, install.SealingKeyFile)
	key, err := os.ReadFile(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		err = os.Mkdir(path, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	b := startBareWith(t, state, disk, func(c *Config) {
		c.Boot.ID = "second"
		c.Source.(*source).set([]byte(strings.Replace(string(documents(t)), "node1", "other", 1)))
		change(c)
	}, maintenance.Claim{From: "the image"})
	b.await("the reason", func(s snapshot) bool {
		return strings.Contains(s.configProblem, "read the key that opens sealed secrets")
	})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, key, 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStoredAfterAll: what kept the node from its stored configuration passes, and it goes by that.
func TestStoredAfterAll(t *testing.T) {
	t.Parallel()
	b := withUnreadKey(t, func(*Config) {})
	b.await("the stored configuration", func(s snapshot) bool { return s.input.Config != nil && healthy(s, "config") })
	if got := b.snapshot().input.Config.Machine.Hostname; got != "node1" {
		t.Errorf("the host name is %q", got)
	}
}

// TestApplyBeforeItIsInForce: a node may have a revision that is not in force. What its owner applies then is judged by what runs, which is nothing.
func TestApplyBeforeItIsInForce(t *testing.T) {
	t.Parallel()
	b := withUnreadKey(t, func(c *Config) { c.Pace.SlowSearch = time.Hour })
	api := configsAPI{b.Agent}
	document := server.ConfigDocument{Patch: "kind: Cluster\ndnsDomain: other.local\n"}
	if check, err := api.ValidateConfig(t.Context(), document, true); err != nil || len(check.Mistakes) > 0 || len(check.Domains) == 0 {
		t.Errorf("validate: %+v, %v", check, err)
	}
	for _, r := range []server.ConfigRequest{
		{ConfigDocument: document, Mode: server.ConfigAuto, DryRun: true}, {ConfigDocument: document, Mode: server.ConfigNoReboot, DryRun: true},
		{ConfigDocument: document, Mode: server.ConfigAuto},
	} {
		result, err := api.ApplyConfig(t.Context(), r)
		changed := slices.ContainsFunc(result.Changes, func(c server.ConfigChange) bool { return c.Field == "Cluster.dnsDomain" })
		if err != nil || len(result.Pending) > 0 || len(result.Domains) == 0 || !changed {
			t.Errorf("apply in mode %v, dry %t: %+v, %v", r.Mode, r.DryRun, result, err)
		}
	}
	b.await("what was applied", func(s snapshot) bool {
		return s.input.Config != nil && s.input.Config.Cluster.DNSDomain == "other.local"
	})
}
