package machined

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
	"github.com/cyvive/cyvive/internal/trust/kms"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

const keyServer = "https://kms.example:4050"

// withKeyServer is a configuration whose disk a key server opens.
func withKeyServer(t *testing.T) []byte {
	t.Helper()
	a, err := pki.NewAuthority("key server", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("user-data", standalone(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Machine.Disk.Encryption = config.Encryption{
		Mode: config.EncryptionKMS, KMS: &config.KeyServer{Endpoint: keyServer, CA: string(a.CertificatePEM())},
	}
	data, err := config.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// encrypts gives a machine what encrypts its disk without a TPM.
func encrypts(disk *storagetest.Machine, v *vault) func(*Config) {
	return func(c *Config) {
		c.Boot.Encrypts, c.Storage, c.Vault = true, storage.New(disk, disk, disk), v
	}
}

// applied has a configuration stored over the API, so that the source does not count any more.
func (n *node) applied(docs []byte) {
	n.t.Helper()
	changed := bytes.Replace(docs, []byte("hostname: node1"), []byte("hostname: node9"), 1)
	request := server.ConfigRequest{By: "alice", ConfigDocument: server.ConfigDocument{Document: string(changed)}}
	if _, err := (configsAPI{n.Agent}).ApplyConfig(n.t.Context(), request); err != nil {
		n.t.Fatal(err)
	}
	n.await("what was applied", func(s snapshot) bool { return s.input.Config.Machine.Hostname == "node9" })
}

// TestKeyServerAway: a node whose key server does not answer brings up its network without its configuration, says what it waits for, and goes on by itself
// when the server is back. Until then it is not in maintenance mode, and nobody is asked to do anything.
func TestKeyServerAway(t *testing.T) {
	t.Parallel()
	state, disk := t.TempDir(), storagetest.New(1<<30)
	v := &vault{disk: disk, key: recovery.New()}
	first, docs := startNodeWith(t, state, disk, encrypts(disk, v)), withKeyServer(t)
	first.await("a disk that waits", func(s snapshot) bool { return s.storage.Status.StateUndecided })
	first.source.set(docs)
	first.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity })
	if got := disk.String(); !strings.Contains(got, "encrypted state") || !strings.Contains(got, "encrypted data") {
		t.Errorf("the disk is\n%s", got)
	}
	first.applied(docs)
	first.end()

	disk.Missing("the key server is away")
	disk.Boot(true)
	n := startNodeWith(t, state, disk, encrypts(disk, v))
	n.await("what it waits for", func(s snapshot) bool {
		return strings.Contains(reasonOf(s, "config"), "waiting for the state volume, which may hold the configuration: the key server is away")
	})
	n.await("its network", func(s snapshot) bool { return healthy(s, "network") })
	n.await("the reason of the storage", func(s snapshot) bool { return strings.Contains(reasonOf(s, "storage"), "the key server is away") })
	list, err := disksAPI{n.Agent}.Volumes(t.Context())
	if err != nil || list[0].Mounted || !strings.Contains(list[0].Reason, "is encrypted and waits for its key: the key server is away") {
		t.Errorf("volumes %+v, %v", list, err)
	}
	if s := n.snapshot(); s.mode.Maintenance() || s.input.Config != nil || s.stateShut() == "" {
		t.Errorf("mode %s, shut %q", s.mode, s.stateShut())
	}
	disk.Missing("")
	n.wakers[plan.Storage].Wake()
	n.await("its configuration", func(s snapshot) bool {
		return s.input.Config != nil && s.input.Config.Machine.Hostname == "node9" && s.storage.Status.Ready && s.identity && s.came == inTime
	})

	api := disksAPI{n.Agent}
	if err := api.Reseal(t.Context()); err != nil || v.how.Mode != storage.KMS || v.how.Server.Endpoint != keyServer || !strings.Contains(v.how.Server.CA, "CERTIFICATE") {
		t.Errorf("sealed anew with %+v, %v", v.how, err)
	}
	if told := strings.Join(n.told(server.EventAgent), "\n"); !strings.Contains(told, "the key server "+keyServer+" keeps half of its key") {
		t.Errorf("events:\n%s", told)
	}
	v.seal = kms.ErrServer
	if _, err := api.RotateKeys(t.Context()); !errors.Is(err, server.ErrUnavailable) {
		t.Errorf("with the server away: %v", err)
	}
}

// TestOpensSlowly: a disk takes its time from when its key is there until it is mounted. The node waits for that, too: it is not in maintenance mode for a moment,
// and its configuration is not said to be nowhere.
func TestOpensSlowly(t *testing.T) {
	t.Parallel()
	state, disk := t.TempDir(), storagetest.New(1<<30)
	v := &vault{disk: disk, key: recovery.New()}
	first, docs := startNodeWith(t, state, disk, encrypts(disk, v)), withKeyServer(t)
	first.source.set(docs)
	first.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity })
	first.applied(docs)
	first.end()

	disk.Missing("the key server is away")
	disk.Boot(true)
	slow := slowStorage{storage.New(disk, disk, disk), "mount state", make(chan struct{})}
	n := startNodeWith(t, state, disk, func(c *Config) {
		encrypts(disk, v)(c)
		c.Storage, c.Pace.SearchFor = slow, awaitAfter+time.Second
	})
	n.await("what it waits for", func(s snapshot) bool { return strings.HasSuffix(reasonOf(s, "config"), ": the key server is away") })
	disk.Missing("")
	n.wakers[plan.Storage].Wake()
	n.await("an open disk", func(s snapshot) bool { return s.storage.Status.StateOpens })
	n.configs.changed.Wake()
	n.await("what it waits for now", func(s snapshot) bool {
		return strings.HasSuffix(reasonOf(s, "config"), "waiting for the state volume, which may hold the configuration: it is open, and not mounted yet")
	})
	if s := n.snapshot(); s.mode.Maintenance() || s.without {
		t.Errorf("mode %s, without a configuration: %t", s.mode, s.without)
	}
	close(slow.let)
	n.await("its configuration", func(s snapshot) bool {
		return s.input.Config != nil && s.input.Config.Machine.Hostname == "node9" && s.came == inTime
	})
}

// TestKeyServerRecovered: the recovery key opens what the server does not.
func TestKeyServerRecovered(t *testing.T) {
	t.Parallel()
	state, disk := t.TempDir(), storagetest.New(1<<30)
	v := &vault{disk: disk, key: recovery.New()}
	n, docs := startNodeWith(t, state, disk, encrypts(disk, v)), withKeyServer(t)
	n.source.set(docs)
	n.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity })
	n.end()
	disk.Missing("the key server is away")
	disk.Boot(true)
	n = startNodeWith(t, state, disk, encrypts(disk, v))
	n.source.set(docs)
	n.await("a disk that waits", func(s snapshot) bool { return s.storage.Status.StateAwaits != "" })
	if err := (disksAPI{n.Agent}).Recover(t.Context(), storage.State, v.key.Reveal()); err != nil {
		t.Fatal(err)
	}
	n.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity && s.input.Config != nil })
}

// TestKeyServerRefusesTheFirst: a first configuration is not taken whose key server does not seal, and the caller is told why.
func TestKeyServerRefusesTheFirst(t *testing.T) {
	t.Parallel()
	disk := storagetest.New(1 << 30)
	disk.Missing("the key server is away")
	n := startNodeWith(t, t.TempDir(), disk, encrypts(disk, &vault{disk: disk}))
	n.await("a disk that waits", func(s snapshot) bool { return s.storage.Status.StateUndecided })
	apply := func() error {
		request := server.ConfigRequest{By: "owner", ConfigDocument: server.ConfigDocument{Document: string(withKeyServer(t))}}
		_, err := configsAPI{n.Agent}.ApplyConfig(t.Context(), request)
		return err
	}
	if err := apply(); !errors.Is(err, server.ErrUnavailable) || !strings.Contains(err.Error(), "the key server is away") {
		t.Errorf("got %v", err)
	}
	if in := n.snapshot().input; in.Config != nil || in.Encryption != "" || in.KeyServer != nil {
		t.Errorf("it has consequences: %+v", in)
	}
	disk.Missing("")
	if err := apply(); err != nil {
		t.Error(err)
	}
	n.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.input.Config != nil })
}

// TestPassphraseIsGiven: it comes from the source, is nowhere on the disk, and is read anew when the disk is sealed anew.
func TestPassphraseIsGiven(t *testing.T) {
	t.Parallel()
	const first, second, third = "correct horse battery staple", "another horse battery staple", "one more horse battery staple"
	state, disk := t.TempDir(), storagetest.New(1<<30)
	v := &vault{disk: disk, key: recovery.New()}
	n, docs := startNodeWith(t, state, disk, encrypts(disk, v)), withEncryption(t, config.EncryptionPassphrase)
	n.source.give(first)
	n.source.set(docs)
	n.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity })
	if e := n.snapshot().desired.Storage.Volumes[0].Encryption; e.Mode != storage.Passphrase || e.Passphrase.Reveal() != first {
		t.Errorf("the volume is made with %+v", e)
	}
	n.applied(docs)
	api := disksAPI{n.Agent}
	n.source.give(second)
	if err := api.Reseal(t.Context()); err != nil || v.how.Passphrase.Reveal() != second {
		t.Errorf("sealed anew with another than is given now: %v", err)
	}
	if told := strings.Join(n.told(server.EventAgent), "\n"); !strings.Contains(told, "by the passphrase that the machine is given now by user-data") {
		t.Errorf("events:\n%s", told)
	}
	n.source.give(third)
	how, from, err := api.how(t.Context(), storage.VolumeStatus{Name: storage.State, Encrypted: true, Mounted: true})
	if err != nil || how.Mode != storage.Passphrase || how.Passphrase.Reveal() != third || from != "user-data" {
		t.Errorf("a volume whose token is lost would be sealed anew with %+v of %q, %v", how, from, err)
	}
	n.source.give("")
	if err := api.Reseal(t.Context()); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "DiskPassphrase") || strings.Contains(err.Error(), "horse") {
		t.Errorf("with none given: %v", err)
	}
	if _, err := api.RotateKeys(t.Context()); !errors.Is(err, server.ErrPrecondition) || len(v.rotated) > 0 {
		t.Errorf("with none given, keys are changed: %v", err)
	}
	n.end()
	if err := filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("horse")) {
			t.Errorf("%s has the passphrase", path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestPassphraseComesLate: a node that has its configuration goes on looking for the passphrase alone.
func TestPassphraseComesLate(t *testing.T) {
	t.Parallel()
	state, disk := t.TempDir(), storagetest.New(1<<30)
	v := &vault{disk: disk, key: recovery.New()}
	n, docs := startNodeWith(t, state, disk, encrypts(disk, v)), withEncryption(t, config.EncryptionPassphrase)
	n.source.set(docs)
	n.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity })
	n.end()
	disk.Missing("no passphrase")
	disk.Boot(true)
	n = startNodeWith(t, state, disk, encrypts(disk, v))
	n.source.set(docs)
	n.await("its configuration, and a disk that waits", func(s snapshot) bool { return s.input.Config != nil && s.awaitsPassphrase() })
	n.source.give("correct horse battery staple")
	n.await("the passphrase", func(s snapshot) bool { return !s.input.Passphrase.IsZero() })
	disk.Missing("")
	n.wakers[plan.Storage].Wake()
	n.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity })
}

// TestPassphraseBeforeItsDisk: a node whose configuration is found before the passphrase by which its disk is to be made goes on looking for that, and makes the disk when
// it is given.
func TestPassphraseBeforeItsDisk(t *testing.T) {
	t.Parallel()
	disk := storagetest.New(1 << 30)
	disk.Missing("no passphrase")
	n := startNodeWith(t, t.TempDir(), disk, encrypts(disk, &vault{disk: disk, key: recovery.New()}))
	n.source.set(withEncryption(t, config.EncryptionPassphrase))
	n.await("a disk that cannot be made", func(s snapshot) bool {
		return s.input.Config != nil && strings.Contains(s.storage.Problem, "no passphrase")
	})
	if !n.snapshot().awaitsPassphrase() {
		t.Error("nobody looks for the passphrase")
	}
	n.source.give("correct horse battery staple")
	n.await("the passphrase", func(s snapshot) bool { return !s.input.Passphrase.IsZero() })
	disk.Missing("")
	n.wakers[plan.Storage].Wake()
	n.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity && !s.awaitsPassphrase() })
}

// picky is a machine whose state volume opens by one passphrase.
type picky struct {
	*storagetest.Machine
	passphrase string
}

func (p picky) Unlock(ctx context.Context, volume, device string, how storage.Encryption) error {
	missing := ""
	if how.Passphrase.Reveal() != p.passphrase {
		missing = "another passphrase is needed"
	}
	p.Missing(missing)
	return p.Machine.Unlock(ctx, volume, device, how)
}

// TestPassphraseIsThereAtBoot: the places are asked for the passphrase before they are for a configuration, so that a node which is given its own opens its disk and
// goes by nothing else; one that is given another waits, and goes by what is beside it meanwhile.
func TestPassphraseIsThereAtBoot(t *testing.T) {
	t.Parallel()
	const passphrase = "correct horse battery staple"
	for _, given := range []string{passphrase, "another horse battery staple"} {
		state, disk := t.TempDir(), storagetest.New(1<<30)
		v := &vault{disk: disk, key: recovery.New()}
		n, docs := startNodeWith(t, state, disk, encrypts(disk, v)), withEncryption(t, config.EncryptionPassphrase)
		n.source.give(passphrase)
		n.source.set(docs)
		n.await("storage, and a configuration on it", func(s snapshot) bool { return s.storage.Status.Ready && s.identity && s.input.Kept })
		n.end()
		disk.Boot(true)
		n = startNodeWith(t, state, disk, func(c *Config) {
			encrypts(disk, v)(c)
			c.Boot.ID, c.Storage = "second", storage.New(disk, disk, picky{disk, passphrase})
			beside := c.Source.(*source)
			beside.give(given)
			beside.set(bytes.Replace(docs, []byte("hostname: node1"), []byte("hostname: beside"), 1))
		})
		if given != passphrase {
			n.await("what is beside it", func(s snapshot) bool {
				return s.input.Config != nil && s.input.Config.Machine.Hostname == "beside" && s.came == missed && s.awaitsPassphrase()
			})
			continue
		}
		n.await("its configuration", func(s snapshot) bool {
			return s.input.Config != nil && s.input.Config.Machine.Hostname == "node1" && s.storage.Status.Ready && s.came == inTime
		})
		if told := strings.Join(n.told(server.EventConfiguration), "\n"); strings.Contains(told, "beside") {
			t.Errorf("it went by something else before:\n%s", told)
		}
	}
}
