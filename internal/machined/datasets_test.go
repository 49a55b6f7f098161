package machined

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// datasetNode is a node with the datasets tank/a, tank/a/b and tank/v, of which tank/v is declared.
func datasetNode(t *testing.T) (*node, *zfstest.Model) {
	t.Helper()
	model := zfstest.New("node1", "tank", "node")
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(model.Create(ctx, "tank/a", zfs.CreateOptions{Properties: map[string]string{"quota": "1048576", "compression": "zstd"}}))
	must(model.Create(ctx, "tank/a/b", zfs.CreateOptions{}))
	must(model.Create(ctx, "tank/v", zfs.CreateOptions{SizeBytes: 1 << 20}))
	cfg := (&poolMachine{}).config()
	cfg.Datasets = model
	n := startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) { c.Pools = cfg })
	n.source.set(standalone(t))
	n.await("a configuration", func(s snapshot) bool { return s.input.Config != nil })
	n.loops() // what is declared is not to be brought about meanwhile
	n.update(func(s *snapshot) {
		c := *s.input.Config
		c.Datasets = []config.Dataset{{Name: "tank/v", Volume: &config.Volume{SizeBytes: 1 << 20}}}
		c.SnapshotSchedules = []config.SnapshotSchedule{{
			Name: "s", Prefix: "s-", Datasets: []config.DatasetTree{{Name: "tank/a"}}, Keep: config.Keep{Last: 1},
		}}
		s.input.Config = &c
	})
	return n, model
}

func TestDatasetsOverTheAPI(t *testing.T) {
	t.Parallel()
	n, _ := datasetNode(t)
	api, shots, ctx := datasetsAPI{n.Agent}, snapshotsAPI{n.Agent}, t.Context()
	list, err := api.List(ctx, "tank/a")
	if err != nil || len(list) != 2 || list[0].GetQuotaBytes() != 1<<20 || list[0].GetCompression() != "zstd" || list[0].GetGuid() == 0 || list[0].GetDeclared() {
		t.Fatalf("got %v, %v", list, err)
	}
	all, err := api.List(ctx, "")
	if err != nil || len(all) != 5 || !all[4].GetDeclared() || all[4].GetVolumeBytes() != 1<<20 {
		t.Errorf("got %v, %v", all, err)
	}
	if _, err := api.List(ctx, "tank/none"); !errors.Is(err, server.ErrNotFound) {
		t.Errorf("a root that is not there: %v", err)
	}
	made, err := shots.Create(ctx, []string{"tank/a"}, "one", true)
	if err != nil || !slices.Equal(made.GetSnapshots(), []string{"tank/a/b@one", "tank/a@one"}) || len(made.GetLeftOut()) > 0 {
		t.Errorf("made %v, %v", made, err)
	}
	if err := shots.Hold(ctx, "mine", []string{"tank/a/b@one"}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ err, want error }{
		"snapshot that exists":      {second(shots.Create(ctx, []string{"tank/a"}, "one", false)), server.ErrPrecondition},
		"snapshot of nothing":       {second(shots.Create(ctx, []string{"tank/none"}, "one", false)), server.ErrNotFound},
		"not confirmed":             {second(api.Destroy(ctx, "tank/a", "tank", true, nil)), server.ErrInvalid},
		"held below":                {second(api.Destroy(ctx, "tank/a", "tank/a", true, nil)), server.ErrPrecondition},
		"declared":                  {second(api.Destroy(ctx, "tank/v", "tank/v", true, nil)), server.ErrPrecondition},
		"children":                  {second(api.PlanDestroy(ctx, "tank/a", false)), server.ErrPrecondition},
		"a pool":                    {second(api.Destroy(ctx, "tank", "tank", true, nil)), server.ErrInvalid},
		"the node's own":            {second(api.Destroy(ctx, "node/etcd", "node/etcd", true, nil)), server.ErrPrecondition},
		"the place for others":      {second(api.PlanDestroy(ctx, "node/plane/volumes", true)), server.ErrPrecondition},
		"none in that":              {second(api.PlanDestroy(ctx, "node/plane/volumes/x", true)), server.ErrNotFound},
		"the node's own past":       {second(shots.PlanRollback(ctx, "node/etcd@one")), server.ErrPrecondition},
		"the node taken back":       {shots.Rollback(ctx, "node/etcd@one", "node/etcd", nil), server.ErrPrecondition},
		"none":                      {second(api.PlanDestroy(ctx, "tank/none", true)), server.ErrNotFound},
		"destroy what is held":      {shots.Destroy(ctx, []string{"tank/a@one", "tank/a/b@one"}), server.ErrPrecondition},
		"hold what is not there":    {shots.Hold(ctx, "mine", []string{"tank/a@none"}), server.ErrNotFound},
		"release what is not there": {shots.Release(ctx, "mine", []string{"tank/a@none"}), nil},
	} {
		if c.want == nil {
			continue // ZFS decides
		}
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.err, c.want)
		}
	}
	listed, err := shots.List(ctx, "tank/a", true)
	if err != nil || len(listed) != 2 || !slices.ContainsFunc(listed, func(s *snapshotv1.Snapshot) bool { return slices.Equal(s.GetHolds(), []string{"mine"}) }) {
		t.Errorf("snapshots %v, %v", listed, err)
	}
	if err := shots.Release(ctx, "mine", []string{"tank/a/b@one"}); err != nil {
		t.Fatal(err)
	}
	plan, err := api.PlanDestroy(ctx, "tank/a", true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shots.Create(ctx, []string{"tank/a/b"}, "since", false); err != nil {
		t.Fatal(err)
	}
	for what, shown := range map[string][]byte{"a snapshot that was not shown": plan.GetPlan(), "nothing shown": nil} {
		if gone, err := api.Destroy(ctx, "tank/a", "tank/a", true, shown); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "not those that were shown") || len(gone) > 0 {
			t.Errorf("%s: %v, %v", what, gone, err)
		}
	}
	if listed, err := shots.List(ctx, "tank/a", true); err != nil || len(listed) != 3 {
		t.Errorf("after what was refused there are %v, %v", listed, err)
	}
	if err := shots.Destroy(ctx, []string{"tank/a/b@since"}); err != nil {
		t.Fatal(err)
	}
	gone, failed := api.Destroy(ctx, "tank/a", "tank/a", true, plan.GetPlan())
	if want := []string{"tank/a/b@one", "tank/a/b", "tank/a@one", "tank/a"}; failed != nil || !slices.Equal(plan.GetDestroyed(), want) || !slices.Equal(gone, want) {
		t.Errorf("plan %v; gone %v, %v", plan, gone, failed)
	}
}

// TestRollback names what is lost, and loses nothing else.
func TestRollback(t *testing.T) {
	t.Parallel()
	n, model := datasetNode(t)
	shots, ctx := snapshotsAPI{n.Agent}, t.Context()
	sums := map[string]string{}
	step := func(name string) {
		t.Helper()
		if err := model.Write(ctx, "tank/a", name, []byte(name)); err != nil {
			t.Fatal(err)
		}
		if _, err := shots.Create(ctx, []string{"tank/a"}, name, false); err != nil {
			t.Fatal(err)
		}
		var err error
		if sums[name], err = model.Sum(ctx, "tank/a"); err != nil {
			t.Fatal(err)
		}
	}
	step("one")
	step("two")
	if err := model.Bookmark(ctx, "tank/a@two", "tank/a#mark"); err != nil {
		t.Fatal(err)
	}
	step("three")
	if err := shots.Hold(ctx, "mine", []string{"tank/a@three"}); err != nil {
		t.Fatal(err)
	}
	plan, err := shots.PlanRollback(ctx, "tank/a@one")
	if want := []string{"tank/a@two", "tank/a@three", "tank/a#mark"}; err != nil || plan.GetDataset() != "tank/a" || !slices.Equal(plan.GetLost(), want) {
		t.Fatalf("plan %v, %v", plan, err)
	}
	for name, c := range map[string]struct{ err, want error }{
		"nothing named":        {shots.Rollback(ctx, "tank/a@one", "tank/a", nil), server.ErrPrecondition},
		"not all named":        {shots.Rollback(ctx, "tank/a@one", "tank/a", []string{"tank/a@two"}), server.ErrPrecondition},
		"another confirmation": {shots.Rollback(ctx, "tank/a@one", "tank", plan.GetLost()), server.ErrInvalid},
		"one is held":          {shots.Rollback(ctx, "tank/a@one", "tank/a", plan.GetLost()), server.ErrPrecondition},
		"no such snapshot":     {shots.Rollback(ctx, "tank/a@none", "tank/a", nil), server.ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.err, c.want)
		}
	}
	if sum, err := model.Sum(ctx, "tank/a"); err != nil || sum != sums["three"] {
		t.Errorf("what was refused changed the dataset: %v, %v", sum, err)
	}
	if err := shots.Release(ctx, "mine", []string{"tank/a@three"}); err != nil {
		t.Fatal(err)
	}
	if err := shots.Rollback(ctx, "tank/a@one", "tank/a", plan.GetLost()); err != nil {
		t.Fatal(err)
	}
	if sum, err := model.Sum(ctx, "tank/a"); err != nil || sum != sums["one"] {
		t.Errorf("it is not as it was: %v, %v", sum, err)
	}
	if list, err := shots.List(ctx, "tank/a", false); err != nil || len(list) != 1 {
		t.Errorf("snapshots %v, %v", list, err)
	}
}

func TestPreviewPrune(t *testing.T) {
	t.Parallel()
	n, model := datasetNode(t)
	shots, ctx := snapshotsAPI{n.Agent}, t.Context()
	for _, name := range []string{"s-20261126T040000Z", "s-20261126T050000Z", "mine"} {
		model.Advance(time.Hour)
		if _, err := shots.Create(ctx, []string{"tank/a"}, name, false); err != nil {
			t.Fatal(err)
		}
	}
	verdicts, err := shots.PreviewPrune(ctx, "tank/a")
	if err != nil || len(verdicts) != 3 {
		t.Fatalf("got %v, %v", verdicts, err)
	}
	none, err := shots.PreviewPrune(ctx, "tank/b")
	if err != nil || len(none) > 0 {
		t.Errorf("of another dataset: %v, %v", none, err)
	}
	fates := map[string]snapshotv1.Fate{}
	for _, v := range verdicts {
		_, name, _ := strings.Cut(v.GetSnapshot(), "@")
		fates[name] = v.GetFate()
	}
	if fates["s-20261126T040000Z"] != snapshotv1.Fate_FATE_GOES || fates["s-20261126T050000Z"] != snapshotv1.Fate_FATE_STAYS || fates["mine"] != snapshotv1.Fate_FATE_STAYS {
		t.Errorf("got %v", verdicts)
	}
	if list, err := model.List(context.Background(), zfs.Query{Roots: []string{"tank/a"}, Kinds: []zfs.Kind{zfs.Snapshot}}); err != nil || len(list) != 3 {
		t.Errorf("the preview changed something: %v, %v", list, err)
	}
}

// unmounted is a system in which nothing is mounted.
type unmounted struct{ zfs.System }

func (u unmounted) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	list, err := u.System.List(ctx, q)
	for i := range list {
		if list[i].Kind == zfs.Filesystem {
			list[i].Properties["mounted"] = zfs.Property{Value: "no"}
		}
	}
	return list, err
}

// TestClone makes a dataset of a snapshot, but not of what is the node's own, nor where replication decides.
func TestClone(t *testing.T) {
	t.Parallel()
	n, model := datasetNode(t)
	shots, ctx := snapshotsAPI{n.Agent}, t.Context()
	for name, mark := range map[string]string{"tank/replica": replication.PropertyReplica, "tank/fenced": replication.PropertyFenced, "node/etcd": "org.example:none"} {
		if err := model.Create(ctx, name, zfs.CreateOptions{Properties: map[string]string{mark: "1"}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(model.Create(ctx, "tank/fenced/below", zfs.CreateOptions{}), model.Write(ctx, "tank/a", "file", []byte("kept"))); err != nil {
		t.Fatal(err)
	}
	if err := model.Snapshot(ctx, []string{"tank/a@one"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := model.Snapshot(ctx, []string{"node/etcd@one"}, nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ err, want error }{
		"of nothing":               {shots.Clone(ctx, "tank/a@none", "tank/copy"), server.ErrNotFound},
		"below nothing":            {shots.Clone(ctx, "tank/a@one", "tank/none/copy"), server.ErrNotFound},
		"over what is there":       {shots.Clone(ctx, "tank/a@one", "tank/a/b"), server.ErrPrecondition},
		"a pool":                   {shots.Clone(ctx, "tank/a@one", "copy"), server.ErrInvalid},
		"of the node's own":        {shots.Clone(ctx, "node/etcd@one", "tank/copy"), server.ErrPrecondition},
		"among the node's own":     {shots.Clone(ctx, "tank/a@one", "node/copy"), server.ErrPrecondition},
		"in a replica":             {shots.Clone(ctx, "tank/a@one", "tank/replica/copy"), server.ErrPrecondition},
		"in a tree that is fenced": {shots.Clone(ctx, "tank/a@one", "tank/fenced/below/copy"), server.ErrPrecondition},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.err, c.want)
		}
	}
	if err := shots.Clone(ctx, "tank/a@one", "tank/copy"); err != nil {
		t.Fatal(err)
	}
	want, err := model.Sum(ctx, "tank/a@one")
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := model.Sum(ctx, "tank/copy"); err != nil || sum != want {
		t.Errorf("the clone has %q, %v, want %q", sum, err, want)
	}
	if list, err := (datasetsAPI{n.Agent}).List(ctx, "tank/copy"); err != nil || len(list) != 1 || list[0].GetOrigin() != "tank/a@one" {
		t.Errorf("got %v, %v", list, err)
	}
}

// TestSnapshotsBesideReplicas: of what replication decides about no snapshot is made, since it would be in the way of what is received: it is refused where it is
// named, and left out below another.
func TestSnapshotsBesideReplicas(t *testing.T) {
	t.Parallel()
	n, model := datasetNode(t)
	shots, ctx := snapshotsAPI{n.Agent}, t.Context()
	for _, d := range []struct {
		name  string
		marks map[string]string
	}{
		{"tank/in", map[string]string{replication.PropertyPlaceholder: "on"}}, {"tank/in/replica", map[string]string{replication.PropertyReplica: "1"}},
		{"tank/fenced", map[string]string{replication.PropertyFenced: "2", replication.PropertyGeneration: "2", "readonly": "on"}},
		{"tank/frozen", map[string]string{replication.PropertyGeneration: "2", "readonly": "on"}}, {"tank/promoted", map[string]string{replication.PropertyGeneration: "2"}},
	} {
		if err := model.Create(ctx, d.name, zfs.CreateOptions{Properties: d.marks}); err != nil {
			t.Fatal(err)
		}
	}
	if err := model.Create(ctx, "tank/fenced/below", zfs.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tank/in", "tank/in/replica", "tank/fenced", "tank/fenced/below", "tank/frozen"} {
		if _, err := shots.Create(ctx, []string{"tank/a", name}, "one", false); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), name) {
			t.Errorf("of %s: got %v", name, err)
		}
	}
	made, err := shots.Create(ctx, []string{"tank"}, "two", true)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"tank/a/b@two", "tank/a@two", "tank/promoted@two", "tank/v@two", "tank@two"}; !slices.Equal(made.GetSnapshots(), want) {
		t.Errorf("made %q, want %q", made.GetSnapshots(), want)
	}
	if want := []string{"tank/fenced", "tank/fenced/below", "tank/frozen", "tank/in", "tank/in/replica"}; !slices.Equal(made.GetLeftOut(), want) {
		t.Errorf("left out %q, want %q", made.GetLeftOut(), want)
	}
	list, err := model.List(ctx, zfs.Query{Roots: []string{"tank"}, Kinds: []zfs.Kind{zfs.Snapshot}, Depth: -1})
	if err != nil || len(list) != 5 {
		t.Errorf("there are %d snapshots, %v, want 5", len(list), err)
	}
}

// TestDatasetProperties: of one dataset all properties are told, with where they are from.
func TestDatasetProperties(t *testing.T) {
	t.Parallel()
	n, model := datasetNode(t)
	api, ctx := datasetsAPI{n.Agent}, t.Context()
	if err := errors.Join(
		model.Set(ctx, "tank/a", map[string]string{"org.example:owner": "me"}), model.Set(ctx, "tank/a/b", map[string]string{"sync": "disabled"}),
	); err != nil {
		t.Fatal(err)
	}
	got, err := api.Get(ctx, "tank/a/b")
	if err != nil || got.GetName() != "tank/a/b" || got.GetKind() != datasetv1.Kind_KIND_FILESYSTEM || got.GetGuid() == 0 || got.GetDeclared() {
		t.Fatalf("got %v, %v", got, err)
	}
	found, names := map[string]*datasetv1.Property{}, []string{}
	for _, p := range got.GetProperties() {
		found[p.GetName()], names = p, append(names, p.GetName())
	}
	if !slices.IsSorted(names) {
		t.Errorf("not by name: %q", names)
	}
	for _, want := range []*datasetv1.Property{
		{Name: "sync", Value: "disabled", Source: datasetv1.Source_SOURCE_LOCAL},
		{Name: "recordsize", Value: "131072", Source: datasetv1.Source_SOURCE_DEFAULT},
		{Name: "compression", Value: "zstd", Source: datasetv1.Source_SOURCE_INHERITED, InheritedFrom: "tank/a"},
		{Name: "org.example:owner", Value: "me", Source: datasetv1.Source_SOURCE_INHERITED, InheritedFrom: "tank/a"},
		{Name: "type", Value: "filesystem", Source: datasetv1.Source_SOURCE_NONE},
	} {
		if !proto.Equal(found[want.GetName()], want) {
			t.Errorf("got %v, want %v", found[want.GetName()], want)
		}
	}
	if got, err := api.Get(ctx, "tank/v"); err != nil || !got.GetDeclared() || got.GetVolumeBytes() != 1<<20 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := api.Get(ctx, "tank/none"); !errors.Is(err, server.ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
	if list, err := api.List(ctx, "tank/a"); err != nil || len(list[0].GetProperties()) > 0 {
		t.Errorf("the list has properties: %v, %v", list, err)
	}
}

// TestPromote turns a clone and what it was made of round, but not where others decide about their snapshots.
func TestPromote(t *testing.T) {
	t.Parallel()
	n, model := datasetNode(t)
	api, ctx := datasetsAPI{n.Agent}, t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(model.Create(ctx, "node/plane", zfs.CreateOptions{}))
	must(model.Create(ctx, "node/plane/volumes", zfs.CreateOptions{}))
	must(model.Snapshot(ctx, []string{"tank/a@one"}, nil))
	for _, c := range []struct{ name, mark, clone string }{
		{"tank/replica", replication.PropertyReplica, "tank/of-replica"}, {"tank/fenced", replication.PropertyFenced, "tank/of-fenced"},
		{"tank/pvc", dataset.VolumeProperty, "tank/of-pvc"}, {"node/etcd", "org.example:none", "node/plane/volumes/of-etcd"},
	} {
		must(model.Create(ctx, c.name, zfs.CreateOptions{Properties: map[string]string{c.mark: "1"}}))
		must(model.Snapshot(ctx, []string{c.name + "@one"}, nil))
		must(model.Clone(ctx, c.name+"@one", c.clone, nil))
	}
	for _, clone := range []string{"tank/replica/c", "tank/copy", "tank/taken"} {
		must(model.Clone(ctx, "tank/a@one", clone, nil))
	}
	must(model.Snapshot(ctx, []string{"tank/taken@one"}, nil))
	for name, c := range map[string]struct{ err, want error }{
		"nothing":                    {second(api.Promote(ctx, "tank/none")), server.ErrNotFound},
		"no clone":                   {second(api.Promote(ctx, "tank/a")), server.ErrPrecondition},
		"the node's own":             {second(api.Promote(ctx, "node/etcd")), server.ErrPrecondition},
		"a clone of the node's own":  {second(api.Promote(ctx, "node/plane/volumes/of-etcd")), server.ErrPrecondition},
		"a clone of a replica":       {second(api.Promote(ctx, "tank/of-replica")), server.ErrPrecondition},
		"a clone in a replica":       {second(api.Promote(ctx, "tank/replica/c")), server.ErrPrecondition},
		"a clone of what is fenced":  {second(api.Promote(ctx, "tank/of-fenced")), server.ErrPrecondition},
		"a clone of Kubernetes's":    {second(api.Promote(ctx, "tank/of-pvc")), server.ErrPrecondition},
		"a snapshot has the name of": {second(api.Promote(ctx, "tank/taken")), server.ErrPrecondition},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.err, c.want)
		}
	}
	if list, err := api.List(ctx, "tank"); err != nil || slices.ContainsFunc(list, func(d *datasetv1.Dataset) bool {
		return d.GetName() == "tank/a" && d.GetOrigin() != "" || d.GetName() == "tank/copy" && d.GetOrigin() != "tank/a@one"
	}) {
		t.Errorf("what was refused changed something: %v, %v", list, err)
	}
	if clone, err := api.Promote(ctx, "tank/copy"); err != nil || clone != "tank/a" {
		t.Fatalf("got %q, %v", clone, err)
	}
	for name, origin := range map[string]string{"tank/copy": "", "tank/a": "tank/copy@one"} {
		if list, err := api.List(ctx, name); err != nil || list[0].GetOrigin() != origin {
			t.Errorf("%s: got %v, %v, want the origin %q", name, list, err, origin)
		}
	}
}

// TestDiff compares two snapshots of one file system that is mounted, and nothing else.
func TestDiff(t *testing.T) {
	t.Parallel()
	n, model := datasetNode(t)
	shots, ctx := snapshotsAPI{n.Agent}, t.Context()
	for _, name := range []string{"tank/a@one", "tank/a@two", "tank/v@one", "tank/v@two", "tank/a/b@one"} {
		if err := model.Snapshot(ctx, []string{name}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := shots.Diff(ctx, "tank/a@one", "tank/a@two"); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("on a node that compares none: %v", err)
	}
	n.Agent.cfg.Pools.Diff = func(_ context.Context, from, to string) ([]zfs.Change, bool, error) {
		if from != "tank/a@one" || to != "tank/a@two" {
			t.Errorf("compared %s with %s", from, to)
		}
		return []zfs.Change{{Kind: zfs.Added, Path: "/m/\xff"}, {Kind: zfs.Renamed, Path: "/m/a", NewPath: "/m/b"}}, true, nil
	}
	got, err := shots.Diff(ctx, "tank/a@one", "tank/a@two")
	if err != nil || !got.GetTruncated() || len(got.GetChanges()) != 2 {
		t.Fatalf("got %v, %v", got, err)
	}
	if c := got.GetChanges()[0]; c.GetKind() != snapshotv1.ChangeKind_CHANGE_KIND_ADDED || c.GetPath() != "/m/\uFFFD" || c.GetNewPath() != "" {
		t.Errorf("got %v", c)
	}
	if c := got.GetChanges()[1]; c.GetKind() != snapshotv1.ChangeKind_CHANGE_KIND_RENAMED || c.GetPath() != "/m/a" || c.GetNewPath() != "/m/b" {
		t.Errorf("got %v", c)
	}
	for name, c := range map[string]struct{ err, want error }{
		"the later first":     {second(shots.Diff(ctx, "tank/a@two", "tank/a@one")), server.ErrInvalid},
		"one with itself":     {second(shots.Diff(ctx, "tank/a@one", "tank/a@one")), server.ErrInvalid},
		"of two file systems": {second(shots.Diff(ctx, "tank/a@one", "tank/a/b@one")), server.ErrInvalid},
		"of a volume":         {second(shots.Diff(ctx, "tank/v@one", "tank/v@two")), server.ErrPrecondition},
		"with nothing":        {second(shots.Diff(ctx, "tank/a@one", "tank/a@none")), server.ErrNotFound},
		"of nothing":          {second(shots.Diff(ctx, "tank/none@one", "tank/none@two")), server.ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.err, c.want)
		}
	}
	if err := differ(ctx, unmounted{model}, "tank/a@one", "tank/a@two"); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "not mounted") {
		t.Errorf("of what is not mounted: %v", err)
	}
}

// TestBookmarks makes them of snapshots, lists them where they are asked for, and destroys them.
func TestBookmarks(t *testing.T) {
	t.Parallel()
	n, model := datasetNode(t)
	shots, ctx := snapshotsAPI{n.Agent}, t.Context()
	if err := model.Snapshot(ctx, []string{"tank/a@one"}, nil); err != nil {
		t.Fatal(err)
	}
	if made, err := shots.Bookmark(ctx, "tank/a@one", "kept"); err != nil || made != "tank/a#kept" {
		t.Fatalf("made %q, %v", made, err)
	}
	for name, c := range map[string]struct{ err, want error }{
		"one of the name":     {second(shots.Bookmark(ctx, "tank/a@one", "kept")), server.ErrPrecondition},
		"of nothing":          {second(shots.Bookmark(ctx, "tank/a@none", "other")), server.ErrNotFound},
		"destroy what is not": {shots.DestroyBookmarks(ctx, []string{"tank/a#none"}), server.ErrNotFound},
		"destroy a dataset":   {shots.DestroyBookmarks(ctx, []string{"tank/a"}), server.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.err, c.want)
		}
	}
	if err := shots.Destroy(ctx, []string{"tank/a@one"}); err != nil {
		t.Fatal(err)
	}
	if list, err := shots.Bookmarks(ctx, "tank", true); err != nil || len(list) != 1 || list[0].GetName() != "tank/a#kept" || list[0].GetGuid() == 0 {
		t.Errorf("got %v, %v", list, err)
	}
	if list, err := shots.List(ctx, "tank/a", true); err != nil || len(list) > 0 {
		t.Errorf("snapshots: %v, %v", list, err)
	}
	if err := shots.DestroyBookmarks(ctx, []string{"tank/a#kept"}); err != nil {
		t.Fatal(err)
	}
	if list, err := shots.Bookmarks(ctx, "", false); err != nil || len(list) > 0 {
		t.Errorf("after that there are %v, %v", list, err)
	}
}
