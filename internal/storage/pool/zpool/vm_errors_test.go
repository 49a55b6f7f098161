package zpool_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// parameter sets a parameter of a module, such as zfs/parameters/zfs_arc_max, until what is returned is called, or the test has ended.
func parameter(t *testing.T, name, value string) (restore func()) {
	t.Helper()
	path := "/sys/module/" + name
	before, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte(value), 0o644))
	restore = func() {
		if err := os.WriteFile(path, bytes.TrimSpace(before), 0o644); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(restore)
	return restore
}

// TestVMBusyErrors: as TestVMErrors, of pools that are at work. Parameters of the module that are for tests keep them at it.
func TestVMBusyErrors(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	d := files(t, t.TempDir(), "a", "b", "c", "d")
	create := func(name string, devices ...string) {
		t.Helper()
		must(t, z.Create(ctx, pool.Creation{Pool: name, Groups: []pool.Group{{Devices: devices}}}))
	}
	check := func(what string, got, want error) {
		t.Helper()
		if !errors.Is(got, want) {
			t.Errorf("%s: %v, want class %q", what, got, want)
		}
	}

	// Half of a small pool is kept back (spa_get_slop_space in module/zfs/spa_misc.c, 2.3.9), so that one of two vdevs has room for none.
	create("pair", d[:2]...)
	check("remove a vdev for which the other has no room", z.Remove(ctx, "pair", d[1]), zfs.ErrNoSpace)
	must(t, z.Destroy(ctx, "pair"))

	goOn := parameter(t, "zfs/parameters/zfs_removal_suspend_progress", "1")
	create("trio", d[:3]...)
	must(t, z.Remove(ctx, "trio", d[2]))
	check("attach while a vdev is removed", z.Attach(ctx, "trio", d[0], d[3]), zfs.ErrBusy)
	check("remove what is removed", z.Remove(ctx, "trio", d[2]), zfs.ErrBusy)
	goOn()
	wait(t, "trio", "remove")
	must(t, z.Destroy(ctx, "trio"))

	create("twin", d[0])
	check("take the only device offline", z.Offline(ctx, "twin", d[0], false), pool.ErrLastCopy)
	goOn = parameter(t, "zfs/parameters/zfs_scan_suspend_progress", "1")
	must(t, z.Scrub(ctx, "twin"))
	check("scrub what is scrubbed", z.Scrub(ctx, "twin"), zfs.ErrBusy)
	must(t, z.StopScrub(ctx, "twin"))
	must(t, z.Attach(ctx, "twin", d[0], d[1]))
	eventually(t, "the new device is resilvered", func() bool { return one(t, z, "twin").Scan.Resilvers() })
	check("scrub what is resilvered", z.Scrub(ctx, "twin"), zfs.ErrBusy)
	goOn()
	wait(t, "twin", "resilver")

	goOn = parameter(t, "zfs/parameters/zfs_trim_extent_bytes_max", "1048576")
	do(t, "trim", "-r", "1M", "twin")
	check("trim what is trimmed", z.Trim(ctx, "twin"), zfs.ErrBusy)
	must(t, z.CancelTrim(ctx, "twin"))
	goOn()

	do(t, "checkpoint", "twin")
	check("detach beside a checkpoint", z.Detach(ctx, "twin", d[1]), zfs.ErrExist)
	do(t, "checkpoint", "-d", "twin")
	wait(t, "twin", "discard")
}

// TestVMNoHostID: a pool that may be used by several systems is not imported by one that has no hostid.
func TestVMNoHostID(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	const hostid = "spl/parameters/spl_hostid"
	parameter(t, hostid, "305419896")
	dir := t.TempDir()
	must(t, z.Create(ctx, pool.Creation{Pool: "shared", Groups: []pool.Group{{Devices: files(t, dir, "a")}}, Properties: map[string]string{"multihost": "on"}}))
	guid := one(t, z, "shared").GUID
	must(t, z.Export(ctx, "shared"))
	restore := parameter(t, hostid, "0")
	found, err := z.Importable(ctx, []string{dir})
	must(t, err)
	if len(found) != 1 || found[0].Problem != pool.NoHostID {
		t.Errorf("without a hostid: %+v", found)
	}
	if err := z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}}); !errors.Is(err, pool.ErrInUseElsewhere) {
		t.Errorf("imported without a hostid: %v, want class %q", err, pool.ErrInUseElsewhere)
	}
	restore()
	must(t, z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}}))
}
