package machined

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	installv1 "github.com/cyvive/cyvive/api/proto/install/v1"
	"github.com/cyvive/cyvive/internal/machined/install"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

// TestKeptWorse: the key of sealed secrets goes onto another disk where that opens by nothing that does not open this node's own.
func TestKeptWorse(t *testing.T) {
	t.Parallel()
	authority := func() string {
		a, err := pki.NewAuthority("key server", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return string(a.CertificatePEM())
	}
	first, second := authority(), authority()
	by := func(m storage.Mode) storage.VolumeStatus {
		return storage.VolumeStatus{Name: storage.State, Mounted: true, Encrypted: true, By: m}
	}
	at := func(endpoint, ca string) storage.VolumeStatus {
		v := by(storage.KMS)
		v.Server = storage.KeyServer{Endpoint: endpoint, CA: ca}
		return v
	}
	plain := storage.Encryption{}
	sealed := storage.Encryption{Mode: storage.TPM}
	given := storage.Encryption{Mode: storage.Passphrase, Passphrase: storage.NewSecret("correct horse battery staple")}
	served := func(endpoint, ca string) storage.Encryption {
		return storage.Encryption{Mode: storage.KMS, Server: storage.KeyServer{Endpoint: endpoint, CA: ca}}
	}
	client := served(keyServer, first)
	client.Server.Certificate, client.Server.Key = "certificate", storage.NewSecret("key")
	const more = "Machine.disk.encryption.kms.ca: got an authority more, want no other than those"
	for name, c := range map[string]struct {
		own   storage.VolumeStatus
		there storage.Encryption
		want  string
	}{
		"plain to plain":                  {own: storage.VolumeStatus{Name: storage.State, Mounted: true}, there: plain},
		"plain to TPM":                    {own: storage.VolumeStatus{Name: storage.State, Mounted: true}, there: sealed},
		"not made yet":                    {own: storage.VolumeStatus{Name: storage.State}, there: plain},
		"data beside a plain state":       {own: storage.VolumeStatus{Name: storage.Data, Mounted: true, Encrypted: true}, there: plain},
		"TPM to plain":                    {by(storage.TPM), plain, "Machine.disk.encryption.mode: got none, want tpm, by which volume state of this node opens"},
		"TPM, being made, to plain":       {storage.VolumeStatus{Name: storage.State, Encrypted: true, By: storage.TPM}, plain, "got none, want tpm"},
		"TPM to TPM":                      {own: by(storage.TPM), there: sealed},
		"TPM to key server":               {by(storage.TPM), served(keyServer, first), "got kms, want tpm"},
		"TPM to passphrase":               {by(storage.TPM), given, "got passphrase, want tpm"},
		"passphrase to plain":             {by(storage.Passphrase), plain, "got none, want passphrase"},
		"passphrase to passphrase":        {own: by(storage.Passphrase), there: given},
		"passphrase to TPM":               {by(storage.Passphrase), sealed, "got tpm, want passphrase"},
		"key server to plain":             {at(keyServer, first), plain, "got none, want kms"},
		"key server to TPM":               {at(keyServer, first), sealed, "got tpm, want kms"},
		"key server to the same":          {own: at(keyServer, first), there: served(keyServer, first+"\n")},
		"with another certificate":        {own: at(keyServer, first), there: client},
		"key server to another":           {at(keyServer, first), served("https://other.example", first), "kms.endpoint: got https://other.example, want " + keyServer},
		"with another authority":          {at(keyServer, first), served(keyServer, second), more},
		"with one more":                   {at(keyServer, first), served(keyServer, first+second), more},
		"with one less":                   {own: at(keyServer, first+second), there: served(keyServer, second)},
		"server unknown":                  {at("", ""), served(keyServer, first), "want one that cannot be read"},
		"what opens it is unknown":        {by(storage.Plain), sealed, "its header does not tell what opens it: mend that (`nodectl disk reseal`)"},
		"what opens it is unknown, plain": {by(storage.Plain), plain, "its header does not tell what opens it"},
	} {
		got := keptWorse(c.own, c.there)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// TestInstallSealedFromEncrypted: a node whose disk is encrypted does not put its key onto one that is plain, or that another key server opens. What needs no key goes
// there as before.
func TestInstallSealedFromEncrypted(t *testing.T) {
	t.Parallel()
	disk := storagetest.New(1 << 30)
	i := startInstalling(t, encrypts(disk, &vault{disk: disk, key: recovery.New()}))
	i.cfg.Installs.Sealer = func(how storage.Encryption) install.Sealer { return asSealer{how} }
	own, plain := withKeyServer(t), standalone(t)
	i.source.set(own)
	i.await("a configuration", func(s snapshot) bool { return s.storage.Status.Ready && s.identity && s.input.Config != nil })
	key, err := i.sealingKey()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := bytes.ReplaceAll(own, []byte(keyServer), []byte("https://other.example"))
	for name, c := range map[string]struct {
		documents []byte
		text      string
	}{
		"plain":                {sealedFor(t, plain, key.Recipient()), "Machine.disk.encryption.mode: got none, want kms, by which volume state of this node opens: give it that, or give a configuration without sealed secrets"},
		"another key server":   {sealedFor(t, elsewhere, key.Recipient()), "Machine.disk.encryption.kms.endpoint: got https://other.example, want " + keyServer},
		"the same":             {sealedFor(t, own, key.Recipient()), "asked for kms"},
		"another, without key": {elsewhere, "asked for kms"},
	} {
		target := &installv1.Target{Disk: &installv1.DiskSelector{Serial: "S-1"}, Configuration: c.documents}
		_, planErr := installsAPI{i.Agent}.PlanInstall(t.Context(), target, "alice")
		_, err := i.run(target)
		for _, err := range []error{planErr, err} {
			if !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if d, err := i.look(); err != nil || d.Note != nil {
		t.Errorf("the disk: %+v, %v", d.Note, err)
	}
	if _, err := i.run(&installv1.Target{Disk: &installv1.DiskSelector{Serial: "S-1"}, Configuration: plain}); err != nil {
		t.Errorf("plain, without the key: %v", err)
	}
	if i.holds(string(key.Text())) {
		t.Error("the key is on the disk")
	}
}

// TestInstallSealedFirst: a node that has no volumes yet hands on the key that it has in memory, whatever the disk is to be.
func TestInstallSealedFirst(t *testing.T) {
	t.Parallel()
	disk := storagetest.New(1 << 30)
	i := startInstalling(t, encrypts(disk, &vault{disk: disk, key: recovery.New()}))
	i.await("volumes that wait", func(s snapshot) bool { return s.storage.Status.StateUndecided })
	sealed := sealedFor(t, standalone(t), i.recipient())
	if _, err := i.run(&installv1.Target{Disk: &installv1.DiskSelector{Serial: "S-1"}, Configuration: sealed}); err != nil {
		t.Fatal(err)
	}
	key, err := i.sealingKey()
	if err != nil || !i.holds(string(key.Text())) {
		t.Errorf("the key is not on the state volume: %v", err)
	}
}
