package machined

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/configstore"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
)

// newerDocument is one that a release with further fields has taken.
func newerDocument(docs []byte) []byte {
	return []byte(strings.Replace(string(docs), "hostname: node1\n", "hostname: node3\nfieldOfTheNext: 7\n", 1))
}

// applied stores documents in the folder of a state volume, each applied in the place of the one before.
func applied(t *testing.T, state string, documents ...[]byte) {
	t.Helper()
	store, err := configstore.Open(configstore.OSDir(filepath.Join(state, "config")), configstore.Config{
		Now: time.Now, Boot: "the boot before", SinceBoot: func() time.Duration { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents {
		_, err := store.Add(configstore.Revision{Mode: configstore.Auto, Document: d},
			func(r configstore.Record, n uint64) (configstore.Record, error) { return r.Applied(n, true) })
		if err != nil {
			t.Fatal(err)
		}
	}
}

// failedTrials are the records that an upgrade may have left whose trial failed, before the keeper has looked at it and after.
func failedTrials() map[string]upgrade.Record {
	return map[string]upgrade.Record{
		"its agent had no record": armed(),
		"it ended amid its trial": {Stage: upgrade.Trial, Target: newRelease, From: oldRelease, Boot: "the boot before"},
		"it sent itself back":     {Stage: upgrade.Reverting, Target: newRelease, From: oldRelease, Boot: "the boot before", Reason: "not well"},
		"it is noted":             {Stage: upgrade.Idle, Last: &upgrade.Outcome{Target: newRelease, From: oldRelease, Reason: "not well"}},
	}
}

// TestFallbackUsesOlder: what was applied while a release was on trial, and in words that only that one knows, gives way to the newest revision that the release
// before can use, which says so, and is kept.
func TestFallbackUsesOlder(t *testing.T) {
	t.Parallel()
	for name, record := range failedTrials() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			docs := standalone(t)
			second := []byte(strings.Replace(string(docs), "node1", "node2", 1))
			u := startUpgrading(t, oldRelease, record, func(c *Config) {
				applied(t, c.StateDir, docs, second, newerDocument(docs), newerDocument(docs))
			})
			u.source.set([]byte(strings.Replace(string(docs), "node1", "other", 1)))
			u.await("a configuration", func(s snapshot) bool { return s.input.Config != nil })
			u.await("its place in the record", stage(upgrade.Idle))
			u.isBack("node2")
			const why = "version 1.0.0, which runs again after a failed trial, cannot use it: revision 4:"
			told := false
			for _, event := range u.told(server.EventConfiguration) {
				told = told || strings.HasPrefix(event, "taken back: revision 4, to revision 2: "+why)
			}
			if l := u.configs.store.Record().Last; !told || l == nil || !strings.HasPrefix(l.Reason, why) || !strings.Contains(l.Reason, "Machine.fieldOfTheNext: ") {
				t.Errorf("told: %t, the outcome is %+v", told, l)
			}
			// It counts for another agent and another boot, too.
			u.restartAgent(t, time.Minute)
			u.await("a configuration again", func(s snapshot) bool { return s.input.Config != nil })
			u.isBack("node2")
			u.end()
			u.startAgent(t, u.node.disk, func(c *Config) { c.Boot.ID = "another" })
			u.await("a configuration in the next boot", func(s snapshot) bool { return s.input.Config != nil })
			u.isBack("node2")
		})
	}
}

// isBack looks for revision 2 in force, with a host name, and for those that gave way in the history.
func (u *upgrading) isBack(hostname string) {
	u.t.Helper()
	u.configs.mu.Lock()
	defer u.configs.mu.Unlock()
	r := u.configs.store.Record()
	if got := u.snapshot().input.Config.Machine.Hostname; got != hostname || r.Current != 2 || r.Base != 2 || r.Last == nil || r.Last.Revision != 4 || r.Last.Succeeded {
		u.t.Errorf("in force is that of %s, and the record is %+v", got, r)
	}
	entries, err := u.configs.store.History()
	if err != nil || len(entries) != 4 || entries[0].Number != 4 || !strings.Contains(string(entries[0].Document), "fieldOfTheNext") {
		u.t.Errorf("history: %d revisions, %v", len(entries), err)
	}
}

// TestOlderIsNotUsed: a release that is on trial, or that stayed, does not choose another configuration than the current one, nor does one that lacks nothing but the
// key for what is sealed.
func TestOlderIsNotUsed(t *testing.T) {
	t.Parallel()
	docs := standalone(t)
	another, err := config.NewSealingKey()
	if err != nil {
		t.Fatal(err)
	}
	noted := failedTrials()["it is noted"]
	stayed := upgrade.Record{Stage: upgrade.Idle, Last: &upgrade.Outcome{Target: newRelease, From: oldRelease, Succeeded: true}}
	for name, c := range map[string]struct {
		runs   upgrade.System
		record upgrade.Record
		newest []byte
	}{
		"on trial":               {newRelease, armed(), newerDocument(docs)},
		"on trial after another": {newRelease, upgrade.Record{Stage: upgrade.Armed, Target: newRelease, From: oldRelease, Last: noted.Last}, newerDocument(docs)},
		"it stayed":              {newRelease, stayed, newerDocument(docs)},
		"no upgrade":             {oldRelease, upgrade.Record{}, newerDocument(docs)},
		"the key is missing":     {oldRelease, noted, sealedFor(t, docs, another.Recipient())},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := startUpgrading(t, c.runs, c.record, func(cfg *Config) { applied(t, cfg.StateDir, docs, c.newest) })
			u.await("the reason", func(s snapshot) bool {
				return strings.HasPrefix(reasonOf(s, "config"), "use revision 2 of the state volume: revision 2:")
			})
			if r := u.configs.store.Record(); r.Current != 2 || r.Last != nil || u.snapshot().input.Config != nil {
				t.Errorf("the record is %+v, and in force is %v", r, u.snapshot().input.Config)
			}
		})
	}
}

// TestFallbackWithoutOlder: a node of which no revision can be used, or whose record of upgrades cannot be read, says what is wrong as any other.
func TestFallbackWithoutOlder(t *testing.T) {
	t.Parallel()
	docs := standalone(t)
	for name, prepare := range map[string]func(state string) error{
		"no other": func(state string) error {
			applied(t, state, newerDocument(docs), newerDocument(docs))
			return nil
		},
		"noise": func(state string) error {
			applied(t, state, docs, newerDocument(docs))
			return os.WriteFile(filepath.Join(state, "upgrade.json"), []byte("noise"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := startUpgrading(t, oldRelease, failedTrials()["it is noted"], func(c *Config) {
				if err := prepare(c.StateDir); err != nil {
					t.Error(err)
				}
			})
			u.await("the reason", func(s snapshot) bool {
				return strings.HasPrefix(reasonOf(s, "config"), "use revision 2 of the state volume: revision 2:")
			})
		})
	}
}

// TestSealedFallback: the same on an encrypted disk, where no other place could help: the node is its own, by what it had.
func TestSealedFallback(t *testing.T) {
	t.Parallel()
	s := steal(t)
	applied(t, s.state, newerDocument([]byte(s.docs)))
	data, err := json.Marshal(failedTrials()["it sent itself back"])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.state, "upgrade.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	slots := &twoSlots{
		roots:   map[string]string{"a": oldRelease.RootHash, "b": newRelease.RootHash},
		entries: map[string]upgrade.Entry{"a": {Version: oldRelease.Version}, "b": {Version: newRelease.Version, Counted: true}},
	}
	n := s.startWith(t, "second", s.evilDocs(), func(c *Config) {
		c.Boot.Version = server.Version{OS: oldRelease.Version, RootHash: oldRelease.RootHash, Slot: oldRelease.Slot}
		c.Upgrades = &Upgrades{Slots: slots, Entries: slots, Architecture: "amd64", Pushed: filepath.Join(t.TempDir(), "pushed")}
	})
	n.await("its configuration", func(s snapshot) bool { return s.input.Config != nil && healthy(s, "config") && s.identity })
	if got := n.snapshot().input.Config; got.Machine.Hostname != "node1" || n.configs.store.Record().Current != 1 {
		t.Errorf("in force is that of %s, and the record is %+v", got.Machine.Hostname, n.configs.store.Record())
	}
}
