package volumes

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/recovery"
	"github.com/cyvive/cyvive/internal/trust/tpm"
	"github.com/cyvive/cyvive/internal/trust/tpmtest"
)

// TestRecover: a board is replaced. The TPM is another one, the recovery key opens the disk, and from then on the new TPM does.
func TestRecover(t *testing.T) {
	t.Parallel()
	n := made(t)
	key, err := n.agent().RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	n.machine = tpmtest.New(t)
	v := n.boot("release 1")
	if reason := n.unlock(v, storage.State); !bytes.Contains([]byte(reason), []byte(tpm.ErrOther.Error())) {
		t.Fatalf("refused with %q", reason)
	}
	if err := v.Cap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := v.Recover(t.Context(), storage.State, n.device(storage.State), recovery.New()); !errors.Is(err, ErrOtherRecoveryKey) {
		t.Errorf("another recovery key: %v", err)
	}
	if s := n.look(v, storage.State); s.Refused == "" || s.Mapped.Device != "" {
		t.Errorf("after another recovery key: %+v", s)
	}
	if err := v.Recover(t.Context(), storage.State, n.device(storage.State), key); err != nil {
		t.Fatal(err)
	}
	if s := n.look(v, storage.State); s.Refused != "" || s.Mapped.Device == "" {
		t.Errorf("after the recovery key: %+v", s)
	}
	if reason := n.unlock(v, storage.Data); reason != "" {
		t.Errorf("data: %s", reason)
	}
	if err := v.Extend(t.Context(), storage.State); err != nil {
		t.Error(err)
	}
	own, err := os.ReadFile(filepath.Join(n.dir, "state/keys/state"))
	if err != nil || bytes.Equal(own, key.Bytes()) {
		t.Errorf("the recovery key was kept as the volume's own: %v", err)
	}
	if err := v.Reseal(t.Context(), n.device(storage.State), sealedToTPM); err != nil {
		t.Fatal(err)
	}
	for _, release := range []string{"release 1", "release 2"} {
		if reason := n.unlock(n.boot(release), storage.State); reason != "" {
			t.Errorf("%s: %s", release, reason)
		}
	}
	if got := n.keys(storage.State); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("slots %v, expected the one that was sealed before to be another", got)
	}
}

// TestResealRefuses: what the next boot could not open is not put in the place of what it could. So it is with other keys.
func TestResealRefuses(t *testing.T) {
	t.Parallel()
	n := made(t)
	before, err := os.ReadFile(n.device(storage.State))
	if err != nil {
		t.Fatal(err)
	}
	for name, prepare := range map[string]func(*Volumes){
		"no signer":           func(v *Volumes) { v.cfg.Signers = nil },
		"not signed":          func(v *Volumes) { v.cfg.Signatures = func() ([]pcr.Signature, error) { return nil, nil } },
		"no key on state":     func(v *Volumes) { v.cfg.KeyDir = t.TempDir() },
		"no TPM":              func(v *Volumes) { v.cfg.TPM = func() (*tpm.TPM, error) { return tpm.Open("/nonexistent/tpm") } },
		"key of another disk": func(v *Volumes) { v.cfg.KeyDir = otherKeys(t) },
		"added command line":  func(*Volumes) { tpmtest.Extend(t, n.tpm, pcr.Config, "init=/bin/sh") },
		"added extension":     func(*Volumes) { tpmtest.Extend(t, n.tpm, pcr.Extensions, "more") },
	} {
		v := n.boot("release 1")
		prepare(v)
		var changed *tpm.ChangedError
		err := v.Reseal(t.Context(), n.device(storage.State), sealedToTPM)
		if err == nil || errors.As(err, &changed) != strings.HasPrefix(name, "added ") {
			t.Errorf("%s: it was sealed, or is not said to be so: %v", name, err)
		}
		if err := v.Rotate(t.Context(), storage.State, n.device(storage.State), sealedToTPM); err == nil {
			t.Errorf("%s: it has other keys", name)
		}
		if after, err := os.ReadFile(n.device(storage.State)); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the disk was changed: %v", name, err)
		}
	}
}

func otherKeys(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	_, data := luks.NewKey()
	if err := os.WriteFile(filepath.Join(dir, storage.State), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestForget: the recovery key is shown until somebody proves that he has it, and opens the volumes afterwards too.
func TestForget(t *testing.T) {
	t.Parallel()
	n := made(t)
	v := n.agent()
	key, err := v.RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	devices := map[string]string{storage.State: n.device(storage.State), storage.Data: n.device(storage.Data)}
	if err := v.ForgetRecoveryKey(recovery.New(), devices); !errors.Is(err, ErrOtherRecoveryKey) {
		t.Errorf("another one: %v", err)
	}
	typed, err := recovery.Parse(key.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if err := v.ForgetRecoveryKey(typed, devices); err != nil {
		t.Fatal(err)
	}
	if _, err := v.RecoveryKey(); !errors.Is(err, ErrNoRecoveryKey) {
		t.Errorf("shown again: %v", err)
	}
	for volume := range devices {
		if s := n.look(v, volume); !s.Enrolled {
			t.Errorf("volume %s counts as one without a recovery key", volume)
		}
	}
	for _, volume := range []string{storage.State, storage.Data} {
		v := n.boot("release 1")
		if err := v.Recover(t.Context(), volume, n.device(volume), typed); err != nil {
			t.Errorf("volume %s: %v", volume, err)
		}
	}
}

// TestWiped: a reset leaves neither copy of a header nor a key slot, so that neither the TPM nor the recovery key opens anything, and the volumes are made
// anew with other keys.
func TestWiped(t *testing.T) {
	t.Parallel()
	n := made(t)
	key, err := n.agent().RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	old, err := luks.Inspect(n.device(storage.State))
	if err != nil {
		t.Fatal(err)
	}
	for _, volume := range []string{storage.Data, storage.State} {
		if err := blockdev.Wipe(t.Context(), n.device(volume)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(n.device(volume))
		if err != nil || len(bytes.Trim(data[:luks.HeaderBytes], "\x00")) > 0 {
			t.Errorf("volume %s has something where its header and keys were: %v", volume, err)
		}
		if _, err := luks.Inspect(n.device(volume)); !errors.Is(err, luks.ErrNone) {
			t.Errorf("volume %s: %v", volume, err)
		}
		c, err := blockdev.New(blockdev.Tools{}, "").Contents(t.Context(), n.device(volume))
		if err != nil || !c.Blank || c.Formatting || c.Signature != "" {
			t.Errorf("volume %s holds %+v, %v", volume, c, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(n.dir, "state", "keys")); err != nil { // it was on what is wiped
		t.Fatal(err)
	}
	v := n.boot("release 1")
	if err := v.Recover(t.Context(), storage.State, n.device(storage.State), key); err == nil {
		t.Error("the recovery key opens what was wiped")
	}
	if err := v.Encrypt(t.Context(), storage.State, n.device(storage.State), sealedToTPM); err != nil {
		t.Fatal(err)
	}
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Error(reason)
	}
	if now, err := luks.Inspect(n.device(storage.State)); err != nil || now.UUID == old.UUID {
		t.Errorf("it is volume %s again, %v", now.UUID, err)
	}
	if err := v.Enrol(t.Context(), storage.State, n.device(storage.State)); err != nil {
		t.Fatal(err)
	}
	again := n.boot("release 1")
	if err := again.Recover(t.Context(), storage.State, n.device(storage.State), key); !errors.Is(err, ErrOtherRecoveryKey) {
		t.Errorf("the recovery key of before the reset: %v", err)
	}
}
