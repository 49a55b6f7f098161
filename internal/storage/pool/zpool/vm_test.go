package zpool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/zpool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/label"
)

// program runs the node's own zpool.
type program struct{}

const programPath = "/usr/bin/zpool"

func environment() []string { return []string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/sbin:/usr/bin"} }

func (program) Run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, programPath, args...)
	cmd.Env = environment()
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("run zpool %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(words.String()))
	}
	return out.Bytes(), nil
}

// vm loads OpenZFS in a machine of the test runner, and leaves no pool behind.
func vm(t *testing.T) *zpool.Zpool {
	t.Helper()
	if os.Getenv("CYVIVE_VM") != "1" {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner")
		}
		t.Skip("needs the VM test runner: OpenZFS in a kernel of its own")
	}
	mods, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := mods.Load("zfs"); err != nil {
		t.Fatal(err)
	}
	z := zpool.New(program{})
	t.Cleanup(func() {
		pools, err := z.Pools(context.Background())
		if err != nil {
			t.Error(err)
		}
		for _, p := range pools {
			if err := z.Destroy(context.Background(), p.Name); err != nil {
				t.Error(err)
			}
		}
	})
	return z
}

// longOnly skips a test in a machine of the test runner unless the long forms are asked for with LONG=1: each program takes a quarter of a second there without
// hardware support.
func longOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("CYVIVE_VM") == "1" && os.Getenv("LONG") != "1" {
		t.Skipf("takes long: make soak runs it, and so does LONG=1 make vm-test RUN='^%s$'", t.Name())
	}
}

const deviceBytes = 128 << 20

// files makes devices that are sparse files.
func files(t *testing.T, dir string, names ...string) []string {
	t.Helper()
	var out []string
	for _, n := range names {
		path := filepath.Join(dir, n)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(deviceBytes), f.Close()); err != nil {
			t.Fatal(err)
		}
		out = append(out, path)
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// one returns a pool.
func one(t *testing.T, z *zpool.Zpool, name string) pool.Pool {
	t.Helper()
	pools, err := z.Pools(t.Context())
	must(t, err)
	for _, p := range pools {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no pool %s: %+v", name, pools)
	return pool.Pool{}
}

// tree is a pool's tree in lines: types, classes and states.
func tree(vs []pool.Vdev, depth int) []string {
	var out []string
	for _, v := range vs {
		class := ""
		if v.Class != pool.Normal {
			class = " " + string(v.Class)
		}
		out = append(out, strings.Repeat(" ", depth)+v.Type+class+" "+string(v.State))
		out = append(out, tree(v.Children, depth+1)...)
	}
	return out
}

func checkTree(t *testing.T, z *zpool.Zpool, name string, want ...string) pool.Pool {
	t.Helper()
	p := one(t, z, name)
	if d := cmp.Diff(want, tree(p.Vdevs, 0)); d != "" {
		t.Errorf("tree of %s (-want +got):\n%s", name, d)
	}
	return p
}

// do runs a command of zpool that a node has no use for.
func do(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, err := program{}.Run(ctx, args...)
	must(t, err)
}

// wait returns when an activity of zpool-wait(8) has ended, in whatever way.
func wait(t *testing.T, name, activity string) {
	t.Helper()
	do(t, "wait", "-t", activity, name)
}

// eventually waits for a condition that ZFS comes to by itself.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("wait for a minute: %s", what)
		}
	}
}

// TestVMCompatibility: the image has the list of features that pools are made with.
func TestVMCompatibility(t *testing.T) {
	z := vm(t)
	d := files(t, t.TempDir(), "a")
	must(t, z.Create(t.Context(), pool.Creation{Pool: "tank", Groups: []pool.Group{{Devices: d}}, Properties: map[string]string{"compatibility": pool.Compatibility}}))
	p := one(t, z, "tank")
	if got := p.Properties["compatibility"]; got != (zfs.Property{Value: pool.Compatibility, Source: zfs.SourceLocal}) {
		t.Errorf("compatibility: %+v", got)
	}
	if p.Features()["raidz_expansion"] == "" || p.State != pool.Online || p.Words != "" {
		t.Errorf("%s, %q, %v", p.State, p.Words, p.Features())
	}
}

// TestVMLife takes a pool with every class of device through its life.
func TestVMLife(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	dir := t.TempDir()
	d := files(t, dir, "a", "b", "log", "cache", "spare", "s1", "s2", "more1", "more2")
	must(t, z.Create(ctx, pool.Creation{
		Pool: "tank", Properties: map[string]string{"ashift": "12", "autotrim": "on"}, FileSystem: map[string]string{"mountpoint": "none", "canmount": "off"},
		Groups: []pool.Group{
			{Class: pool.Log, Devices: d[2:3]}, {Class: pool.Cache, Devices: d[3:4]}, {Class: pool.Spare, Devices: d[4:5]}, {Class: pool.Special, Layout: pool.Mirror, Devices: d[5:7]},
			{Layout: pool.Mirror, Devices: d[:2]},
		},
	}))
	before := []string{
		"mirror ONLINE", " file ONLINE", " file ONLINE", "mirror special ONLINE", " file special ONLINE", " file special ONLINE", "file log ONLINE", "file cache ONLINE", "file spare AVAIL",
	}
	p := checkTree(t, z, "tank", before...)
	for _, leaf := range p.Leaves() {
		if leaf.GUID == 0 || !slices.Contains(d, leaf.Path) || leaf.Name != leaf.Path {
			t.Errorf("leaf %+v", leaf)
		}
	}
	if p.SizeBytes == 0 || p.FreeBytes == 0 || p.CapacityPercent < 0 || p.Properties["ashift"].Value != "12" || p.GUID == 0 {
		t.Errorf("%+v", p)
	}
	size, err := z.Size(ctx, "tank")
	if err != nil || size.GUID != p.GUID || size.SizeBytes != p.SizeBytes || size.State != pool.Online {
		t.Errorf("%+v, %v", size, err)
	}
	if _, err := z.Size(ctx, "nopool"); !errors.Is(err, zfs.ErrNotExist) {
		t.Errorf("size of no pool: %v", err)
	}
	checkLabels(t, p)

	must(t, z.Set(ctx, "tank", "comment", "it's \"here\""))
	must(t, z.Set(ctx, "tank", "org.example:note", "caf\xe9")) // no ASCII: it cuts off what zpool tells
	if p = one(t, z, "tank"); p.Properties["ashift"].Value != "12" || p.SizeBytes == 0 {
		t.Errorf("with a user property that is no ASCII: %+v", p)
	}
	must(t, z.Set(ctx, "tank", "org.example:note", ""))
	must(t, z.Add(ctx, "tank", []pool.Group{{Layout: pool.Mirror, Devices: d[7:9]}}))
	p = one(t, z, "tank")
	added := p.Vdevs[slices.IndexFunc(p.Vdevs, func(v pool.Vdev) bool { return len(v.Children) > 0 && v.Children[0].Path == d[7] })]
	must(t, z.Remove(ctx, "tank", added.Name))
	wait(t, "tank", "remove")
	if p = one(t, z, "tank"); p.Removal == nil || p.Removal.Progress != pool.Finished {
		t.Errorf("removal: %+v", p.Removal)
	}
	must(t, z.Remove(ctx, "tank", d[3]))
	must(t, z.Remove(ctx, "tank", d[4]))

	must(t, z.Scrub(ctx, "tank"))
	wait(t, "tank", "scrub")
	if s := one(t, z, "tank").Scan; s.Function != pool.Scrub || s.Progress != pool.Finished || s.Errors != 0 || s.End.IsZero() {
		t.Errorf("scrub: %+v", s)
	}
	must(t, z.Trim(ctx, "tank"))
	wait(t, "tank", "trim")
	do(t, "initialize", "tank", d[0]) // one is enough: it is written whole, and lies in memory
	wait(t, "tank", "initialize")
	for _, leaf := range one(t, z, "tank").Leaves() {
		if leaf.Path == d[0] && (leaf.Initialize.Progress != pool.Finished || leaf.Initialize.End.IsZero()) {
			t.Errorf("initializing of %s: %+v", leaf.Name, leaf.Initialize)
		}
		if leaf.Class == pool.Normal && !leaf.TrimUnsupported && (leaf.Trim.Progress != pool.Finished || leaf.Trim.End.IsZero()) {
			t.Errorf("trim of %s: %+v", leaf.Name, leaf.Trim)
		}
	}
	do(t, "checkpoint", "tank")
	if c := one(t, z, "tank").Checkpoint; c == nil || c.Start.IsZero() || c.Discarding {
		t.Errorf("checkpoint: %+v", c)
	}
	do(t, "checkpoint", "-d", "tank")
	wait(t, "tank", "discard")

	exportImport(t, z, dir, p)
}

// checkLabels holds what the devices say of themselves against what zpool says.
func checkLabels(t *testing.T, p pool.Pool) {
	t.Helper()
	want := map[pool.Class]pool.LabelState{pool.Spare: pool.LabelSpare, pool.Cache: pool.LabelCache}
	for _, leaf := range p.Leaves() {
		l := readLabel(t, leaf.Path)
		state, shared := want[leaf.Class]
		if !shared {
			state = pool.LabelActive
		}
		if l.GUID != leaf.GUID || l.State != state || !shared && (l.Pool != p.Name || l.PoolGUID != p.GUID) {
			t.Errorf("label of %s (%s): %+v, want GUID %d of pool %d", leaf.Name, leaf.Class, l, leaf.GUID, p.GUID)
		}
	}
}

func readLabel(t *testing.T, path string) pool.Label {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	must(t, err)
	l, err := label.Read(f, size)
	if err != nil {
		t.Fatalf("label of %s: %v", path, err)
	}
	return *pool.NewLabel(path, l)
}

// exportImport takes the pool of TestVMLife to its end.
func exportImport(t *testing.T, z *zpool.Zpool, dir string, p pool.Pool) {
	t.Helper()
	ctx := t.Context()
	must(t, z.Export(ctx, "tank"))
	if l := readLabel(t, filepath.Join(dir, "a")); l.State != pool.LabelExported {
		t.Errorf("label of an exported pool: %+v", l)
	}
	found, err := z.Importable(ctx, []string{dir})
	must(t, err)
	if len(found) != 1 || found[0].Name != "tank" || found[0].GUID != p.GUID || found[0].State != pool.Online || found[0].Problem != pool.Ready || found[0].Comment != "it's \"here\"" {
		t.Fatalf("importable: %+v", found)
	}
	if d := cmp.Diff([]string{"mirror ONLINE", " disk ONLINE", " disk ONLINE", "mirror special ONLINE", " disk special ONLINE", " disk special ONLINE", "disk log ONLINE"}, tree(found[0].Vdevs, 0)); d != "" {
		t.Errorf("tree of an importable pool (-want +got):\n%s", d)
	}
	// Of single devices, and read-only.
	must(t, z.Import(ctx, pool.Import{GUID: p.GUID, Name: "other", Devices: []string{dir}, ReadOnly: true}))
	if got := one(t, z, "other"); got.GUID != p.GUID || !got.ReadOnly {
		t.Errorf("%+v", got)
	}
	if err := z.Set(ctx, "other", "comment", "x"); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("set of a pool that is read-only: %v", err)
	}
	must(t, z.Export(ctx, "other"))
	must(t, z.Import(ctx, pool.Import{GUID: p.GUID, Name: "tank", Devices: []string{dir}}))
	must(t, z.Destroy(ctx, "tank"))
	found, err = z.Importable(ctx, []string{dir})
	if err != nil || len(found) != 1 || !found[0].Destroyed || found[0].GUID != p.GUID {
		t.Errorf("of a destroyed pool: %+v, %v", found, err)
	}
	if l := readLabel(t, filepath.Join(dir, "a")); l.State != pool.LabelDestroyed {
		t.Errorf("label of a destroyed pool: %+v", l)
	}
}

// TestVMWider: attach, detach, replace, and the expansion of a RAIDZ.
func TestVMWider(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	d := files(t, t.TempDir(), "a", "b", "c", "r1", "r2", "r3", "r4", "small")
	must(t, z.Create(ctx, pool.Creation{Pool: "tank", Groups: []pool.Group{{Devices: d[:1]}}}))
	must(t, z.Attach(ctx, "tank", d[0], d[1]))
	wait(t, "tank", "resilver")
	eventually(t, "the resilver ends", func() bool {
		s := one(t, z, "tank").Scan
		return s.Function == pool.Resilver && s.Progress == pool.Finished
	})
	p := checkTree(t, z, "tank", "mirror ONLINE", " file ONLINE", " file ONLINE")
	// By GUIDs, as the domain asks.
	must(t, z.Replace(ctx, "tank", p.Vdevs[0].Children[0].GUID.String(), d[2]))
	wait(t, "tank", "replace")
	eventually(t, "the replacement ends", func() bool { return one(t, z, "tank").Vdevs[0].Children[0].Type == "file" })
	p = checkTree(t, z, "tank", "mirror ONLINE", " file ONLINE", " file ONLINE")
	if p.Vdevs[0].Children[0].Path != d[2] {
		t.Errorf("%+v", p.Vdevs[0].Children[0])
	}
	must(t, z.Detach(ctx, "tank", p.Vdevs[0].Children[1].GUID.String()))
	checkTree(t, z, "tank", "file ONLINE")
	must(t, os.Truncate(d[7], 65<<20))
	if err := z.Attach(ctx, "tank", d[2], d[7]); !errors.Is(err, pool.ErrTooSmall) {
		t.Errorf("a device that is too small: %v", err)
	}
	// A device that grows.
	must(t, os.Truncate(d[2], 2*deviceBytes))
	before := one(t, z, "tank").SizeBytes
	must(t, z.Online(ctx, "tank", d[2], true))
	// A thread of the kernel adds the room behind that (spa_async_thread in module/zfs/spa.c, 2.3.9).
	eventually(t, fmt.Sprintf("the pool has more than %d bytes", before), func() bool { return one(t, z, "tank").SizeBytes > before })

	must(t, z.Create(ctx, pool.Creation{Pool: "raid", Groups: []pool.Group{{Layout: pool.RAIDZ1, Devices: d[3:6]}}}))
	must(t, z.Attach(ctx, "raid", "raidz1-0", d[6]))
	wait(t, "raid", "raidz_expand")
	p = checkTree(t, z, "raid", "raidz ONLINE", " file ONLINE", " file ONLINE", " file ONLINE", " file ONLINE")
	if layout, known := p.Vdevs[0].Layout(); layout != pool.RAIDZ1 || !known || p.Expansion == nil || p.Expansion.Progress != pool.Finished || p.Expansion.Vdev != "raidz1" { // which one is not told (raidz_expand_status_nvlist in cmd/zpool/zpool_main.c)
		t.Errorf("%s %t %+v", layout, known, p.Expansion)
	}
}
