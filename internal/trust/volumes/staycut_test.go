package volumes

import (
	"errors"
	"testing"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

// TestRecoveryKeyAfterCutReseal: a reseal was cut. Since then the node has made two recovery keys, of which a person has the first. The next reseal leaves him that.
func TestRecoveryKeyAfterCutReseal(t *testing.T) {
	t.Parallel()
	n := made(t)
	v := n.boots("release 1")
	v.cfg.LUKS = &cutter{opener: opener{n.cryptsetup, n}, left: 3}
	if err := v.Reseal(t.Context(), n.device(storage.State), n.how); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	v = n.boots("release 1")
	noted := func() recovery.Key { // as by a disk that a pool gets
		t.Helper()
		key, err := v.RecoveryKey()
		if err != nil {
			t.Fatal(err)
		}
		if err := v.ForgetRecoveryKey(key, n.devices()); err != nil {
			t.Fatal(err)
		}
		if _, err := v.recovery(); err != nil {
			t.Fatal(err)
		}
		n.enrol(v, storage.State, storage.Data)
		return key
	}
	noted()        // the first; a second is made
	has := noted() // the second; a third is made, and not noted yet
	if !n.opens(storage.State, has.Bytes()) {
		t.Fatal("the key that is noted opens nothing before")
	}
	if err := v.Reseal(t.Context(), n.device(storage.State), n.how); err != nil {
		t.Fatal(err)
	}
	if !n.opens(storage.State, has.Bytes()) {
		t.Error("the recovery key that a person has opens state no more, and the next one was not noted")
	}
}

// TestRotateWaitsForARecoveryKey: while the node has made another recovery key that nobody has noted, the one before is not taken away.
func TestRotateWaitsForARecoveryKey(t *testing.T) {
	t.Parallel()
	n := made(t)
	v := n.boots("release 1")
	has, err := v.RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	unnoted := func(want bool) {
		t.Helper()
		if state, data := n.look(v, storage.State), n.look(v, storage.Data); state.Unnoted != want || data.Unnoted {
			t.Errorf("that a key waits to be noted is said of state: %t, want %t; and of data: %t", state.Unnoted, want, data.Unnoted)
		}
	}
	unnoted(false) // the first is what a person is told to note when he sets up the node
	if err := v.ForgetRecoveryKey(has, n.devices()); err != nil {
		t.Fatal(err)
	}
	unnoted(false)
	if _, err := v.recovery(); err != nil {
		t.Fatal(err)
	}
	n.enrol(v, storage.State, storage.Data)
	unnoted(true)
	if err := v.Rotate(t.Context(), storage.State, n.device(storage.State), n.how); !errors.Is(err, ErrNotNoted) {
		t.Errorf("rotate: %v, want an error that is: %v", err, ErrNotNoted)
	}
	if !n.opens(storage.State, has.Bytes()) {
		t.Error("the recovery key that a person has opens state no more")
	}
	next, err := v.RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.ForgetRecoveryKey(next, n.devices()); err != nil {
		t.Fatal(err)
	}
	unnoted(false)
	if err := v.Rotate(t.Context(), storage.State, n.device(storage.State), n.how); err != nil {
		t.Error(err)
	}
	if n.opens(storage.State, has.Bytes()) || !n.opens(storage.State, next.Bytes()) {
		t.Error("the one that is noted is not the only one that opens state")
	}
}
