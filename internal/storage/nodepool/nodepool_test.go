package nodepool_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/nodepool"
	"github.com/cyvive/cyvive/internal/storage/pool/pooltest"
	"github.com/cyvive/cyvive/internal/storage/pool/zpool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/kstat"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// procWith returns a proc(5) in which a pool is imported.
func procWith(t *testing.T, pool string) string {
	t.Helper()
	proc := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(kstat.Dir(proc), pool), 0o755))
	return proc
}

// asked are the properties that the tests ask for.
func asked() []string {
	return []string{"compression", "mountpoint", "org.example:words", "quota", "recordsize"}
}

// TestLife makes a pool on a blank disk and datasets in it, grows it with its disk, and imports it after a power cut.
func TestLife(t *testing.T) {
	ctx, machine, datasets := t.Context(), pooltest.New(1), zfstest.New("n1", "node")
	pools := nodepool.New(machine, datasets, procWith(t, "node"))
	must(t, pools.Make(ctx, "node", "/dev/vdb1", map[string]string{"ashift": "12"}, map[string]string{"mountpoint": "none"}))
	made := machine.Loaded["node"]
	if made.Properties["ashift"].Value != "12" {
		t.Errorf("properties: %v", made.Properties)
	}
	made.SizeBytes, made.ExpandableBytes = 1000<<20, 24<<20
	must(t, datasets.Set(ctx, "node", map[string]string{"compression": "lz4"}))
	must(t, pools.MakeDataset(ctx, "node/etcd", map[string]string{"mountpoint": "legacy", "recordsize": "16384"}))
	must(t, pools.SetDataset(ctx, "node/etcd", map[string]string{"quota": "5000"}))
	must(t, pools.MakeDataset(ctx, "node/volumes", map[string]string{"mountpoint": "none"}))
	// Of others: a file system that is listed, and a volume and a snapshot that are not.
	must(t, datasets.Create(ctx, "node/volumes/a", zfs.CreateOptions{Properties: map[string]string{"org.example:words": "a\tb"}}))
	must(t, datasets.Create(ctx, "node/volumes/b", zfs.CreateOptions{SizeBytes: 1 << 20}))
	must(t, datasets.Snapshot(ctx, []string{"node/etcd@1"}, nil))

	check := func(when string, want storage.PoolState) {
		t.Helper()
		got, err := pools.Pool(ctx, "node", asked())
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", when, err, d)
		}
	}
	want := storage.PoolState{
		Imported: true, GUID: uint64(made.GUID), SizeBytes: 1000 << 20, ExpandableBytes: 24 << 20,
		Datasets: map[string]map[string]string{
			"etcd":      {"mountpoint": "legacy", "recordsize": "16384", "quota": "5000"},
			"volumes":   {"mountpoint": "none"},
			"volumes/a": {"org.example:words": "a\tb"},
		},
	}
	check("made", want)

	must(t, pools.Expand(ctx, "node", "/dev/vdb1"))
	want.SizeBytes, want.ExpandableBytes = 1024<<20, 0
	check("grown", want)

	machine.Off("node")
	must(t, pools.Import(ctx, "node", want.GUID, "/dev/vdb1"))
	check("imported", want)
	calls := []string{"create node", "online node", "import node force=true rewind=false readonly=false"}
	if d := cmp.Diff(calls, machine.Calls); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}

// TestNotImported: no program is run for a pool that the kernel does not have. There is none to be run here.
func TestNotImported(t *testing.T) {
	for name, proc := range map[string]string{"without the module": t.TempDir(), "another pool": procWith(t, "tank")} {
		got, err := nodepool.New(nil, nil, proc).Pool(t.Context(), "node", asked())
		if d := cmp.Diff(storage.PoolState{}, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
}

// TestUnknown: what cannot be told of a pool that is imported is an error. A size of nothing would take all quotas away.
func TestUnknown(t *testing.T) {
	proc, machine := procWith(t, "node"), pooltest.New(1)
	look := func(datasets nodepool.Datasets) error {
		state, err := nodepool.New(machine, datasets, proc).Pool(t.Context(), "node", asked())
		if state.Imported {
			t.Errorf("got %+v", state)
		}
		return err
	}
	whole := zfstest.New("n1", "node")
	if err := look(whole); !errors.Is(err, zfs.ErrNotExist) {
		t.Errorf("exported meanwhile: %v", err)
	}
	must(t, nodepool.New(machine, whole, proc).Make(t.Context(), "node", "/dev/vdb1", nil, nil))
	if err := look(whole); err == nil || !strings.Contains(err.Error(), "read the size of pool node: it is ONLINE, and tells none") {
		t.Errorf("without a size: %v", err)
	}
	machine.Loaded["node"].SizeBytes = 1 << 30
	if err := look(zfstest.New("n1")); !errors.Is(err, zfs.ErrNotExist) {
		t.Errorf("without datasets: %v", err)
	}
}

// TestCommands: what zpool is called with, by way of package zpool. That a program fails is an error.
func TestCommands(t *testing.T) {
	var ran []string
	failed := errors.New("exit status 1")
	run := zpool.RunnerFunc(func(_ context.Context, args ...string) ([]byte, error) {
		ran = append(ran, strings.Join(args, " "))
		return nil, failed
	})
	p, ctx := nodepool.New(zpool.New(run), nil, t.TempDir()), t.Context()
	for _, err := range []error{
		p.Make(ctx, "node", "/dev/vda7", map[string]string{"b": "2", "a": "1"}, map[string]string{"c": "3"}),
		p.Import(ctx, "node", 7, "/dev/vda7"), p.Expand(ctx, "node", "/dev/vda7"),
	} {
		if !errors.Is(err, failed) {
			t.Errorf("got %v, want %v", err, failed)
		}
	}
	want := []string{
		"create -f -o cachefile=none -o a=1 -o b=2 -O c=3 node /dev/vda7", "import -N -o cachefile=none -f -d /dev/vda7 7 node", "online -e node /dev/vda7",
	}
	if d := cmp.Diff(want, ran); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
