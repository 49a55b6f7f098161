package zpool_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs/label/labeltest"
)

// TestVMNewer: a pool that has a feature of which the module knows nothing is told by it, and is not imported; it is as it was once the module knows it.
func TestVMNewer(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	dir := t.TempDir()
	d := files(t, dir, "a")
	must(t, os.Truncate(d[0], pastBytes))
	must(t, z.Create(ctx, pool.Creation{Pool: "newer", Groups: []pool.Group{{Devices: d}}}))
	guid := one(t, z, "newer").GUID
	must(t, z.Export(ctx, "newer"))
	known, err := os.ReadFile(d[0])
	must(t, err)
	newer := bytes.Clone(known)
	renameFeature(t, newer, "com.delphix:hole_birth", "com.example:hole_birth")
	must(t, os.WriteFile(d[0], newer, 0o600))
	found, err := z.Importable(ctx, []string{dir})
	must(t, err)
	if len(found) != 1 || found[0].Problem != pool.Newer || !slices.Equal(found[0].Features, []string{"com.example:hole_birth"}) || found[0].GUID != guid {
		t.Errorf("with a feature of a later version: %+v", found)
	}
	if err := z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}}); !errors.Is(err, pool.ErrNewer) {
		t.Errorf("import: %v, want class %q", err, pool.ErrNewer)
	}
	if after, err := os.ReadFile(d[0]); err != nil || !bytes.Equal(newer, after) {
		t.Errorf("what was refused has changed the device (%v)", err)
	}
	must(t, os.WriteFile(d[0], known, 0o600))
	must(t, z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}}))
	checkTree(t, z, "newer", "file ONLINE")
}

// renameFeature gives a feature another name, of the same length, in all labels of a device. The kernel reads there which features it has to know to read anything of
// a pool (spa_ld_select_uberblock in module/zfs/spa.c, 2.3.9: features_for_read).
func renameFeature(t *testing.T, device []byte, from, to string) {
	t.Helper()
	const (
		labelBytes  = labelsBytes / 2
		physAt      = 16 << 10     // vdev_phys_t (include/sys/vdev_impl.h)
		listedBytes = 112<<10 - 40 // without the checksum at its end
	)
	for _, at := range []int{0, labelBytes, len(device) - 2*labelBytes, len(device) - labelBytes} {
		list := bytes.Clone(device[at+physAt : at+physAt+listedBytes])
		if len(from) != len(to) || bytes.Count(list, []byte(from)) != 1 {
			t.Fatalf("the label at byte %d has %s %d times, want it once", at, from, bytes.Count(list, []byte(from)))
		}
		labeltest.Put(device, at, binary.NativeEndian, bytes.Replace(list, []byte(from), []byte(to), 1))
	}
}
