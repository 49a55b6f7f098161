package zpool_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestVMLostLog: a pool whose log is gone is found as one that can be imported, and is only without it.
func TestVMLostLog(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	dir, away := t.TempDir(), t.TempDir()
	d := files(t, dir, "a", "log")
	must(t, z.Create(ctx, pool.Creation{Pool: "logged", Groups: []pool.Group{{Devices: d[:1]}, {Class: pool.Log, Devices: d[1:]}}}))
	guid := one(t, z, "logged").GUID
	must(t, z.Export(ctx, "logged"))
	must(t, os.Rename(d[1], filepath.Join(away, "log")))
	found, err := z.Importable(ctx, []string{dir})
	must(t, err)
	if len(found) != 1 || found[0].Problem != pool.Ready || found[0].State != pool.Degraded || len(found[0].LostLogs) != 1 {
		t.Fatalf("%+v", found)
	}
	if err := z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}}); err == nil {
		t.Fatal("it was imported, and nobody has given its log up")
	}
	must(t, z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}, WithoutLog: true}))
	checkTree(t, z, "logged", "file ONLINE", "file log UNAVAIL")
}

// TestVMClaim: a pool that another system has not exported is refused, whether that is told before or not, and imported by force.
func TestVMClaim(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	const parameter = "/sys/module/spl/parameters/spl_hostid"
	own, err := os.ReadFile(parameter)
	must(t, err)
	be := func(hostid string) { must(t, os.WriteFile(parameter, []byte(hostid), 0o644)) }
	t.Cleanup(func() {
		if err := os.WriteFile(parameter, []byte(strings.TrimSpace(string(own))), 0o644); err != nil {
			t.Error(err)
		}
	})
	for hostid, told := range map[string]bool{"305419896": true, "0": false} {
		be(hostid)
		d := files(t, t.TempDir(), "a")
		must(t, z.Create(ctx, pool.Creation{Pool: "claimed", Groups: []pool.Group{{Devices: d}}}))
		guid := one(t, z, "claimed").GUID
		data, err := os.ReadFile(d[0]) // as it is while the pool is imported
		must(t, err)
		must(t, z.Export(ctx, "claimed"))
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "a"), data, 0o600))
		be("2271560481")
		found, err := z.Importable(ctx, []string{dir})
		must(t, err)
		if len(found) != 1 || found[0].Claimed != told || (found[0].Problem == pool.OtherSystem) != told {
			t.Errorf("hostid %s: %+v", hostid, found)
		}
		if err := z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}}); !errors.Is(err, pool.ErrUsedElsewhere) {
			t.Errorf("hostid %s: imported: %v", hostid, err)
		}
		must(t, z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}, Force: true}))
		must(t, z.Destroy(ctx, "claimed"))
	}
}

// TestVMSamePath: a device that is offline, and another one at its path, are told apart.
func TestVMSamePath(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	dir := t.TempDir()
	d := files(t, dir, "a", "b")
	must(t, z.Create(ctx, pool.Creation{Pool: "same", Groups: []pool.Group{{Layout: pool.Mirror, Devices: d}}}))
	must(t, z.Offline(ctx, "same", d[0], false))
	must(t, os.Rename(d[0], filepath.Join(t.TempDir(), "a")))
	files(t, dir, "a")
	must(t, z.Attach(ctx, "same", d[1], d[0]))
	wait(t, "same", "resilver")
	checkTree(t, z, "same", "mirror DEGRADED", " file OFFLINE", " file ONLINE", " file ONLINE")
	guids := map[zfs.GUID]bool{}
	p := one(t, z, "same")
	for _, leaf := range p.Leaves() {
		guids[leaf.GUID] = true
		if leaf.Name != leaf.Path {
			t.Errorf("%s is called %s", leaf.Path, leaf.Name)
		}
	}
	if len(guids) != 3 || p.Vdevs[0].Name != "mirror-0" {
		t.Errorf("%+v", p.Vdevs)
	}
}

// TestVMSpareForGood: a spare whose original is detached takes its place, and is no spare any more.
func TestVMSpareForGood(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	d := files(t, t.TempDir(), "a", "b", "s")
	must(t, z.Create(ctx, pool.Creation{Pool: "kept", Groups: []pool.Group{{Layout: pool.Mirror, Devices: d[:2]}, {Class: pool.Spare, Devices: d[2:]}}}))
	gone := one(t, z, "kept").Vdevs[0].Children[0].GUID.String()
	must(t, z.Offline(ctx, "kept", gone, true))
	must(t, z.Replace(ctx, "kept", gone, d[2]))
	wait(t, "kept", "resilver")
	checkTree(t, z, "kept", "mirror DEGRADED", " spare DEGRADED", "  file FAULTED", "  file ONLINE", " file ONLINE", "file spare INUSE")
	must(t, z.Detach(ctx, "kept", gone))
	checkTree(t, z, "kept", "mirror ONLINE", " file ONLINE", " file ONLINE")
}
