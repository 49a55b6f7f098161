package volumes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
)

// partition is a further disk's, of a name.
func (n *node) partition(name string) string {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 16<<20)); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// diskOn is what is known of the volume on a partition, and its name.
func (n *node) diskOn(v *Volumes, partition string) (string, DiskState) {
	n.t.Helper()
	h, err := luks.Inspect(partition)
	if err != nil {
		n.t.Fatal(err)
	}
	s, err := v.Disk(h.Label, partition)
	if err != nil {
		n.t.Fatal(err)
	}
	return h.Label, s
}

// opened starts the machine again, and opens its state volume.
func (n *node) opened() *Volumes {
	n.t.Helper()
	v := n.boot("release 1")
	if reason := n.unlock(v, storage.State); reason != "" {
		n.t.Fatal(reason)
	}
	return v
}

// TestDiskOfAPool: a disk is made, opens at the next boot by the key on state, gets other keys, and opens in another machine by the recovery key of this one.
func TestDiskOfAPool(t *testing.T) {
	ctx := t.Context()
	n := made(t)
	v := n.agent()
	partition := n.partition("vdb1")
	device, err := v.MakeDisk(ctx, partition)
	if err != nil {
		t.Fatal(err)
	}
	name, s := n.diskOn(v, partition)
	if !luks.IsDiskName(name) || device != s.Device || filepath.Base(device) != "cyvive-"+name || !s.Open || !s.Keyed || s.Recoverable || s.Stale || s.Double {
		t.Fatalf("made %s (%s): %+v", name, device, s)
	}
	if err := v.Enrol(ctx, name, partition); err != nil {
		t.Fatal(err)
	}
	k, err := v.RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, s := n.diskOn(v, partition); !s.Recoverable {
		t.Errorf("with the recovery key: %+v", s)
	}
	v = n.opened()
	if _, s := n.diskOn(v, partition); s.Open || !s.Keyed {
		t.Fatalf("after a boot: %+v", s)
	}
	if err := v.OpenDisk(ctx, name, partition); err != nil {
		t.Fatal(err)
	}
	if err := v.OpenDisk(ctx, name, partition); !errors.Is(err, ErrOpen) {
		t.Errorf("opened twice: %v", err)
	}
	before, err := v.readKey(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Rotate(ctx, name, partition, storage.Encryption{}); err != nil {
		t.Fatal(err)
	}
	old, err := luks.Key(before)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.cryptsetup.Test(ctx, partition, old); !errors.Is(err, luks.ErrWrongKey) {
		t.Errorf("the key before, after another was made: %v", err)
	}
	if err := v.CloseDisk(ctx, name); err != nil {
		t.Fatal(err)
	}
	if err := v.OpenDisk(ctx, name, partition); err != nil {
		t.Errorf("with the other key: %v", err)
	}

	other := made(t)
	foreign := filepath.Join(other.dir, "vdc1")
	data, err := os.ReadFile(partition)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(foreign, data, 0o600); err != nil {
		t.Fatal(err)
	}
	w := other.agent()
	own, err := w.RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, s := other.diskOn(w, foreign); s.Keyed || s.Open || s.Recoverable {
		t.Errorf("in another machine: %+v", s)
	}
	if err := w.OpenDisk(ctx, name, foreign); err == nil {
		t.Error("opened without a key")
	}
	if err := w.RecoverDisk(ctx, name, foreign, own); !errors.Is(err, ErrOtherRecoveryKey) {
		t.Errorf("with that machine's recovery key: %v", err)
	}
	if _, s := other.diskOn(w, foreign); s.Keyed || s.Open {
		t.Errorf("after a key that does not open it: %+v", s)
	}
	if err := w.RecoverDisk(ctx, name, foreign, k); err != nil {
		t.Fatal(err)
	}
	if _, s := other.diskOn(w, foreign); !s.Open || !s.Keyed || s.Recoverable {
		t.Errorf("recovered: %+v", s)
	}
	if err := w.Enrol(ctx, name, foreign); err != nil {
		t.Fatal(err)
	}
	w = other.opened()
	if err := w.OpenDisk(ctx, name, foreign); err != nil {
		t.Errorf("at that machine's next boot: %v", err)
	}
	if _, s := other.diskOn(w, foreign); !s.Recoverable {
		t.Errorf("with that machine's recovery key: %+v", s)
	}
}

// TestDiskWithAFullHeader: a disk that was in many machines is recovered in one more, where keys go that nothing goes by any more.
func TestDiskWithAFullHeader(t *testing.T) {
	ctx := t.Context()
	n := made(t)
	v := n.agent()
	partition := n.partition("vdb1")
	if _, err := v.MakeDisk(ctx, partition); err != nil {
		t.Fatal(err)
	}
	name, _ := n.diskOn(v, partition)
	if err := v.Enrol(ctx, name, partition); err != nil {
		t.Fatal(err)
	}
	own, err := v.readKey(name)
	if err != nil {
		t.Fatal(err)
	}
	n.fill(partition, own)
	k, err := v.RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(partition)
	if err != nil {
		t.Fatal(err)
	}
	other := made(t)
	foreign := filepath.Join(other.dir, "vdc1")
	if err := os.WriteFile(foreign, data, 0o600); err != nil {
		t.Fatal(err)
	}
	w := other.agent()
	if err := w.RecoverDisk(ctx, name, foreign, k); err != nil {
		t.Fatal(err)
	}
	if err := w.Enrol(ctx, name, foreign); err != nil {
		t.Error(err)
	}
	w = other.opened()
	if err := w.OpenDisk(ctx, name, foreign); err != nil {
		t.Errorf("at that machine's next boot: %v", err)
	}
	has, err := luks.Key(k.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.cryptsetup.Test(ctx, foreign, has); err != nil {
		t.Errorf("the recovery key that was given: %v", err)
	}
}

// TestDiskNeedsAPlace: no key of a disk is left in the clear beside it. A disk that is recovered opens, until the next boot.
func TestDiskNeedsAPlace(t *testing.T) {
	ctx := t.Context()
	n := made(t)
	v := n.agent()
	partition := n.partition("vdb1")
	if _, err := v.MakeDisk(ctx, partition); err != nil {
		t.Fatal(err)
	}
	name, _ := n.diskOn(v, partition)
	if err := v.Enrol(ctx, name, partition); err != nil {
		t.Fatal(err)
	}
	k, err := v.RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	plain := newDisks(t)
	foreign := filepath.Join(plain.dir, "vdc1")
	data, err := os.ReadFile(partition)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(foreign, data, 0o600); err != nil {
		t.Fatal(err)
	}
	w := plain.agent()
	if w.Encrypts() {
		t.Fatal("a node without an encrypted volume says that keys have a place on it")
	}
	empty := plain.partition("vdd1")
	if _, err := w.MakeDisk(ctx, empty); !errors.Is(err, ErrNoPlace) {
		t.Errorf("made: %v", err)
	}
	if _, err := luks.Inspect(empty); !errors.Is(err, luks.ErrNone) {
		t.Errorf("the disk holds a header: %v", err)
	}
	if err := w.RecoverDisk(ctx, name, foreign, k); err != nil {
		t.Fatal(err)
	}
	if _, s := plain.diskOn(w, foreign); !s.Open || s.Keyed {
		t.Errorf("recovered: %+v", s)
	}
	if _, err := os.Stat(filepath.Join(plain.dir, "state/keys", name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its key lies there in the clear: %v", err)
	}
}

// TestDiskOfAnUnknownPlace: while it cannot be told whether keys have a place, no disk counts as one that is to stay as it is, and no key is written.
func TestDiskOfAnUnknownPlace(t *testing.T) {
	ctx := t.Context()
	n := newDisks(t)
	v := n.agent()
	strange := filepath.Join(n.dir, "sys/class/block/dm-0")
	if err := os.MkdirAll(filepath.Join(strange, "dm/name"), 0o755); err != nil { // as a device that goes away in this moment, it cannot be read
		t.Fatal(err)
	}
	if !v.Encrypts() {
		t.Error("a disk would be taken as it is")
	}
	partition := n.partition("vdb1")
	if _, err := v.MakeDisk(ctx, partition); err == nil || errors.Is(err, ErrNoPlace) {
		t.Errorf("made: %v", err)
	}
	if _, err := luks.Inspect(partition); !errors.Is(err, luks.ErrNone) {
		t.Errorf("the disk holds a header: %v", err)
	}
	if entries, err := filepath.Glob(filepath.Join(n.dir, "state/keys/*")); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := os.RemoveAll(strange); err != nil {
		t.Fatal(err)
	}
	if _, err := v.MakeDisk(ctx, partition); !errors.Is(err, ErrNoPlace) || v.Encrypts() {
		t.Errorf("known to be none: %v", err)
	}
}

// TestDiskInOtherPlaces: a disk that was pulled and is here again is told from a copy of one that is in use, whatever names the kernel gives them.
func TestDiskInOtherPlaces(t *testing.T) {
	ctx := t.Context()
	n := made(t)
	v := n.agent()
	partition := n.partition("vdb1")
	if _, err := v.MakeDisk(ctx, partition); err != nil {
		t.Fatal(err)
	}
	name, _ := n.diskOn(v, partition)
	data, err := os.ReadFile(partition)
	if err != nil {
		t.Fatal(err)
	}
	twin := n.partition("vdc1")
	if err := os.WriteFile(twin, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, s := n.diskOn(v, twin); s.Open || s.Stale || !s.Double {
		t.Errorf("a copy of a disk that is open: %+v", s)
	}
	if err := v.OpenDisk(ctx, name, twin); !errors.Is(err, ErrOpen) {
		t.Errorf("opened beside it: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(n.dir, "sys/class/block/vdb1")); err != nil { // as the kernel does when a disk is gone
		t.Fatal(err)
	}
	for _, path := range []string{twin, partition} { // under another name, and under the same
		if _, s := n.diskOn(v, path); s.Open || !s.Stale || s.Double {
			t.Errorf("%s, when the disk that was open is gone: %+v", filepath.Base(path), s)
		}
	}
	if err := errors.Join(v.CloseDisk(ctx, name), v.OpenDisk(ctx, name, twin)); err != nil {
		t.Fatal(err)
	}
	if _, s := n.diskOn(v, twin); !s.Open {
		t.Errorf("opened again: %+v", s)
	}
}

// TestDiskIsOfItsName: another disk of the same node has come to the name under which one was seen. The recovery key opens both, and it is not taken for the one that is meant.
func TestDiskIsOfItsName(t *testing.T) {
	ctx := t.Context()
	n := made(t)
	v := n.agent()
	var names []string
	for _, partition := range []string{n.partition("vdb1"), n.partition("vdc1")} {
		if _, err := v.MakeDisk(ctx, partition); err != nil {
			t.Fatal(err)
		}
		name, _ := n.diskOn(v, partition)
		if err := v.Enrol(ctx, name, partition); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	k, err := v.RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	swapped := map[string]string{names[0]: filepath.Join(n.dir, "vdc1")}
	if err := v.ForgetRecoveryKey(k, swapped); !errors.Is(err, ErrOther) {
		t.Errorf("forgotten by another disk: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(n.dir, "vdc1"))
	if err != nil {
		t.Fatal(err)
	}
	other := made(t)
	foreign := filepath.Join(other.dir, "vdb1")
	if err := os.WriteFile(foreign, data, 0o600); err != nil {
		t.Fatal(err)
	}
	w := other.agent()
	if err := w.RecoverDisk(ctx, names[0], foreign, k); !errors.Is(err, ErrOther) {
		t.Errorf("recovered in the place of another: %v", err)
	}
	if w.Keyed(names[0]) {
		t.Error("a key was made for it")
	}
	if err := w.RecoverDisk(ctx, names[1], foreign, k); err != nil {
		t.Errorf("by its own name: %v", err)
	}
}

// TestDiskIsForgotten: of a disk that was wiped the node keeps no key, and a name from a header that somebody has written leads to no file of another kind.
func TestDiskIsForgotten(t *testing.T) {
	ctx := t.Context()
	n := made(t)
	v := n.agent()
	partition := n.partition("vdb1")
	if _, err := v.MakeDisk(ctx, partition); err != nil {
		t.Fatal(err)
	}
	name, _ := n.diskOn(v, partition)
	if !v.Opens(ctx, name, partition) {
		t.Error("its key does not open it")
	}
	forged := n.partition("vdc1") // by somebody who knows the name, and no key of the node's
	key, _ := luks.NewKey()
	if err := n.cryptsetup.Format(ctx, forged, name, key); err != nil {
		t.Fatal(err)
	}
	if v.Opens(ctx, name, forged) || v.Opens(ctx, name, filepath.Join(n.dir, "vdz1")) || v.Opens(ctx, storage.State, n.device(storage.State)) {
		t.Error("the key is said to open what it does not, or what is no disk of a pool")
	}
	if err := v.ForgetDisk(name); err != nil {
		t.Fatal(err)
	}
	if v.Opens(ctx, name, partition) {
		t.Error("a key that is forgotten opens it")
	}
	if _, s := n.diskOn(v, partition); s.Keyed {
		t.Errorf("forgotten: %+v", s)
	}
	k, err := v.RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"state", "data", "recovery", "../../state", "pool-0123456789abcde/"} {
		_, err := v.Disk(bad, partition)
		for what, err := range map[string]error{
			"look": err, "open": v.OpenDisk(ctx, bad, partition), "forget": v.ForgetDisk(bad), "recover": v.RecoverDisk(ctx, bad, partition, k),
		} {
			if !errors.Is(err, ErrNoDisk) {
				t.Errorf("%s %q: %v", what, bad, err)
			}
		}
	}
	for _, volume := range []string{storage.State, storage.Data} {
		if !v.Keyed(volume) {
			t.Errorf("the key of %s is gone", volume)
		}
	}
	entries, err := os.ReadDir(filepath.Join(n.dir, "state/keys"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "pool-") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// TestDiskIsMadeAnew: where it cannot be made, neither a key nor a volume that counts is left.
func TestDiskIsMadeAnew(t *testing.T) {
	ctx := t.Context()
	n := made(t)
	v := n.agent()
	partition := n.partition("vdb1")
	if err := os.Remove(partition); err != nil {
		t.Fatal(err)
	}
	if _, err := v.MakeDisk(ctx, partition); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("made on a disk that is gone: %v", err)
	}
	entries, err := filepath.Glob(filepath.Join(n.dir, "state/keys/pool-*"))
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	n.partition("vdb1")
	if _, err := v.MakeDisk(ctx, partition); err != nil {
		t.Errorf("made at the next attempt: %v", err)
	}
}
