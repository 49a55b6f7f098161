package machined

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// TestFirstConfigurationMakesTheVolumes: a machine with a TPM has no state volume to store the configuration of its owner on, until that says how it is made.
func TestFirstConfigurationMakesTheVolumes(t *testing.T) {
	t.Parallel()
	for mode, encrypted := range map[config.EncryptionMode]bool{config.EncryptionNone: false, config.EncryptionTPM: true} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			state, disk := t.TempDir(), storagetest.New(1<<30)
			sealed := func(c *Config) { c.Boot.TPM, c.Storage = true, storage.New(disk, disk, disk) }
			b := startBareWith(t, state, disk, sealed, maintenance.Claim{From: "the image"})
			print, before := b.shown(t), disk.String()
			configs := configv1.NewConfigServiceClient(b.dial(t, b.certificate(t, b.owner)))
			docs := withEncryption(t, mode)
			checked, err := configs.Validate(t.Context(), &configv1.ValidateRequest{Document: "kind: Machine\n"})
			if err != nil || len(checked.GetMistakes()) == 0 {
				t.Errorf("validate: %v, %v", checked, err)
			}
			_, err = configs.Apply(t.Context(), &configv1.ApplyRequest{Document: "kind: Machine\n"})
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("a bad configuration: %v", err)
			}
			_, err = configs.Apply(t.Context(), &configv1.ApplyRequest{Document: string(docs), Mode: configv1.Mode_MODE_TRY})
			if status.Code(err) != codes.FailedPrecondition {
				t.Errorf("try: %v", err)
			}
			would, err := configs.Apply(t.Context(), &configv1.ApplyRequest{Document: string(docs), DryRun: true})
			if err != nil || len(would.GetDomains()) == 0 || disk.String() != before {
				t.Errorf("dry run: %v, %v; the disk is\n%s", would, err, disk)
			}
			if applied, err := configs.Apply(t.Context(), &configv1.ApplyRequest{Document: string(docs)}); err != nil || applied.GetRevision() != 1 {
				t.Fatalf("apply: %v, %v", applied, err)
			}
			b.checkConfigured(t, docs, print)
			b.await("storage and identity", func(s snapshot) bool { return s.identity && s.storage.Status.Ready })
			if got := disk.String(); strings.Contains(got, "encrypted state") != encrypted || strings.Contains(got, "encrypted data") != encrypted {
				t.Errorf("the disk is\n%s", got)
			}
			b.end()
			disk.Boot(true)
			again := startNodeWith(t, state, disk, sealed)
			again.await("the configuration after a restart", func(s snapshot) bool { return s.input.Config != nil && s.storage.Status.Ready })
		})
	}
}

// TestVolumesThatCannotBeMade: the caller is told why, nothing is in force, and the next one may decide anew.
func TestVolumesThatCannotBeMade(t *testing.T) {
	t.Parallel()
	disk := storagetest.New(1 << 30)
	b := startBareWith(t, t.TempDir(), disk, func(c *Config) { c.Boot.TPM, c.Storage = true, storage.New(disk, disk, disk) }, maintenance.Claim{From: "the image"})
	apply := func(d time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		request := server.ConfigRequest{By: "owner", ConfigDocument: server.ConfigDocument{Document: string(standalone(t))}}
		_, err := configsAPI{b.Agent}.ApplyConfig(ctx, request)
		return err
	}
	disk.FailPower(0)
	err := apply(2 * time.Second)
	if !errors.Is(err, server.ErrUnavailable) || !strings.Contains(err.Error(), "cannot keep the configuration, which was not taken: ") {
		t.Errorf("a configuration that nothing can keep: %v", err)
	}
	if in := b.snapshot().input; in.Config != nil || in.Encryption != "" {
		t.Errorf("it has consequences: %+v", in)
	}
	disk.FailPower(-1)
	if err := apply(time.Minute); err != nil {
		t.Error(err)
	}
	b.await("the configuration", func(s snapshot) bool { return s.input.Config != nil && s.storage.Status.Ready })
}

// slowStorage does no operation that begins with a text before it is let.
type slowStorage struct {
	*storage.Reconciler
	text string
	let  chan struct{}
}

func (s slowStorage) Apply(ctx context.Context, spec storage.Spec, op storage.Op) error {
	if strings.HasPrefix(op.String(), s.text) {
		select {
		case <-s.let:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.Reconciler.Apply(ctx, spec, op)
}

// TestTwoFirstConfigurations: while the volumes are made as one says, another has no say about them; nor has one that is meant for a node with revisions.
func TestTwoFirstConfigurations(t *testing.T) {
	t.Parallel()
	disk := storagetest.New(1 << 30)
	slow := slowStorage{storage.New(disk, disk, disk), "", make(chan struct{})}
	b := startBareWith(t, t.TempDir(), disk, func(c *Config) { c.Boot.TPM, c.Storage = true, slow }, maintenance.Claim{From: "the image"})
	b.await("volumes that wait", func(s snapshot) bool { return s.storage.Status.StateUndecided })
	apply := func(mode config.EncryptionMode, expected uint64) error {
		request := server.ConfigRequest{By: "owner", Expected: expected, ConfigDocument: server.ConfigDocument{Document: string(withEncryption(t, mode))}}
		_, err := configsAPI{b.Agent}.ApplyConfig(t.Context(), request)
		return err
	}
	if err := apply(config.EncryptionNone, 3); !errors.Is(err, server.ErrPrecondition) || b.snapshot().input.Encryption != "" {
		t.Errorf("instead of revision 3: %v, and volumes are made with encryption %q", err, b.snapshot().input.Encryption)
	}
	one := make(chan error, 1)
	go func() { one <- apply(config.EncryptionTPM, 0) }()
	b.await("the first", func(s snapshot) bool { return s.input.Encryption == config.EncryptionTPM })
	two := make(chan error, 1)
	go func() { two <- apply(config.EncryptionNone, 0) }()
	select {
	case err := <-two:
		// Unavailable, where the storage has seen already that it is decided.
		if !errors.Is(err, server.ErrPrecondition) && !errors.Is(err, server.ErrUnavailable) || b.snapshot().input.Encryption != config.EncryptionTPM {
			t.Errorf("the second: %v; volumes are made with encryption %q", err, b.snapshot().input.Encryption)
		}
	case <-time.After(2 * time.Second):
		t.Error("the second is taken too")
	}
	close(slow.let)
	if err := <-one; err != nil {
		t.Error(err)
	}
	b.await("volumes", func(s snapshot) bool { return s.storage.Status.Ready })
	if got := disk.String(); !strings.Contains(got, "encrypted state") || !strings.Contains(got, "encrypted data") {
		t.Errorf("the first wants them encrypted, and the disk is\n%s", got)
	}
}
