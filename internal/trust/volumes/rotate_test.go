package volumes

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

// cutter is cryptsetup until the power fails, with a change of a header: before it is on the disk, or after.
type cutter struct {
	opener
	left  int
	after bool
}

var errCut = errors.New("the power failed")

func (c *cutter) change(do func() error) error {
	c.left--
	switch {
	case c.left > 0:
		return do()
	case c.left < 0 || !c.after:
		return errCut
	}
	return errors.Join(errCut, do())
}

func (c *cutter) AddKey(ctx context.Context, device string, has, further luks.Secret) (slot int, err error) {
	err = c.change(func() (err error) {
		slot, err = c.opener.AddKey(ctx, device, has, further)
		return err
	})
	return slot, err
}

func (c *cutter) PutToken(ctx context.Context, device string, t luks.Token) error {
	return c.change(func() error { return c.opener.PutToken(ctx, device, t) })
}

func (c *cutter) RemoveKey(ctx context.Context, device string, slot int) error {
	return c.change(func() error { return c.opener.RemoveKey(ctx, device, slot) })
}

// files are those of a node's disk, and of the keys on its state volume, by their path.
func (n *node) files() map[string][]byte {
	n.t.Helper()
	out := map[string][]byte{}
	keys, err := filepath.Glob(filepath.Join(n.dir, "state/keys/*"))
	if err != nil {
		n.t.Fatal(err)
	}
	for _, path := range append(keys, n.device(storage.State), n.device(storage.Data)) {
		if out[path], err = os.ReadFile(path); err != nil {
			n.t.Fatal(err)
		}
	}
	return out
}

// restore makes them what they were.
func (n *node) restore(files map[string][]byte) {
	n.t.Helper()
	err := os.RemoveAll(filepath.Join(n.dir, "state/keys"))
	for path, data := range files {
		err = errors.Join(err, writeFile(path, data))
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// opens says whether a key opens a volume.
func (n *node) opens(volume string, key []byte) bool {
	n.t.Helper()
	s, err := luks.Key(key)
	if err != nil {
		n.t.Fatal(err)
	}
	_, err = n.cryptsetup.Test(n.t.Context(), n.device(volume), s)
	if err != nil && !errors.Is(err, luks.ErrWrongKey) {
		n.t.Fatal(err)
	}
	return err == nil
}

// checkRotated wants a volume that its new key opens, and the recovery key, and no other.
func (n *node) checkRotated(volume string, before []byte, r recovery.Key) {
	n.t.Helper()
	own, err := os.ReadFile(filepath.Join(n.dir, "state/keys", volume))
	if err != nil || bytes.Equal(own, before) || !n.opens(volume, own) {
		n.t.Errorf("volume %s: its new key does not open it, or is the one before: %v", volume, err)
	}
	if n.opens(volume, before) || !n.opens(volume, r.Bytes()) || len(n.keys(volume)) != len(slotsMade[volume]) {
		n.t.Errorf("volume %s: the key before opens it: %t, the recovery key: %t, slots %v", volume, n.opens(volume, before), n.opens(volume, r.Bytes()), n.keys(volume))
	}
	if _, err := os.Stat(filepath.Join(n.dir, "state/keys", volume+pendingSuffix)); !errors.Is(err, os.ErrNotExist) {
		n.t.Errorf("volume %s: something is left: %v", volume, err)
	}
}

// boots has both volumes opened by a release.
func (n *node) boots(release string) *Volumes {
	n.t.Helper()
	v := n.boot(release)
	for _, volume := range []string{storage.State, storage.Data} {
		if reason := n.unlock(v, volume); reason != "" {
			n.t.Fatalf("%s: volume %s: %s", release, volume, reason)
		}
	}
	if n.machine == nil {
		return v
	}
	if err := v.Cap(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	return v
}

// TestRotate changes the keys of both volumes, twice; the TPM gives out the new one, to the next release too.
func TestRotate(t *testing.T) {
	t.Parallel()
	n := made(t)
	r, err := n.agent().RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, volume := range []string{storage.State, storage.Data} {
			before := n.files()[filepath.Join(n.dir, "state/keys", volume)]
			if err := n.agent().Rotate(t.Context(), volume, n.device(volume), sealedToTPM); err != nil {
				t.Fatal(err)
			}
			n.checkRotated(volume, before, r)
		}
		n.boots("release 1")
		n.boots("release 2")
	}
	if err := n.agent().Reseal(t.Context(), n.device(storage.State), sealedToTPM); err != nil {
		t.Error(err)
	}
	n.boots("release 1")
}

// TestRotateCuts cuts the power at every change of a header. The next boot opens the disk, and the same again comes to its end.
func TestRotateCuts(t *testing.T) { inEachMode(t, testRotateCuts) }

func testRotateCuts(t *testing.T, n *node) {
	r, err := n.agent().RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	whole := n.files()
	for volume, changes := range map[string]int{storage.State: 5, storage.Data: 2} {
		before := whole[filepath.Join(n.dir, "state/keys", volume)]
		for cut := 1; cut <= changes; cut++ {
			if testing.Short() && cut != changes {
				continue
			}
			for _, after := range []bool{false, true} {
				if !after && (testing.Short() || n.machine == nil) {
					continue // the disk is as after the change before, and in the other modes that is enough
				}
				n.restore(whole)
				v := n.boots("release 1")
				v.cfg.LUKS = &cutter{opener: opener{n.cryptsetup, n}, left: cut, after: after}
				if err := v.Rotate(t.Context(), volume, n.device(volume), n.how); !errors.Is(err, errCut) {
					t.Fatalf("volume %s, cut at change %d: %v", volume, cut, err)
				}
				if again := n.boots("release 2"); again.Rotate(t.Context(), volume, n.device(volume), n.how) != nil {
					t.Fatalf("volume %s, after a cut at change %d: it does not go on", volume, cut)
				}
				n.checkRotated(volume, before, r)
				n.boots("release 1")
			}
		}
		if v := n.boots("release 1"); v.Rotate(t.Context(), volume, n.device(volume), n.how) != nil {
			t.Error("it does not rotate a second time")
		}
	}
}

// TestRotateAfterAnEnd: what the power brought back of a Rotate that had ended does not count as the next one.
func TestRotateAfterAnEnd(t *testing.T) {
	t.Parallel()
	n := made(t)
	r, err := n.agent().RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	v := n.boots("release 1")
	before := n.files()[filepath.Join(n.dir, "state/keys", storage.Data)]
	if err := writeFile(v.keyFile(storage.Data+pendingSuffix), before); err != nil {
		t.Fatal(err)
	}
	if err := v.Rotate(t.Context(), storage.Data, n.device(storage.Data), sealedToTPM); err != nil {
		t.Fatal(err)
	}
	n.checkRotated(storage.Data, before, r)
	n.boots("release 1")
}

// fill gives a volume keys that nothing goes by, until its header has no room for another.
func (n *node) fill(device string, own []byte) {
	n.t.Helper()
	has, err := luks.Key(own)
	for err == nil {
		stale, _ := luks.NewKey()
		_, err = n.cryptsetup.AddKey(n.t.Context(), device, has, stale)
	}
	if !errors.Is(err, luks.ErrFull) {
		n.t.Fatal(err)
	}
}

// TestRotateFull: recovery keys that were noted, forgotten and followed by others fill a header. Then a volume gets no further one, and it is said what helps; and that does.
func TestRotateFull(t *testing.T) {
	t.Parallel()
	n := made(t)
	v := n.boots("release 1")
	first, err := v.RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.ForgetRecoveryKey(first, n.devices()); err != nil {
		t.Fatal(err)
	}
	for _, volume := range []string{storage.State, storage.Data} {
		n.fill(n.device(volume), n.files()[filepath.Join(n.dir, "state/keys", volume)])
		if err := v.Enrol(t.Context(), volume, n.device(volume)); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "nodectl disk rotate") {
			t.Errorf("volume %s, which is full: %v", volume, err)
		}
		if err := v.Rotate(t.Context(), volume, n.device(volume), n.how); err != nil {
			t.Fatal(err)
		}
		if got := n.keys(volume); len(got) != len(slotsMade[volume]) {
			t.Errorf("volume %s has the slots %v", volume, got)
		}
		if err := v.Enrol(t.Context(), volume, n.device(volume)); err != nil {
			t.Error(err)
		}
		if next, err := v.RecoveryKey(); err != nil || !n.opens(volume, next.Bytes()) || !n.opens(volume, first.Bytes()) {
			t.Errorf("volume %s: one of both recovery keys does not open it: %v", volume, err)
		}
	}
	n.boots("release 2")
}

// TestRotateRefuses: what the TPM would not give out again takes no key's place.
func TestRotateRefuses(t *testing.T) {
	t.Parallel()
	n := made(t)
	whole := n.files()
	for name, prepare := range map[string]func(*Volumes){
		"no signer":       func(v *Volumes) { v.cfg.Signers = nil },
		"not signed":      func(v *Volumes) { v.cfg.Signatures = func() ([]pcr.Signature, error) { return nil, nil } },
		"no key on state": func(v *Volumes) { v.cfg.KeyDir = t.TempDir() },
	} {
		n.restore(whole)
		v := n.boots("release 1")
		prepare(v)
		if err := v.Rotate(t.Context(), storage.State, n.device(storage.State), sealedToTPM); err == nil {
			t.Errorf("%s: it was changed", name)
		}
		n.boots("release 1")
	}
}
