package machined

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// nothingKept fails where the state volume holds a configuration.
func nothingKept(t *testing.T, state string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(state, "config"), func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "kind: Machine") {
			t.Errorf("%s holds a configuration", path)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
}

// TestEncryptionOnPlainDisk: the state volume was made plain before there was a configuration, by a machine without a TPM, or by one that had none then, or by a
// release before. A configuration that has it encrypted is not taken, by nobody, and nothing of it is stored.
func TestEncryptionOnPlainDisk(t *testing.T) {
	t.Parallel()
	const plain = "disk is not encrypted, and would keep the configuration"
	for name, c := range map[string]struct {
		docs []byte
		tpm  bool
		says string
	}{
		"no TPM":                {withEncryption(t, config.EncryptionTPM), false, "it needs a TPM 2.0, and this machine has none"},
		"a TPM that came later": {withEncryption(t, config.EncryptionTPM), true, plain},
		"a key server":          {withKeyServer(t), false, plain},
		"a passphrase":          {withEncryption(t, config.EncryptionPassphrase), false, plain},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state, disk := t.TempDir(), storagetest.New(1<<30)
			if c.tpm {
				startBareWith(t, t.TempDir(), disk, func(*Config) {}, maintenance.Claim{From: "the image"}).end()
				disk.Boot(true)
			}
			b := startBareWith(t, state, disk, func(cfg *Config) {
				if cfg.Boot.TPM = c.tpm; c.tpm {
					cfg.Storage = storage.New(disk, disk, disk, disk)
				}
			}, maintenance.Claim{From: "the image"})
			b.await("a plain state volume", func(s snapshot) bool { return mounted(s, storage.State) && s.storage.Status.Ready })
			configs := configv1.NewConfigServiceClient(b.dial(t, b.certificate(t, b.owner)))
			docs := string(c.docs)
			for _, dry := range []bool{true, false} {
				_, err := configs.Apply(t.Context(), &configv1.ApplyRequest{Document: docs, DryRun: dry})
				if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), c.says) {
					t.Errorf("apply, dry %t: %v", dry, err)
				}
			}
			checked, err := configs.Validate(t.Context(), &configv1.ValidateRequest{Document: docs})
			if err != nil || len(checked.GetMistakes()) != 1 || checked.GetMistakes()[0].GetField() != encryptionField {
				t.Errorf("validate: %v, %v", checked, err)
			}
			b.source.set([]byte(docs))
			b.await("what the source has, refused", func(s snapshot) bool { return strings.Contains(s.configProblem, c.says) })
			if s := b.snapshot(); s.input.Config != nil {
				t.Error("it is in force")
			}
			nothingKept(t, state)
			b.source.set(standalone(t))
			b.await("one without encryption", func(s snapshot) bool { return s.input.Config != nil && s.storage.Status.Ready && healthy(s, "storage") })
		})
	}
}

// TestPlainNodeGoesOn: a node that runs with plain volumes has a configuration that asks for encryption, which a release before took from its source. The node goes on
// as it did, and says of its volumes what they are.
func TestPlainNodeGoesOn(t *testing.T) {
	t.Parallel()
	state, disk := t.TempDir(), storagetest.New(1<<30)
	n := startNode(t, state, disk)
	n.source.set(documents(t))
	n.await("etcd wanted", func(s snapshot) bool { return s.desired.Etcd != nil })
	n.end()
	disk.Boot(true)
	applied(t, state, []byte(strings.Replace(string(documents(t)), "kind: Machine\n", "kind: Machine\ndisk: {encryption: {mode: tpm}}\n", 1)))
	n = startNodeWith(t, state, disk, func(c *Config) { c.Boot.ID = "the next boot" })
	n.await("etcd wanted again", func(s snapshot) bool { return s.desired.Etcd != nil && healthy(s, "storage") })
	// The storage was ready before the configuration was known, and stays so: its next look is the first that compares the two.
	n.await("a look at the volumes", func(s snapshot) bool { return s.storage.Status.Volumes[0].Reason != "" })
	list, err := disksAPI{n.Agent}.Volumes(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("volumes %+v, %v", list, err)
	}
	for _, v := range list {
		if v.Encrypted || !v.Mounted || !strings.Contains(v.Reason, "is not encrypted, as the configuration has it") {
			t.Errorf("volume %+v", v)
		}
	}
}
