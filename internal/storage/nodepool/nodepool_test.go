package nodepool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage"
)

// recorder keeps what was run, and answers from a table.
type recorder struct {
	ran     []string
	answers map[string]string
}

func (r *recorder) run(program string, args []string) ([]byte, error) {
	line := program + " " + strings.Join(args, " ")
	r.ran = append(r.ran, line)
	if answer, ok := r.answers[line]; ok {
		return []byte(answer), nil
	}
	return nil, errors.New("exit status 1")
}

func (r *recorder) Zpool(_ context.Context, args ...string) ([]byte, error) {
	return r.run("zpool", args)
}
func (r *recorder) Zfs(_ context.Context, args ...string) ([]byte, error) { return r.run("zfs", args) }

func TestPool(t *testing.T) {
	r := &recorder{answers: map[string]string{
		"zpool list -H -p -o guid,size,expandsize node": "12345678901234567890\t1000000\t-\n",
		"zfs list -H -r -t filesystem -o name node":     "node\nnode/etcd\nnode/volumes\n",
		"zfs get -H -p -r -t filesystem -s local -o name,property,value all node": "node\tcompression\tlz4\n" +
			"node/etcd\tmountpoint\tlegacy\nnode/etcd\tuser:words\ta\tb\n",
	}}
	p := New(r)
	p.kstats = t.TempDir()
	if got, err := p.Pool(t.Context(), "node"); err != nil || got.Imported || len(r.ran) != 0 {
		t.Errorf("not imported: %+v, %v, ran %v", got, err, r.ran)
	}
	if err := os.Mkdir(filepath.Join(p.kstats, "node"), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := p.Pool(t.Context(), "node")
	want := storage.PoolState{Imported: true, GUID: 12345678901234567890, SizeBytes: 1000000, Datasets: map[string]map[string]string{
		"etcd": {"mountpoint": "legacy", "user:words": "a\tb"}, "volumes": {},
	}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	delete(r.answers, "zfs list -H -r -t filesystem -o name node")
	if _, err := p.Pool(t.Context(), "node"); err == nil {
		t.Error("zfs list fails, and that is no error")
	}
}

func TestParsePool(t *testing.T) {
	for text, want := range map[string]storage.PoolState{
		"1\t2\t3\n": {Imported: true, GUID: 1, SizeBytes: 2, ExpandableBytes: 3}, "": {}, "1\t2\n": {}, "-\t2\t3\n": {}, "1\t-\t3\n": {}, "1\t2\tx": {},
	} {
		got, err := parsePool(text)
		if got.Imported != want.Imported || err == nil != want.Imported || want.Imported && cmp.Diff(want, got) != "" {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestCommands(t *testing.T) {
	r := &recorder{}
	p, two := New(r), map[string]string{"b": "2", "a": "1"}
	ctx := t.Context()
	for _, err := range []error{
		p.Make(ctx, "node", "/dev/vda7", two, map[string]string{"c": "3"}), p.Import(ctx, "node", 7, "/dev/vda7"), p.Expand(ctx, "node", "/dev/vda7"),
		p.MakeDataset(ctx, "node/etcd", two), p.SetDataset(ctx, "node/etcd", two),
	} {
		if err == nil {
			t.Error("a program fails, and that is no error")
		}
	}
	want := []string{
		"zpool create -f -o a=1 -o b=2 -O c=3 node /dev/vda7", "zpool import -f -N -o cachefile=none -d /dev/vda7 7 node",
		"zpool online -e node /dev/vda7", "zfs create -u -o a=1 -o b=2 node/etcd", "zfs set -u a=1 b=2 node/etcd",
	}
	if d := cmp.Diff(want, r.ran); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1\t2\t3\n", "node\nnode/a\n", "node/a\tquota\t5\n")
	f.Add("", "", "\t\t\t")
	f.Fuzz(func(t *testing.T, pool, names, set string) {
		if s, err := parsePool(pool); err == nil && !s.Imported {
			t.Error("a pool that is read is not imported")
		}
		datasets, err := parseDatasets("node", names, set)
		if err == nil && len(datasets) > strings.Count(names, "node/") {
			t.Errorf("%d datasets of %q", len(datasets), names)
		}
	})
}
