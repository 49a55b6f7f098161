package machined

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/recovery"
	"github.com/cyvive/cyvive/internal/trust/tpm"
	"github.com/cyvive/cyvive/internal/trust/volumes"
)

// vault is the recovery key of a machine's volumes.
type vault struct {
	mu        sync.Mutex
	disk      *storagetest.Machine
	key       recovery.Key
	forgotten bool
	// asked are the devices that are to have the key before it is forgotten, and lacks is why it is not.
	asked   map[string]string
	lacks   error
	seal    error
	sealed  int
	rotated []string
	// recovered are encrypted disks of pools, and broken is one that neither opens nor gets another key.
	recovered []string
	broken    string
	// how is what was sealed with last.
	how storage.Encryption
}

func (v *vault) RecoveryKey() (recovery.Key, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.forgotten {
		return recovery.Key{}, volumes.ErrNoRecoveryKey
	}
	return v.key, nil
}

func (v *vault) ForgetRecoveryKey(k recovery.Key, devices map[string]string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if k != v.key {
		return volumes.ErrOtherRecoveryKey
	}
	if v.asked = devices; v.lacks != nil {
		return v.lacks
	}
	v.forgotten = true
	v.disk.Unnoted(false)
	return nil
}

func (v *vault) Recover(_ context.Context, volume, device string, k recovery.Key) error {
	if k != v.key {
		return volumes.ErrOtherRecoveryKey
	}
	v.disk.Recover(volume, device)
	return nil
}

func (v *vault) Reseal(ctx context.Context, _ string, how storage.Encryption) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.how = how
	if v.seal == nil {
		v.sealed++
	}
	return v.seal
}

func (v *vault) Rotate(_ context.Context, volume, device string, how storage.Encryption) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.how = how
	if volume == v.broken {
		return errors.New("input/output error")
	}
	if v.seal == nil {
		v.rotated = append(v.rotated, volume+" on "+device)
	}
	return v.seal
}

func (v *vault) RecoverDisk(_ context.Context, name, partition string, k recovery.Key) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case name == v.broken:
		return volumes.ErrForm
	case k != v.key:
		return volumes.ErrOtherRecoveryKey
	}
	v.recovered = append(v.recovered, name+" on "+partition)
	return nil
}

func (v *vault) Keyed(volume string) bool { return v.disk.Keyed(volume) }

// sealedNode is a node with an encrypted disk, once it has made that or, the machine having changed since, does not get it open.
func sealedNode(t *testing.T, changed bool) (*node, *vault) {
	t.Helper()
	disk := storagetest.New(1 << 30)
	v := &vault{disk: disk, key: recovery.New()}
	state := t.TempDir()
	start := func() *node {
		n := startNodeWith(t, state, disk, func(c *Config) {
			c.Boot.TPM, c.Storage, c.Vault = true, storage.New(disk, disk, disk, disk), v
		})
		n.source.set(withEncryption(t, "tpm"))
		return n
	}
	n := start()
	n.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity })
	if !changed {
		return n, v
	}
	n.end()
	disk.ChangePCRs(true)
	disk.Boot(true)
	n = start()
	n.await("a disk that does not open", func(s snapshot) bool { return strings.Contains(s.storage.Status.Reason, "does not open") })
	return n, v
}

func TestRecoverOverTheAPI(t *testing.T) {
	t.Parallel()
	n, v := sealedNode(t, true)
	api := disksAPI{n.Agent}
	ctx := t.Context()
	list, err := api.Volumes(ctx)
	if err != nil || len(list) != 2 || !list[0].Encrypted || !list[0].Recoverable || list[0].Mounted || !strings.Contains(list[0].Reason, "PCR 11") {
		t.Errorf("volumes %+v, %v", list, err)
	}
	key := v.key.Reveal()
	mistyped := key[:len(key)-1] + string(rune(key[len(key)-1]^1))
	for name, c := range map[string]struct {
		err  error
		want error
		says string
	}{
		"recovery key":        {second(api.RecoveryKey(ctx)), server.ErrUnavailable, "kept on volume state"},
		"forget":              {api.ForgetRecoveryKey(ctx, key), server.ErrUnavailable, ""},
		"reseal":              {api.Reseal(ctx), server.ErrUnavailable, ""},
		"rotate":              {second(api.RotateKeys(ctx)), server.ErrUnavailable, "kept on volume state"},
		"another key":         {api.Recover(ctx, "state", recovery.New().Reveal()), server.ErrInvalid, "something else"},
		"a mistyped key":      {api.Recover(ctx, "state", mistyped), server.ErrInvalid, "group 13"},
		"a volume of no name": {api.Recover(ctx, "swap", key), server.ErrNotFound, `"swap"`},
	} {
		if !errors.Is(c.err, c.want) || !strings.Contains(c.err.Error(), c.says) {
			t.Errorf("%s: got %v, want %v with %q", name, c.err, c.want, c.says)
		}
	}
	if err := api.Recover(ctx, "state", strings.ToLower(key)); err != nil {
		t.Fatal(err)
	}
	n.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity && s.came == inTime })
	if err := api.Recover(ctx, "state", key); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("recovered twice: %v", err)
	}
	if err := api.Reseal(ctx); err != nil || v.sealed != 1 {
		t.Errorf("sealed %d times, %v", v.sealed, err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := api.Reseal(gone); err != nil || v.sealed != 2 {
		t.Errorf("for a caller who has hung up it was sealed %d times, %v", v.sealed, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestRecoveryKeyOverTheAPI(t *testing.T) {
	t.Parallel()
	n, v := sealedNode(t, false)
	api := disksAPI{n.Agent}
	for range 2 {
		if key, err := api.RecoveryKey(t.Context()); err != nil || key != v.key.Reveal() {
			t.Errorf("got a key of %d characters, %v", len(key), err)
		}
	}
	if err := api.ForgetRecoveryKey(t.Context(), recovery.New().Reveal()); !errors.Is(err, server.ErrInvalid) {
		t.Errorf("another key: %v", err)
	}
	whole := n.snapshot().storage.Status.Volumes
	n.update(func(s *snapshot) {
		s.storage.Status.Volumes = []storage.VolumeStatus{whole[0], {Name: "data", Reason: "volume data is not mounted yet"}}
	})
	if err := api.ForgetRecoveryKey(t.Context(), v.key.Reveal()); !errors.Is(err, server.ErrUnavailable) || v.forgotten {
		t.Errorf("while data is not made yet: %v", err)
	}
	n.update(func(s *snapshot) { s.storage.Status.Volumes = whole })
	v.lacks = volumes.ErrNotEnrolled
	if err := api.ForgetRecoveryKey(t.Context(), v.key.Reveal()); !errors.Is(err, server.ErrUnavailable) {
		t.Errorf("while a volume does not have it: %v", err)
	}
	v.lacks = nil
	if err := api.ForgetRecoveryKey(t.Context(), v.key.Reveal()); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"state": "/dev/vda6", "data": "/dev/vda7"}; !maps.Equal(want, v.asked) {
		t.Errorf("asked for %v, want %v", v.asked, want)
	}
	if _, err := api.RecoveryKey(t.Context()); !errors.Is(err, server.ErrNotFound) {
		t.Errorf("forgotten: %v", err)
	}
	names, err := api.RotateKeys(t.Context())
	if want := []string{"state on /dev/vda6", "data on /dev/vda7"}; err != nil || len(names) != 2 || !slices.Equal(want, v.rotated) {
		t.Errorf("rotated %v as %v, %v", names, v.rotated, err)
	}
	v.seal = pcr.ErrUnsigned
	if _, err := api.RotateKeys(t.Context()); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("keys for a release that nobody has signed: %v", err)
	}
	if err := api.Reseal(t.Context()); !errors.Is(err, server.ErrPrecondition) || v.sealed > 0 {
		t.Errorf("a release that nobody has signed: %v", err)
	}
	v.seal = &tpm.ChangedError{Changes: []tpm.Change{{PCR: pcr.Config}}}
	if err := api.Reseal(t.Context()); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "PCR 12 (additions to its command line)") {
		t.Errorf("a machine that was started with more of a command line: %v", err)
	}
}

// TestUnnotedRecoveryKey: that the node has made another recovery key is told until somebody has noted it; the node is ready all the same, and no release goes back for it.
func TestUnnotedRecoveryKey(t *testing.T) {
	t.Parallel()
	n, v := sealedNode(t, false)
	api := disksAPI{n.Agent}
	is := func(healthy bool) func(snapshot) bool {
		return func(s snapshot) bool {
			c, ok := checkOf(s, recoveryKeyCheck)
			return ok && c.Healthy == healthy && c.Aside && s.storage.Status.Ready
		}
	}
	n.await("no key to wait", is(true))
	v.disk.Unnoted(true)
	n.wakers[plan.Storage].Wake()
	n.await("a key that waits to be noted", is(false))
	c, _ := checkOf(n.snapshot(), recoveryKeyCheck)
	list, err := api.Volumes(t.Context())
	if err != nil || list[0].Reason != c.Reason || !strings.Contains(c.Reason, "`nodectl disk recovery-key`") || list[1].Reason != "" {
		t.Errorf("the check says %q, and the volumes are %+v, %v", c.Reason, list, err)
	}
	if told := strings.Join(n.told(server.EventHealth), "\n"); !strings.Contains(told, c.Reason) {
		t.Errorf("no event says so:\n%s", told)
	}
	if slices.ContainsFunc(gates(n.snapshot()), func(g upgrade.Gate) bool { return g.Name == recoveryKeyCheck }) {
		t.Error("it is a gate of releases")
	}
	if err := api.ForgetRecoveryKey(t.Context(), v.key.Reveal()); err != nil {
		t.Fatal(err)
	}
	n.await("the key to be noted", is(true))
	if list, err := api.Volumes(t.Context()); err != nil || list[0].Reason != "" {
		t.Errorf("volumes %+v, %v", list, err)
	}
}

// TestPlainDisk: a node without encryption has nothing of this, and says so.
func TestPlainDisk(t *testing.T) {
	t.Parallel()
	n := startNode(t, t.TempDir(), storagetest.New(1<<30))
	n.source.set(standalone(t))
	n.await("storage", func(s snapshot) bool { return s.storage.Status.Ready })
	api := disksAPI{n.Agent}
	list, err := api.Volumes(t.Context())
	if err != nil || len(list) != 2 || list[0].Encrypted || !list[1].Mounted || list[1].Reason != "" {
		t.Errorf("volumes %+v, %v", list, err)
	}
	key := recovery.New().Reveal()
	for name, err := range map[string]error{
		"recovery key": second(api.RecoveryKey(t.Context())), "forget": api.ForgetRecoveryKey(t.Context(), key),
		"recover": api.Recover(t.Context(), "state", key), "reseal": api.Reseal(t.Context()), "rotate": second(api.RotateKeys(t.Context())),
	} {
		if !errors.Is(err, server.ErrPrecondition) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
