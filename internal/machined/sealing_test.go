package machined

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	installv1 "github.com/cyvive/cyvive/api/proto/install/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/install"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/state"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// sealedFor are documents with their secrets sealed.
func sealedFor(t *testing.T, docs []byte, recipient string) []byte {
	t.Helper()
	to, err := config.ParseRecipients([]string{recipient})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := to.Seal(docs)
	if err != nil {
		t.Fatal(err)
	}
	return sealed.Documents
}

// current is what is stored as the configuration that counts.
func (o *owned) current(t *testing.T) []byte {
	t.Helper()
	o.configs.mu.Lock()
	defer o.configs.mu.Unlock()
	document, err := o.configs.document()
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// TestSealedSecrets: what is sealed for the node is stored as it was given, shown as any secret is, and in force opened, also after a boot; and on a node whose
// state volume was wiped no longer.
func TestSealedSecrets(t *testing.T) {
	t.Parallel()
	docs := standalone(t)
	o := startOwned(t, docs)
	admin := o.as(t, "alice", "node:admin")
	identity, err := machinev1.NewMachineServiceClient(o.dial(t, "alice", "node:admin")).GetIdentity(t.Context(), &machinev1.GetIdentityRequest{})
	if err != nil {
		t.Fatal(err)
	}
	recipient, key := identity.GetRecipient(), o.snapshot().input.Config.Machine.CA.Key
	sealed := sealedFor(t, docs, recipient)
	resp, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Document: string(sealed)})
	if err != nil || resp.GetRevision() != 2 || len(resp.GetChanges()) > 0 {
		t.Fatalf("apply: %v, %v", resp, err)
	}
	if got := o.current(t); !bytes.Equal(got, sealed) || !config.HoldsSealed(got) {
		t.Errorf("stored is\n%s", got)
	}
	shown, err := admin.Get(t.Context(), &configv1.GetRequest{})
	if err != nil || config.HoldsSealed([]byte(shown.GetDocument())) || !strings.Contains(shown.GetDocument(), config.Redacted) {
		t.Errorf("shown is\n%s\n%v", shown.GetDocument(), err)
	}
	diff, err := admin.Diff(t.Context(), &configv1.DiffRequest{})
	if err != nil || config.HoldsSealed([]byte(diff.GetText())) || len(diff.GetChanges()) > 0 || len(diff.GetSecrets()) != 1 {
		t.Errorf("difference: %v, %v", diff, err)
	}
	if _, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Document: shown.GetDocument()}); err != nil {
		t.Errorf("apply what was shown: %v", err)
	}
	applyPatch(t, admin, configv1.Mode_MODE_AUTO, "kind: Machine\ncertSANs: [one.example]\n")
	if !config.HoldsSealed(o.current(t)) {
		t.Error("by a patch the secret is no longer sealed")
	}
	another, err := config.NewSealingKey()
	if err != nil {
		t.Fatal(err)
	}
	_, err = admin.Apply(t.Context(), &configv1.ApplyRequest{Document: string(sealedFor(t, docs, another.Recipient())), Name: "mine.yaml"})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "Machine.ca.key: got a text that is sealed for "+another.Recipient()[:12]) ||
		!strings.Contains(err.Error(), "mine.yaml:") || !strings.Contains(err.Error(), recipient) {
		t.Errorf("apply what another can open: %v", err)
	}
	if info, err := os.Stat(filepath.Join(o.state, install.SealingKeyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	o.restart(t, "another boot")
	if got := o.snapshot().input.Config.Machine; o.recipient() != recipient || !got.CA.Key.Equal(key) || len(got.CertSANs) != 1 {
		t.Errorf("after a boot the recipient is %s, and in force is %+v", o.recipient(), got)
	}
	o.end()
	wiped := startNode(t, t.TempDir(), storagetest.New(1<<30))
	wiped.source.set(sealed)
	wiped.await("the reason", func(s snapshot) bool {
		return strings.Contains(s.configProblem, "Machine.ca.key: got a text that is sealed for "+recipient[:12])
	})
	if wiped.recipient() == recipient {
		t.Error("a node that was wiped is sealed for as before")
	}
}

// TestStateClosed: for a key in memory nothing is to be sealed where the state volume may have another.
func TestStateClosed(t *testing.T) {
	t.Parallel()
	of := func(v storage.VolumeStatus) storage.Status {
		v.Name = storage.State
		return storage.Status{Volumes: []storage.VolumeStatus{v}}
	}
	for name, c := range map[string]struct {
		status storage.Status
		medium bool
		want   bool
	}{
		"not looked at":  {want: true},
		"mounted":        {status: of(storage.VolumeStatus{Mounted: true})},
		"shut":           {status: of(storage.VolumeStatus{Encrypted: true, Shut: true}), want: true},
		"out of order":   {status: of(storage.VolumeStatus{Reason: "it is damaged"}), want: true},
		"yet to be made": {status: storage.Status{StateUndecided: true}},
		"a medium":       {medium: true},
	} {
		s := snapshot{input: plan.Input{Medium: c.medium}}
		s.storage = state.Report[storage.Status]{Status: c.status}
		if got := s.stateClosed(); got != c.want {
			t.Errorf("%s: closed %v", name, got)
		}
	}
}

// TestSealedFirstContact: what is sealed for a node that has no volumes yet is opened by it, and by what it is after its volumes are made.
func TestSealedFirstContact(t *testing.T) {
	t.Parallel()
	state, disk := t.TempDir(), storagetest.New(1<<30)
	tpm := func(c *Config) { c.Boot.TPM, c.Storage = true, storage.New(disk, disk, disk, disk) }
	b := startBareWith(t, state, disk, tpm, maintenance.Claim{From: "the image"})
	conn := b.dial(t, b.certificate(t, b.owner))
	identity, err := machinev1.NewMachineServiceClient(conn).GetIdentity(t.Context(), &machinev1.GetIdentityRequest{})
	if err != nil {
		t.Fatal(err)
	}
	sealed := sealedFor(t, withEncryption(t, config.EncryptionTPM), identity.GetRecipient())
	if resp, err := configv1.NewConfigServiceClient(conn).Apply(t.Context(), &configv1.ApplyRequest{Document: string(sealed)}); err != nil || resp.GetRevision() != 1 {
		t.Fatalf("apply: %v, %v", resp, err)
	}
	b.await("storage and identity", func(s snapshot) bool { return s.identity && s.storage.Status.Ready })
	b.end()
	disk.Boot(true)
	again := startNodeWith(t, state, disk, tpm)
	again.await("the configuration after a restart", func(s snapshot) bool { return s.input.Config != nil })
	if got := again.recipient(); got != identity.GetRecipient() {
		t.Errorf("after a restart %s, before %s", got, identity.GetRecipient())
	}
}

// TestInstallSealed: a node on another disk can open what was sealed for the one that has installed it, and has its key for nothing else.
func TestInstallSealed(t *testing.T) {
	t.Parallel()
	i := startInstalling(t)
	own := standalone(t)
	i.source.set(own)
	i.await("a configuration", func(s snapshot) bool { return healthy(s, "config") && s.identity })
	key, err := i.sealingKey()
	if err != nil {
		t.Fatal(err)
	}
	if handed, err := i.handedOn(own, storage.Encryption{}); err != nil || handed != nil {
		t.Errorf("the key for a configuration without: %d bytes, %v", len(handed), err)
	}
	sealed := sealedFor(t, own, key.Recipient())
	if _, err := i.run(&installv1.Target{Disk: &installv1.DiskSelector{Serial: "S-?"}, Configuration: sealed}); err != nil {
		t.Fatal(err)
	}
	if !i.holds(string(sealed)) || !i.holds(string(key.Text())) {
		t.Error("configuration or key are not on the state volume")
	}
}
