package volumes

import (
	"errors"
	"testing"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

// devices are those of the encrypted volumes.
func (n *node) devices() map[string]string {
	return map[string]string{storage.State: n.device(storage.State), storage.Data: n.device(storage.Data)}
}

// enrol does what the loop of the storage does: each volume that is open and does not have the node's recovery key gets it.
func (n *node) enrol(v *Volumes, volumes ...string) {
	n.t.Helper()
	for _, volume := range volumes {
		if n.look(v, volume).Enrolled {
			continue
		}
		if err := v.Enrol(n.t.Context(), volume, n.device(volume)); err != nil {
			n.t.Fatal(err)
		}
	}
}

// TestResetOfDataAfterForgetting: data was made anew after somebody had noted the recovery key and had it forgotten. The one that is shown then opens both volumes,
// and until he has noted that, the one that he has opens what it did.
func TestResetOfDataAfterForgetting(t *testing.T) {
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
	if err := blockdev.Wipe(t.Context(), n.device(storage.Data)); err != nil {
		t.Fatal(err)
	}
	v = n.boot("release 1")
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Fatal(reason)
	}
	if err := v.Encrypt(t.Context(), storage.Data, n.device(storage.Data), n.how); err != nil {
		t.Fatal(err)
	}
	if reason := n.unlock(v, storage.Data); reason != "" {
		t.Fatal(reason)
	}
	n.enrol(v, storage.State, storage.Data)
	shown, err := v.RecoveryKey()
	if err != nil || shown.ID() == first.ID() {
		t.Fatalf("no other key is shown: %v", err)
	}
	if err := v.ForgetRecoveryKey(shown, n.devices()); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("forgotten before state has it: %v", err)
	}
	n.enrol(v, storage.State, storage.Data) // the loop's next round
	for _, volume := range []string{storage.State, storage.Data} {
		if !n.opens(volume, shown.Bytes()) {
			t.Errorf("the key that is shown does not open volume %s", volume)
		}
	}
	if !n.opens(storage.State, first.Bytes()) {
		t.Error("the key that somebody has opens nothing any more, and he does not have the other one")
	}
	if err := v.ForgetRecoveryKey(shown, n.devices()); err != nil {
		t.Fatal(err)
	}
	if err := v.Rotate(t.Context(), storage.State, n.device(storage.State), n.how); err != nil {
		t.Fatal(err)
	}
	if n.opens(storage.State, first.Bytes()) || !n.opens(storage.State, shown.Bytes()) {
		t.Error("after a rotation the first key opens state, or the second one does not")
	}
}

// TestForgottenInBetween: the recovery key is to be forgotten when state has it and data is not made yet, or does not have it.
func TestForgottenInBetween(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	v := n.boot("release 1")
	mk := func(volume string) {
		t.Helper()
		if err := v.Encrypt(t.Context(), volume, n.device(volume), n.how); err != nil {
			t.Fatal(err)
		}
		if reason := n.unlock(v, volume); reason != "" {
			t.Fatal(reason)
		}
	}
	mk(storage.State)
	n.enrol(v, storage.State)
	mk(storage.Data)
	key, err := v.RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.ForgetRecoveryKey(key, n.devices()); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("data does not have it: %v", err)
	}
	if err := v.ForgetRecoveryKey(recovery.New(), n.devices()); !errors.Is(err, ErrOtherRecoveryKey) {
		t.Errorf("another key: %v", err)
	}
	n.enrol(v, storage.Data)
	if again, err := v.RecoveryKey(); err != nil || again != key {
		t.Errorf("another key is shown: %v", err)
	}
	if err := v.ForgetRecoveryKey(key, n.devices()); err != nil {
		t.Error(err)
	}
}
