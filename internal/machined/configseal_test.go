package machined

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

// stolen is a machine with an encrypted disk whose configuration its source once had. Somebody has it while it is off, and puts another source beside it, and
// another owner into its firmware's tables.
type stolen struct {
	state     string
	disk      *storagetest.Machine
	docs      string
	own, evil pki.Fingerprint
}

func steal(t *testing.T) *stolen {
	t.Helper()
	s := &stolen{state: t.TempDir(), disk: storagetest.New(1 << 30), docs: string(withEncryption(t, "tpm"))}
	_, s.own = newOwner(t)
	_, s.evil = newOwner(t)
	n := s.start(t, "first", s.docs)
	n.await("an encrypted disk", func(s snapshot) bool {
		return s.storage.Status.Ready && s.identity && s.storage.Status.Volumes[0].Encrypted && s.input.Kept
	})
	n.end()
	s.disk.Boot(true)
	return s
}

// start starts the machine with what its source has; an empty text is no document.
func (s *stolen) start(t *testing.T, boot, docs string) *node {
	t.Helper()
	return s.startWith(t, boot, docs, func(*Config) {})
}

func (s *stolen) startWith(t *testing.T, boot, docs string, change func(*Config)) *node {
	t.Helper()
	n := startNodeWith(t, s.state, s.disk, func(c *Config) {
		withTPM(s.disk, &vault{disk: s.disk, key: recovery.New()})(c)
		c.Boot.ID = boot
		c.Source.(*source).own(maintenance.Claim{From: "SMBIOS", Key: s.evil}, maintenance.Claim{From: "the image", Key: s.own, Measured: true})
		if docs != "" {
			c.Source.(*source).set([]byte(docs))
		}
		change(c)
	})
	return n
}

func (s *stolen) evilDocs() string { return strings.Replace(s.docs, "node1", "evil", 1) }

// spoil makes noise of the files of the store that have a name.
func (s *stolen) spoil(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.state, "config", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("files %s of the store: %v, %v", pattern, files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("noise"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *stolen) lose(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(s.state, "config")); err != nil {
		t.Fatal(err)
	}
}

// TestSealedAndDamaged: an encrypted disk of which somebody has made noise, without being able to read it, gives a node with the configuration that it had or with
// none. In neither case is anything taken that was put beside the machine, and only who is named by what was started may give it another.
func TestSealedAndDamaged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(t *testing.T, s *stolen)
		// says is why there is none; empty where the node has its own. Shut says that nobody can give it another.
		says string
		shut bool
	}{
		"records":               {func(t *testing.T, s *stolen) { s.spoil(t, "record*") }, "", false},
		"revisions":             {func(t *testing.T, s *stolen) { s.spoil(t, "revision-*") }, "revision 1 cannot be used", false},
		"records and revisions": {func(t *testing.T, s *stolen) { s.spoil(t, "*") }, "cannot be read", false},
		"all is gone":           {func(t *testing.T, s *stolen) { s.lose(t) }, "none of it can be read", false},
		"a store that does not open": {func(t *testing.T, s *stolen) {
			s.lose(t)
			if err := os.WriteFile(filepath.Join(s.state, "config"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a directory", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := steal(t)
			c.damage(t, s)
			n := s.start(t, "second", s.evilDocs())
			if c.says == "" {
				n.await("its configuration", func(s snapshot) bool { return s.input.Config != nil })
				if got := n.snapshot().input.Config.Machine.Hostname; got != "node1" {
					t.Errorf("the host name is %q", got)
				}
				return
			}
			n.await("an owner", func(s snapshot) bool { return !s.owner.Key.IsZero() && s.mode == maintenance.Owned })
			now := n.snapshot()
			if now.owner.Key != s.own || len(now.owner.Conflicts) > 0 || now.input.Config != nil || !strings.Contains(now.configProblem, c.says) {
				t.Errorf("the owner is %+v, in force is %v, since %q", now.owner, now.input.Config, now.configProblem)
			}
			if c.shut {
				return
			}
			request := server.ConfigRequest{By: "owner", Mode: server.ConfigAuto, ConfigDocument: server.ConfigDocument{Document: s.docs}}
			if _, err := (configsAPI{n.Agent}).ApplyConfig(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			n.await("another", func(s snapshot) bool { return s.input.Config != nil && s.storage.Status.Ready })
		})
	}
}

// TestSealedComesLate: an encrypted state volume comes when the source and the firmware's owner are in force already, and cannot tell what the node's
// configuration was. They have no say from then on.
func TestSealedComesLate(t *testing.T) {
	t.Parallel()
	for _, withDocs := range []bool{true, false} {
		s := steal(t)
		docs := s.evilDocs()
		if !withDocs {
			docs = ""
		}
		s.spoil(t, "revision-*")
		s.disk.FailPower(0)
		n := s.start(t, "second", docs)
		n.await("what was put beside it", func(now snapshot) bool {
			return withDocs && now.input.Config != nil || !withDocs && now.owner.Key == s.evil
		})
		s.disk.FailPower(-1)
		n.wakers[plan.Storage].Wake()
		n.await("its own", func(now snapshot) bool {
			return mounted(now, storage.State) && now.input.Config == nil && now.owner.Key == s.own
		})
		n.end()
	}
}

// TestFirstBootIsCut: the power fails when the encrypted volume is made and the configuration is not on it yet. The source is asked again.
func TestFirstBootIsCut(t *testing.T) {
	t.Parallel()
	s := steal(t)
	// As it is then: state is there, and neither a revision nor the key of data.
	s.lose(t)
	s.disk.SetContents("/dev/vda7", storage.Contents{Blank: true})
	s.disk.ForgetKey(storage.Data)
	n := s.start(t, "second", s.docs)
	n.await("the configuration and its volumes", func(s snapshot) bool { return s.input.Config != nil && s.storage.Status.Ready && s.input.Kept })
}

// TestFreshStoreOpensLate: an encrypted volume that never had a configuration counts as one that had until its store can be opened. Then the source is asked.
func TestFreshStoreOpensLate(t *testing.T) {
	t.Parallel()
	s := steal(t)
	s.lose(t)
	s.disk.SetContents("/dev/vda7", storage.Contents{Blank: true})
	s.disk.ForgetKey(storage.Data)
	store := filepath.Join(s.state, "config")
	if err := os.WriteFile(store, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := s.start(t, "second", s.docs)
	n.await("what is wrong", func(s snapshot) bool { return strings.Contains(s.configProblem, "not a directory") })
	if cfg := n.snapshot().input.Config; cfg != nil {
		t.Errorf("in force is %v", cfg)
	}
	if err := os.Remove(store); err != nil {
		t.Fatal(err)
	}
	n.await("the configuration and its volumes", func(s snapshot) bool { return s.input.Config != nil && s.storage.Status.Ready && s.input.Kept })
}
