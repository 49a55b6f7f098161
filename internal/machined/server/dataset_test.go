package server_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
)

func filled() *servertest.Node {
	return &servertest.Node{Datasets: servertest.Datasets{
		List: []*datasetv1.Dataset{{Name: "tank", Declared: true}, {Name: "tank/a", QuotaBytes: 7}, {Name: "tank/a/b"}},
		Snapshots: []*snapshotv1.Snapshot{
			{Name: "tank/a@1"}, {Name: "tank/a@2", Holds: []string{"mine"}}, {Name: "tank/a@3"}, {Name: "tank/a/b@1", UsedBytes: 3},
		},
		Verdicts: []*snapshotv1.Verdict{{Snapshot: "tank/a@1", Fate: snapshotv1.Fate_FATE_GOES}},
		Properties: map[string][]*datasetv1.Property{"tank/a": {
			{Name: "org.example:owner", Value: "me", Source: datasetv1.Source_SOURCE_LOCAL},
			{Name: "recordsize", Value: "131072", Source: datasetv1.Source_SOURCE_INHERITED, InheritedFrom: "tank"},
		}},
		Conditions: []*datasetv1.Condition{{Dataset: "tank/a/x", Reason: "ParentMissing"}, {Dataset: "tank/b", Reason: "Refused", Text: "no room"}},
		Schedules:  []*snapshotv1.Schedule{{Name: "daily", Snapshots: 3, Problems: []string{"no room"}}},
		Diff: &snapshotv1.DiffResponse{Changes: []*snapshotv1.Change{
			{Kind: snapshotv1.ChangeKind_CHANGE_KIND_RENAMED, Path: "/a/old", NewPath: "/a/new"}, {Kind: snapshotv1.ChangeKind_CHANGE_KIND_ADDED, Path: "/a/x"},
		}, Truncated: true},
	}}
}

// TestDatasets lists datasets and snapshots, and has them made, kept, taken back and destroyed by their names.
func TestDatasets(t *testing.T) {
	node := filled()
	conn := admin(t, node)
	datasets, snapshots := datasetv1.NewDatasetServiceClient(conn), snapshotv1.NewSnapshotServiceClient(conn)
	ctx := t.Context()
	list, err := datasets.List(ctx, &datasetv1.ListRequest{Root: "tank/a"})
	check(t, &datasetv1.ListResponse{Datasets: node.Datasets.List[1:], Conditions: node.Datasets.Conditions[:1]}, list, err)
	some, err := snapshots.List(ctx, &snapshotv1.ListRequest{Dataset: "tank/a"})
	check(t, &snapshotv1.ListResponse{Snapshots: node.Datasets.Snapshots[:3]}, some, err)
	all, err := snapshots.List(ctx, &snapshotv1.ListRequest{Dataset: "tank/a", Recursive: true})
	check(t, &snapshotv1.ListResponse{Snapshots: node.Datasets.Snapshots}, all, err)
	verdicts, err := snapshots.PreviewPrune(ctx, &snapshotv1.PreviewPruneRequest{})
	check(t, &snapshotv1.PreviewPruneResponse{Verdicts: node.Datasets.Verdicts, Schedules: node.Datasets.Schedules}, verdicts, err)

	made, err := snapshots.Create(ctx, &snapshotv1.CreateRequest{Datasets: []string{"tank/a", "tank/a/b"}, Name: "new"})
	check(t, &snapshotv1.CreateResponse{Snapshots: []string{"tank/a@new", "tank/a/b@new"}}, made, err)
	held, err := snapshots.Hold(ctx, &snapshotv1.HoldRequest{Tag: "t", Snapshots: []string{"tank/a@new"}})
	check(t, &snapshotv1.HoldResponse{}, held, err)
	if _, err := snapshots.Destroy(ctx, &snapshotv1.DestroyRequest{Snapshots: []string{"tank/a@new"}}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("destroy what is held: %v", err)
	}
	released, err := snapshots.Release(ctx, &snapshotv1.ReleaseRequest{Tag: "t", Snapshots: []string{"tank/a@new"}})
	check(t, &snapshotv1.ReleaseResponse{}, released, err)
	gone, err := snapshots.Destroy(ctx, &snapshotv1.DestroyRequest{Snapshots: []string{"tank/a@new", "tank/a/b@new"}})
	check(t, &snapshotv1.DestroyResponse{}, gone, err)

	got, err := datasets.Get(ctx, &datasetv1.GetRequest{Name: "tank/a"})
	want := proto.CloneOf(node.Datasets.List[1])
	want.Properties = node.Datasets.Properties["tank/a"]
	check(t, &datasetv1.GetResponse{Dataset: want}, got, err)
	if len(got.GetDataset().GetProperties()) != 2 || len(list.GetDatasets()[0].GetProperties()) > 0 {
		t.Errorf("properties: %v, and in the list %v", got, list)
	}
	node.Change(func(n *servertest.Node) {
		n.Datasets.Conditions = append(n.Datasets.Conditions, &datasetv1.Condition{Dataset: "tank/a", Reason: "Refused"})
	})
	got, err = datasets.Get(ctx, &datasetv1.GetRequest{Name: "tank/a"})
	check(t, &datasetv1.GetResponse{Dataset: want, Conditions: node.Datasets.Conditions[2:]}, got, err)
	if _, err := datasets.Get(ctx, &datasetv1.GetRequest{Name: "tank/none"}); status.Code(err) != codes.NotFound {
		t.Errorf("get what is not there: %v", err)
	}

	diff, err := snapshots.Diff(ctx, &snapshotv1.DiffRequest{Snapshot: "tank/a@1", To: "tank/a@2"})
	check(t, node.Datasets.Diff, diff, err)
	marked, err := snapshots.Bookmark(ctx, &snapshotv1.BookmarkRequest{Snapshot: "tank/a@1", Name: "kept"})
	check(t, &snapshotv1.BookmarkResponse{Bookmark: "tank/a#kept"}, marked, err)
	both, err := snapshots.List(ctx, &snapshotv1.ListRequest{Dataset: "tank/a/b", Bookmarks: true})
	check(t, &snapshotv1.ListResponse{Snapshots: node.Datasets.Snapshots[3:]}, both, err)
	both, err = snapshots.List(ctx, &snapshotv1.ListRequest{Dataset: "tank", Recursive: true, Bookmarks: true})
	check(t, &snapshotv1.ListResponse{Snapshots: append(slices.Clone(node.Datasets.Snapshots), &snapshotv1.Snapshot{Name: "tank/a#kept"})}, both, err)
	unmarked, err := snapshots.Destroy(ctx, &snapshotv1.DestroyRequest{Bookmarks: []string{"tank/a#kept"}})
	check(t, &snapshotv1.DestroyResponse{}, unmarked, err)
	if len(node.Datasets.Bookmarks) > 0 || len(node.Datasets.Snapshots) != 4 {
		t.Errorf("left: %v, %v", node.Datasets.Bookmarks, node.Datasets.Snapshots)
	}
	cloned, err := snapshots.Clone(ctx, &snapshotv1.CloneRequest{Snapshot: "tank/a@1", Dataset: "tank/copy"})
	check(t, &snapshotv1.CloneResponse{}, cloned, err)
	if _, err := snapshots.Clone(ctx, &snapshotv1.CloneRequest{Snapshot: "tank/a@1", Dataset: "tank/copy"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("clone to what is there: %v", err)
	}

	promoted, err := datasets.Promote(ctx, &datasetv1.PromoteRequest{Name: "tank/copy"})
	check(t, &datasetv1.PromoteResponse{Clone: "tank/a"}, promoted, err)
	if _, err := datasets.Promote(ctx, &datasetv1.PromoteRequest{Name: "tank/copy"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("promote what is no clone: %v", err)
	}

	plan, err := snapshots.PlanRollback(ctx, &snapshotv1.PlanRollbackRequest{Snapshot: "tank/a@2"})
	check(t, &snapshotv1.PlanRollbackResponse{Dataset: "tank/a", Lost: []string{"tank/a@3"}, WrittenBytes: 1 << 20}, plan, err)
	back, err := snapshots.Rollback(ctx, &snapshotv1.RollbackRequest{Snapshot: "tank/a@2", Confirm: "tank/a", Lost: plan.GetLost()})
	check(t, &snapshotv1.RollbackResponse{}, back, err)

	doomed, err := datasets.PlanDestroy(ctx, &datasetv1.PlanDestroyRequest{Name: "tank/a/b", All: true})
	check(t, &datasetv1.PlanDestroyResponse{Destroyed: []string{"tank/a/b@1", "tank/a/b"}, Plan: []byte("tank/a/b@1 tank/a/b")}, doomed, err)
	_, err = datasets.Destroy(ctx, &datasetv1.DestroyRequest{Name: "tank/a/b", Confirm: "tank/a/b", All: true, Plan: []byte("tank/a/b")})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("destroy what was not shown: %v", err)
	}
	destroyed, err := datasets.Destroy(ctx, &datasetv1.DestroyRequest{Name: "tank/a/b", Confirm: "tank/a/b", All: true, Plan: doomed.GetPlan()})
	check(t, &datasetv1.DestroyResponse{Destroyed: []string{"tank/a/b@1", "tank/a/b"}}, destroyed, err)
}

// TestDatasetRefusals: what loses something is refused before the node is asked, unless it is named rightly.
func TestDatasetRefusals(t *testing.T) {
	node := filled()
	conn := admin(t, node)
	datasets, snapshots := datasetv1.NewDatasetServiceClient(conn), snapshotv1.NewSnapshotServiceClient(conn)
	ctx := t.Context()
	destroy := func(name, confirm string) error {
		_, err := datasets.Destroy(ctx, &datasetv1.DestroyRequest{Name: name, Confirm: confirm, All: true})
		return err
	}
	snapshot := func(names ...string) error {
		_, err := snapshots.Destroy(ctx, &snapshotv1.DestroyRequest{Snapshots: names})
		return err
	}
	rollback := func(name, confirm string) error {
		_, err := snapshots.Rollback(ctx, &snapshotv1.RollbackRequest{Snapshot: name, Confirm: confirm})
		return err
	}
	create := func(name string, of ...string) error {
		_, err := snapshots.Create(ctx, &snapshotv1.CreateRequest{Name: name, Datasets: of})
		return err
	}
	_, plan := datasets.PlanDestroy(ctx, &datasetv1.PlanDestroyRequest{})
	get := func(name string) error {
		_, err := datasets.Get(ctx, &datasetv1.GetRequest{Name: name})
		return err
	}
	promote := func(name string) error {
		_, err := datasets.Promote(ctx, &datasetv1.PromoteRequest{Name: name})
		return err
	}
	_, hold := snapshots.Hold(ctx, &snapshotv1.HoldRequest{Snapshots: []string{"tank/a@1"}})
	_, release := snapshots.Release(ctx, &snapshotv1.ReleaseRequest{Tag: "t"})
	clone := func(name, to string) error {
		_, err := snapshots.Clone(ctx, &snapshotv1.CloneRequest{Snapshot: name, Dataset: to})
		return err
	}
	mark := func(of, name string) error {
		_, err := snapshots.Bookmark(ctx, &snapshotv1.BookmarkRequest{Snapshot: of, Name: name})
		return err
	}
	unmark := func(names ...string) error {
		_, err := snapshots.Destroy(ctx, &snapshotv1.DestroyRequest{Bookmarks: names})
		return err
	}
	diff := func(name, to string) error {
		_, err := snapshots.Diff(ctx, &snapshotv1.DiffRequest{Snapshot: name, To: to})
		return err
	}
	_, planBack := snapshots.PlanRollback(ctx, &snapshotv1.PlanRollbackRequest{Snapshot: "tank/a"})
	for name, err := range map[string]error{
		"no dataset": destroy("", ""), "no confirmation": destroy("tank/a", ""), "another confirmation": destroy("tank/a", "tank/a/b"), "no name to plan": plan,
		"no plan":     destroy("tank/a", "tank/a"),
		"get nothing": get(""), "get a snapshot": get("tank/a@1"), "get a bookmark": get("tank/a#1"), "promote nothing": promote(""), "promote a snapshot": promote("tank/a@1"),
		"no snapshot": snapshot(), "a dataset": snapshot("tank/a"), "a range": snapshot("tank/a@1%3"), "a list": snapshot("tank/a@1,2"), "a bookmark": snapshot("tank/a#1"),
		"two signs": snapshot("tank/a@1@2"), "one of several is none": snapshot("tank/a@1", "@2"), "no tag": hold, "a tag of nothing": release, "back to nothing": planBack,
		"rollback without confirmation": rollback("tank/a@3", ""), "rollback of another": rollback("tank/a@3", "tank"), "rollback to no snapshot": rollback("tank/a", "tank/a"),
		"a whole name": create("tank/a@1", "tank/a"), "no name": create("", "tank/a"), "nothing": create("x"), "of a snapshot": create("x", "tank/a@1"),
		"clone of a dataset": clone("tank/a", "tank/c"), "clone to nothing": clone("tank/a@1", ""), "clone to a snapshot": clone("tank/a@1", "tank/c@1"),
		"bookmark of a dataset": mark("tank/a", "x"), "bookmark without a name": mark("tank/a@1", ""), "bookmark by a whole name": mark("tank/a@1", "tank/a#x"),
		"not a bookmark": unmark("tank/a@1"), "bookmark of nothing": unmark("#x"), "bookmarks in one": unmark("tank/a#x,y"), "one is a snapshot": unmark("tank/a#x", "tank/a@1"),
		"difference to now": diff("tank/a@1", ""), "difference to a dataset": diff("tank/a@1", "tank/a"), "difference of a dataset": diff("tank/a", "tank/a@1"),
	} {
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if calls := node.Calls(); len(calls) > 0 {
		t.Errorf("the node was asked: %s", strings.Join(calls, "; "))
	}
	if err := rollback("tank/a@1", "tank/a"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("rollback that does not name what is lost: %v", err)
	}
	if _, err := datasets.Destroy(ctx, &datasetv1.DestroyRequest{Name: "tank", Confirm: "tank", All: true, Plan: []byte("tank")}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("destroy what is declared: %v", err)
	}
}
