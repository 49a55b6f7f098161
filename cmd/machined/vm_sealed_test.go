package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/trust/volumes"
)

// sealedVault is what encrypts disks, with its keys in a folder. The second empty disk of the machine is the encrypted state volume, without which nothing is.
func sealedVault(t *testing.T) (v *volumes.Volumes, keys string) {
	t.Helper()
	requireVM(t, "OpenZFS and dm-crypt in a kernel of its own, and two empty disks")
	disks := strings.Split(os.Getenv("CYVIVE_VM_DISKS"), ":")
	if len(disks) < 2 {
		t.Fatal("this machine has no two empty disks")
	}
	mods, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dm-mod", "dm-crypt", "xts"} {
		if err := mods.Load(name); err != nil {
			t.Fatal(err)
		}
	}
	cryptsetup := luks.Cryptsetup{Program: "/usr/bin/cryptsetup"}
	key, _ := luks.NewKey()
	if err := cryptsetup.Format(t.Context(), disks[1], "state", key); err != nil {
		t.Fatal(err)
	}
	if err := cryptsetup.Open(t.Context(), disks[1], luks.MapperPrefix+"state", key); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := cryptsetup.Close(context.Background(), luks.MapperPrefix+"state")
		if err := errors.Join(err, blockdev.Wipe(context.Background(), disks[1])); err != nil {
			t.Error(err)
		}
	})
	keys = t.TempDir()
	return volumes.New(volumes.Config{
		LUKS: cryptsetup, Marks: blockdev.New(blockdev.Tools{}, t.TempDir()), KeyDir: keys, Records: t.TempDir(), Mapper: luks.MapperDir, Sysfs: "/sys",
	}), keys
}

// TestVMEncryptedPool: on the real kernel a pool is made on an encrypted disk, opened again, recovered as by another node, and its keys go with it.
func TestVMEncryptedPool(t *testing.T) {
	vault, keys := sealedVault(t)
	l := newSealedLab(t, vault)
	ctx := t.Context()
	t.Cleanup(func() { // before that of the lab, which wipes the disk
		ctx := context.Background()
		pools, err := l.Control.Pools(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, p := range pools {
			if err := l.Control.Export(ctx, p.Name); err != nil {
				t.Error(err)
			}
		}
		open, _ := filepath.Glob(luks.MapperDir + luks.MapperPrefix + "pool-*")
		for _, device := range open {
			if err := vault.CloseDisk(ctx, strings.TrimPrefix(filepath.Base(device), luks.MapperPrefix)); err != nil {
				t.Error(err)
			}
		}
	})
	d := l.disk()
	spec := pool.Spec{Pools: []pool.PoolSpec{{
		Name: "tank", Vdevs: []pool.VdevSpec{{Disks: []disk.Selector{{Serial: d.Serial, WWN: d.WWN, Path: d.Path}}}},
	}}}
	// A disk that is ready, and was not taken, is taken as it is.
	first, err := l.disks.Prepare(ctx, d, true)
	l.must(err)
	if ready := l.disk(); ready.Contents != "" || ready.Use != "" || ready.Container == nil || !ready.Container.Open || ready.Container.Device != first {
		t.Fatalf("made ready as %s: %+v, %+v", first, ready, ready.Container)
	}
	done, status := l.converge(spec)
	if !slices.Contains(done, string(pool.CreatePool)) || !slices.Contains(done, string(pool.EnrolDisk)) || !status.Ready || !status.Pools[0].Healthy {
		t.Fatalf("done %q, status %+v", done, status)
	}
	guid := status.Pools[0].GUID
	member := l.disk()
	c := member.Container
	if c == nil || !c.Open || !c.Keyed || !c.Recoverable || c.Device != first || member.Use != "" || member.Label == nil || member.Label.Device != first {
		t.Fatalf("the disk: %+v, %+v, %+v", member, c, member.Label)
	}
	if leaves := status.Pools[0].Pool.Leaves(); len(leaves) != 1 || leaves[0].Path != first {
		t.Errorf("the pool's devices: %+v", leaves)
	}
	raw := make([]byte, 16<<20)
	w, err := blockdev.OpenShared(l.scratch, false)
	l.must(err)
	_, err = w.ReadAt(raw, 0)
	l.must(errors.Join(err, w.Close()))
	if bytes.Contains(raw, []byte("tank")) {
		t.Error("the pool's name is on the disk in the clear")
	}
	if err := vault.CloseDisk(ctx, c.Name); !errors.Is(err, volumes.ErrOpen) {
		t.Errorf("closed under its pool: %v", err)
	}

	shut := func() { // as a boot does
		t.Helper()
		l.must(l.Control.Export(ctx, "tank"))
		l.must(vault.CloseDisk(ctx, c.Name))
	}
	imported := []string{string(pool.ImportPool)}
	shut()
	if done, status := l.converge(spec); !slices.Equal(done, imported) || !status.Ready || status.Pools[0].GUID != guid {
		t.Errorf("after a boot: done %q, status %+v", done, status)
	}
	k, err := vault.RecoveryKey()
	l.must(err)
	shut()
	l.must(vault.ForgetDisk(c.Name))
	if done, status := l.converge(spec); len(done) > 0 || status.Ready || len(status.Pools[0].Conditions) != 1 || status.Pools[0].Conditions[0].Kind != pool.Missing || l.disk().Contents == "" {
		t.Errorf("without its key: done %q, status %+v", done, status)
	}
	l.must(vault.RecoverDisk(ctx, c.Name, c.Partition, k))
	if done, status := l.converge(spec); !slices.Equal(done, imported) || !status.Ready || status.Pools[0].GUID != guid {
		t.Errorf("recovered: done %q, status %+v", done, status)
	}
	l.must(vault.Enrol(ctx, c.Name, c.Partition))
	shut()
	if done, status := l.converge(spec); !slices.Equal(done, imported) || !status.Ready {
		t.Errorf("by the key that it was given then: done %q, status %+v", done, status)
	}

	spec.Pools[0].Presence = pool.Destroyed
	done, status = l.converge(spec)
	if len(done) > 0 || len(status.Pools[0].Waiting) != 1 {
		t.Fatalf("to be destroyed: done %q, status %+v", done, status)
	}
	spec.Confirmed = []pool.Confirmation{{Pool: "tank", Operation: status.Pools[0].Waiting[0].String()}}
	if done, _ := l.converge(spec); !slices.Equal(done, []string{string(pool.DestroyPool)}) {
		t.Errorf("destroyed: done %q", done)
	}
	if d := l.disk(); d.Contents != "" || d.Container != nil || d.Label != nil {
		t.Errorf("the disk of the pool that was destroyed: %+v", d)
	}
	if _, err := luks.Inspect(c.Partition); !errors.Is(err, luks.ErrNone) {
		t.Errorf("its header is left: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(keys, "pool-*")); err != nil || len(left) > 0 {
		t.Errorf("keys are left: %v, %v", left, err)
	}
}
