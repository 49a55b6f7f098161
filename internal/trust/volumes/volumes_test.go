package volumes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/tpm"
	"github.com/cyvive/cyvive/internal/trust/tpmtest"
)

func TestLife(t *testing.T) {
	t.Parallel()
	n := made(t)
	data, err := os.ReadFile(filepath.Join(n.dir, "state/keys/recovery"))
	if err != nil {
		t.Fatal(err)
	}
	recoveryKey, err := luks.Key(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range []string{"release 1", "release 2"} {
		v := n.boot(release)
		if capped, err := v.Capped(); capped || err != nil {
			t.Errorf("%s: capped %t, %v", release, capped, err)
		}
		if reason := n.unlock(v, storage.State); reason != "" {
			t.Errorf("%s: %s", release, reason)
		}
		if err := v.Cap(t.Context()); err != nil {
			t.Fatal(err)
		}
		if reason := n.unlock(v, storage.Data); reason != "" {
			t.Errorf("%s: %s", release, reason)
		}
		// Another agent finds them open, capped, and has their keys.
		v = n.agent()
		if capped, err := v.Capped(); !capped || err != nil {
			t.Errorf("%s: capped %t, %v", release, capped, err)
		}
		for _, volume := range []string{storage.State, storage.Data} {
			if s := n.look(v, volume); s.Mapped.Device == "" || s.Refused != "" {
				t.Errorf("%s: volume %s: %+v", release, volume, s)
			}
			if err := v.Extend(t.Context(), volume); err != nil {
				t.Error(err)
			}
			// Enrolled once more, as after a power cut before it was noted, it has no second slot for the same key.
			if err := v.Enrol(t.Context(), volume, n.device(volume)); err != nil {
				t.Error(err)
			}
			if got := n.keys(volume); !slices.Equal(got, slotsMade[volume]) {
				t.Errorf("%s: volume %s has the slots %v", release, volume, got)
			}
		}
	}
	for _, volume := range []string{storage.State, storage.Data} {
		slot, err := n.cryptsetup.Test(t.Context(), n.device(volume), recoveryKey)
		if want := slotsMade[volume][len(slotsMade[volume])-1]; slot != want || err != nil {
			t.Errorf("the recovery key opens slot %d of %s, %v", slot, volume, err)
		}
	}
}

// TestKeyed: state has the key of data from when that is made.
func TestKeyed(t *testing.T) {
	t.Parallel()
	v := made(t).agent()
	if !v.Keyed(storage.Data) || v.Keyed("other") {
		t.Errorf("a key for data: %t, for another volume: %t", v.Keyed(storage.Data), v.Keyed("other"))
	}
	if err := os.WriteFile(v.keyFile(storage.Data), []byte("noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !v.Keyed(storage.Data) {
		t.Error("a key that is damaged is none")
	}
}

// slotsMade are those of the volumes of a node: the key that was sealed, the own one and the recovery key of state, and the last two of data.
var slotsMade = map[string][]int{storage.State: {0, 1, 2}, storage.Data: {0, 1}}

// TestRefused: a machine that may not have the key says why, in this boot and to the next agent; the boot after, it may.
func TestRefused(t *testing.T) {
	t.Parallel()
	n := made(t)
	for name, c := range map[string]struct {
		boot func() *Volumes
		says string
	}{
		"changed image": {func() *Volumes { return n.boot("release 1 with another command line") }, "PCR 11 (the kernel image) is"},
		"added command line": {func() *Volumes {
			v := n.boot("release 1")
			tpmtest.Extend(t, n.tpm, pcr.Config, "init=/bin/sh")
			return v
		}, "PCR 12"},
		"capped": {func() *Volumes {
			v := n.boot("release 1")
			if err := v.Cap(t.Context()); err != nil {
				t.Fatal(err)
			}
			return v
		}, tpm.ErrCapped.Error()},
		"no TPM": {func() *Volumes {
			v := n.boot("release 1")
			v.cfg.TPM = func() (*tpm.TPM, error) { return tpm.Open("/nonexistent/tpm") }
			return v
		}, tpm.ErrNone.Error()},
		"another TPM": {func() *Volumes {
			v := n.boot("release 1")
			n.tpm = tpmtest.New(t).Transport()
			tpmtest.Extend(t, n.tpm, pcr.SecureBoot, "on")
			tpmtest.Extend(t, n.tpm, pcr.Kernel, "release 1")
			return v
		}, tpm.ErrOther.Error()},
		"unsigned": {func() *Volumes {
			v := n.boot("release 1")
			v.cfg.Signatures = func() ([]pcr.Signature, error) { return nil, fmt.Errorf("parse: %w", pcr.ErrUnsigned) }
			return v
		}, pcr.ErrUnsigned.Error()},
	} {
		v := c.boot()
		if reason := n.unlock(v, storage.State); !bytes.Contains([]byte(reason), []byte(c.says)) {
			t.Errorf("%s: refused with %q, want %q in it", name, reason, c.says)
		}
		if s := n.look(n.agent(), storage.State); s.Refused == "" {
			t.Errorf("%s: the next agent does not know", name)
		}
	}
	if reason := n.unlock(n.boot("release 2"), storage.State); reason != "" {
		t.Errorf("the next boot: %s", reason)
	}
}

// TestFalseState: a volume of somebody else's, sealed to the same TPM under the same policy, opens; and then there is no key for data, nor one for the
// true state.
func TestFalseState(t *testing.T) {
	t.Parallel()
	n := made(t)
	truth, err := os.ReadFile(n.device(storage.State))
	if err != nil {
		t.Fatal(err)
	}
	other := n.boot("release 1")
	other.cfg.KeyDir = filepath.Join(n.dir, "false/keys")
	if err := other.Encrypt(t.Context(), storage.State, n.device(storage.State), sealedToTPM); err != nil {
		t.Fatal(err)
	}
	v := n.boot("release 1")
	v.cfg.KeyDir = other.cfg.KeyDir // what is on the false volume
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Fatalf("the false state: %s", reason)
	}
	if err := v.Cap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if reason := n.unlock(v, storage.Data); reason != "no key: volume state has none for volume data" {
		t.Errorf("data: %q", reason)
	}
	true2 := n.device(storage.State) + "-true"
	if err := os.WriteFile(true2, truth, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := v.unseal(t.Context(), storage.State, true2, sealedToTPM); !errors.Is(err, tpm.ErrCapped) {
		t.Errorf("the key of the true state: %v", err)
	}
}

// TestSwappedHeaders: the token of one volume in the header of another is noticed.
func TestSwappedHeaders(t *testing.T) {
	t.Parallel()
	n := made(t)
	h, err := luks.Inspect(n.device(storage.State))
	if err != nil {
		t.Fatal(err)
	}
	v := n.boot("release 1")
	if err := v.Encrypt(t.Context(), storage.State, n.device(storage.State), sealedToTPM); err != nil {
		t.Fatal(err)
	}
	if err := n.cryptsetup.PutToken(t.Context(), n.device(storage.State), luks.Token{Number: sealedToken, JSON: h.Tokens[0].JSON}); err != nil {
		t.Fatal(err)
	}
	if reason := n.unlock(v, storage.State); !bytes.Contains([]byte(reason), []byte("it is of volume state ("+h.UUID+")")) {
		t.Errorf("refused with %q", reason)
	}
}

// TestEncryptRefuses: where the next boot could not open it, nothing is made, and the disk is as it was.
func TestEncryptRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for name, prepare := range map[string]func(*Volumes){
		"an image that is not the signed one": func(v *Volumes) { tpmtest.Extend(t, n.tpm, pcr.Kernel, "more") },
		"capped":                              func(v *Volumes) { _ = v.Cap(t.Context()) },
		"no signature":                        func(v *Volumes) { v.cfg.Signatures = func() ([]pcr.Signature, error) { return nil, nil } },
		"no signer":                           func(v *Volumes) { v.cfg.Signers = nil },
		"no TPM":                              func(v *Volumes) { v.cfg.TPM = func() (*tpm.TPM, error) { return tpm.Open("/nonexistent/tpm") } },
	} {
		v := n.boot("release 1")
		prepare(v)
		err := v.Encrypt(t.Context(), storage.State, n.device(storage.State), sealedToTPM)
		if err == nil {
			t.Errorf("%s: it was made", name)
		} else if errors.Is(err, tpm.ErrCapped) && !strings.Contains(err.Error(), "reboot the machine") {
			t.Errorf("%s: it is not said what to do: %v", name, err)
		}
		data, err := os.ReadFile(n.device(storage.State))
		if err != nil || len(bytes.Trim(data, "\x00")) > 0 {
			t.Errorf("%s: the disk was changed: %v", name, err)
		}
	}
}

// TestInterrupted: an Encrypt that fails on its way leaves the mark, and the next one begins anew.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	v := n.boot("release 1")
	disk := blockdev.New(blockdev.Tools{}, "")
	v.cfg.LUKS = failing{opener{n.cryptsetup, n}}
	if err := v.Encrypt(t.Context(), storage.State, n.device(storage.State), sealedToTPM); !errors.Is(err, errPower) {
		t.Fatal(err)
	}
	if c, err := disk.Contents(t.Context(), n.device(storage.State)); err != nil || !c.Formatting {
		t.Errorf("after it: %+v, %v", c, err)
	}
	v = n.boot("release 1")
	if err := v.Encrypt(t.Context(), storage.State, n.device(storage.State), sealedToTPM); err != nil {
		t.Fatal(err)
	}
	c, err := disk.Contents(t.Context(), n.device(storage.State))
	if err != nil || c.Formatting || c.Signature != storage.Encrypted {
		t.Errorf("done: %+v, %v", c, err)
	}
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Error(reason)
	}
}

var errPower = errors.New("power failed")

// failing loses its power before it has stored the sealed key.
type failing struct{ opener }

func (failing) PutToken(context.Context, string, luks.Token) error { return errPower }

// killed is an agent that ends before it has closed what it has opened, and whose successor finds the device in use, as the kernel has it.
type killed struct {
	opener
	before bool
}

func (k killed) Close(ctx context.Context, name string) error {
	if k.before {
		return errPower
	}
	return k.opener.Close(ctx, name)
}

func (k killed) Format(ctx context.Context, device, label string, s luks.Secret) error {
	if held, err := filepath.Glob(filepath.Join(k.n.dir, "sys/class/block/dm-*/slaves", filepath.Base(device))); len(held) > 0 || err != nil {
		return errors.Join(luks.ErrBusy, err)
	}
	return k.opener.Format(ctx, device, label, s)
}

// TestKilledWhileOpen: the next agent of the same boot closes what the one before has left open, and begins anew.
func TestKilledWhileOpen(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	v := n.boot("release 1")
	v.cfg.LUKS = killed{opener{n.cryptsetup, n}, true}
	if err := v.Encrypt(t.Context(), storage.State, n.device(storage.State), sealedToTPM); !errors.Is(err, errPower) {
		t.Fatal(err)
	}
	v = n.agent()
	v.cfg.LUKS = killed{opener{n.cryptsetup, n}, false}
	if err := v.Encrypt(t.Context(), storage.State, n.device(storage.State), sealedToTPM); err != nil {
		t.Fatal(err)
	}
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Error(reason)
	}
}

// TestOtherDevice: an open volume of the name that lies on another disk is not taken for the node's.
func TestOtherDevice(t *testing.T) {
	t.Parallel()
	n := made(t)
	v := n.boot("release 1")
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Fatal(reason)
	}
	slaves := filepath.Join(n.dir, "sys/class/block/dm-cyvive-state/slaves")
	if err := os.Rename(filepath.Join(slaves, "state-partition"), filepath.Join(slaves, "sdz")); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Volume(t.Context(), storage.State, n.device(storage.State)); err == nil {
		t.Error("it was taken")
	}
}

// TestOpens: a volume that nothing is sealed for is opened by any image, and a sealed one by none that is not signed; package pcr has the rest.
func TestOpens(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	if err := Opens(n.device(storage.State), bytes.NewReader(nil)); err != nil {
		t.Errorf("a blank partition: %v", err)
	}
	key, _ := luks.NewKey()
	if err := n.cryptsetup.Format(t.Context(), n.device(storage.State), storage.State, key); err != nil {
		t.Fatal(err)
	}
	if err := Opens(n.device(storage.State), bytes.NewReader(nil)); err != nil {
		t.Errorf("a volume with a key that is not sealed: %v", err)
	}
	if err := n.boot("release 1").Encrypt(t.Context(), storage.State, n.device(storage.State), sealedToTPM); err != nil {
		t.Fatal(err)
	}
	if err := Opens(n.device(storage.State), bytes.NewReader([]byte("no image"))); err == nil {
		t.Error("a sealed volume is opened by what is no image")
	}
}

// TestTroubleThatStays: what may pass is tried again, and then it counts as it is.
func TestTroubleThatStays(t *testing.T) {
	t.Parallel()
	n := made(t)
	v := n.boot("release 1")
	trouble := errors.New("the boot partition cannot be read")
	v.cfg.Signatures = func() ([]pcr.Signature, error) { return nil, trouble }
	for try := 1; try <= maxFailures; try++ {
		err := v.Unlock(t.Context(), storage.State, n.device(storage.State), sealedToTPM)
		if last := try == maxFailures; last != (err == nil) || !last && !errors.Is(err, trouble) {
			t.Errorf("attempt %d: %v", try, err)
		}
	}
	if s := n.look(v, storage.State); s.Refused != "read what the running release is measured as: "+trouble.Error() {
		t.Errorf("refused with %q", s.Refused)
	}
}

// TestCapWithoutTPM: a TPM that is out of order keeps a node from what it opened with it, and from nothing else.
func TestCapWithoutTPM(t *testing.T) {
	t.Parallel()
	n := made(t)
	broken := func(v *Volumes) *Volumes {
		v.cfg.TPM = func() (*tpm.TPM, error) { return nil, errors.New("out of order") }
		return v
	}
	v := broken(n.boot("release 1"))
	if err := v.Cap(t.Context()); err != nil {
		t.Errorf("with nothing opened: %v", err)
	}
	if capped, err := v.Capped(); !capped || err != nil {
		t.Errorf("capped %t, %v", capped, err)
	}
	v = n.boot("release 1")
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Fatal(reason)
	}
	if err := broken(v).Cap(t.Context()); err == nil {
		t.Error("with state opened it counts as capped")
	}
	if capped, err := v.Capped(); capped || err != nil {
		t.Errorf("capped %t, %v", capped, err)
	}
}
