package machined

import (
	"crypto/tls"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	diskv1 "github.com/cyvive/cyvive/api/proto/disk/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

// withTPM gives a machine a TPM, and what opens its volumes.
func withTPM(disk *storagetest.Machine, v *vault) func(*Config) {
	return func(c *Config) {
		c.Boot.TPM, c.Storage = true, storage.New(disk, disk, disk, disk)
		if v != nil {
			c.Vault = v
		}
	}
}

// TestRecoverInMaintenance: a disk that does not open has the node's only configuration. Its owner opens it, and the node goes on with that.
func TestRecoverInMaintenance(t *testing.T) {
	t.Parallel()
	state, disk := t.TempDir(), storagetest.New(1<<30)
	v := &vault{disk: disk, key: recovery.New()}
	first := startBareWith(t, state, disk, withTPM(disk, v), maintenance.Claim{From: "the image"})
	print, docs := first.shown(t), withEncryption(t, config.EncryptionTPM)
	if _, err := configv1.NewConfigServiceClient(first.dial(t, first.certificate(t, first.owner))).
		Apply(t.Context(), &configv1.ApplyRequest{Document: string(docs)}); err != nil {
		t.Fatal(err)
	}
	first.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity })
	first.end()
	disk.ChangePCRs(true)
	disk.Boot(true)

	b := startBareWith(t, state, disk, withTPM(disk, v), maintenance.Claim{From: "the image", Key: first.print})
	b.owner = first.owner
	b.awaitConsole(t, "state volume partition state (/dev/vda6) is encrypted and does not open: PCR 11 is another")
	b.awaitConsole(t, "nodectl disk recover state")
	if b.shown(t) == print {
		t.Error("the node has a key that lies on a volume which does not open")
	}
	conn := b.dial(t, b.certificate(t, b.owner))
	volumes, configs := diskv1.NewDiskServiceClient(conn), configv1.NewConfigServiceClient(conn)
	list, err := volumes.ListVolumes(t.Context(), &diskv1.ListVolumesRequest{})
	if err != nil || len(list.GetVolumes()) != 2 || !list.GetVolumes()[0].GetEncrypted() || !strings.Contains(list.GetVolumes()[0].GetReason(), "PCR 11") {
		t.Errorf("volumes: %v, %v", list, err)
	}
	if _, err := configs.Apply(t.Context(), &configv1.ApplyRequest{Document: string(docs)}); status.Code(err) != codes.Unavailable ||
		!strings.Contains(err.Error(), "does not open: PCR 11 is another") {
		t.Errorf("apply: %v", err)
	}
	if _, err := volumes.GetRecoveryKey(t.Context(), &diskv1.GetRecoveryKeyRequest{}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("the recovery key: %v", err)
	}
	if _, err := volumes.Recover(t.Context(), &diskv1.RecoverRequest{Volume: "state", RecoveryKey: recovery.New().Reveal()}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("with another key: %v", err)
	}
	if _, err := volumes.Recover(t.Context(), &diskv1.RecoverRequest{Volume: "state", RecoveryKey: v.key.Reveal()}); err != nil {
		t.Fatal(err)
	}
	b.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity })
	b.await("its configuration", func(s snapshot) bool { return healthy(s, "config") && s.mode == maintenance.Configured })
	b.awaitConsole(t, "MAINTENANCE MODE HAS ENDED")
	o := &owned{node: b.node, authority: authorityOf(t, docs)}
	history, err := o.as(t, "alice", "node:admin").History(t.Context(), &configv1.HistoryRequest{})
	if err != nil || len(history.GetRevisions()) != 1 || history.GetRevisions()[0].GetBy() != "owner" {
		t.Errorf("history: %v, %v", history, err)
	}
	if got := b.answering(t); got != print {
		t.Errorf("the node that is recovered has the key %s, before it had %s", got, print)
	}
}

// answering is the fingerprint of the key that a node answers with.
func (n *node) answering(t *testing.T) string {
	t.Helper()
	conn, err := tls.Dial("tcp", n.listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return pki.CertificateFingerprint(conn.ConnectionState().PeerCertificates[0]).String()
}
