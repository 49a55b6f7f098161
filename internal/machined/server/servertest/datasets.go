package servertest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// Datasets are a node's datasets and snapshots.
type Datasets struct {
	List      []*datasetv1.Dataset
	Snapshots []*snapshotv1.Snapshot // by dataset and age
	Verdicts  []*snapshotv1.Verdict
	// Conditions and Schedules are those of what is declared.
	Conditions []*datasetv1.Condition
	Schedules  []*snapshotv1.Schedule
	// Properties are those of datasets, by whose names.
	Properties map[string][]*datasetv1.Property
	// Bookmarks are whole names.
	Bookmarks []string
	// Diff is how any two snapshots differ.
	Diff *snapshotv1.DiffResponse
	// Replicas are left out of recursive snapshots.
	Replicas []string
	// Meanwhile are snapshots that are made when a destruction has been planned and shown.
	Meanwhile []*snapshotv1.Snapshot
}

// DatasetsOf is a node as server.Datasets, SnapshotsOf as server.Snapshots.
type (
	DatasetsOf  struct{ *Node }
	SnapshotsOf struct{ *Node }
)

var (
	_ server.Datasets  = DatasetsOf{}
	_ server.Snapshots = SnapshotsOf{}
)

// under says that a dataset is another or below it; all are under the empty one.
func under(name, root string) bool {
	return root == "" || name == root || strings.HasPrefix(name, root+"/")
}

// List implements server.Datasets.
func (d DatasetsOf) List(_ context.Context, root string) ([]*datasetv1.Dataset, error) {
	if err := d.called("datasets " + root); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*datasetv1.Dataset
	for _, one := range d.Datasets.List {
		if under(one.GetName(), root) {
			out = append(out, proto.CloneOf(one))
		}
	}
	if root != "" && len(out) == 0 {
		return nil, fmt.Errorf("dataset %s: %w", root, server.ErrNotFound)
	}
	return out, nil
}

// at finds a dataset, with the lock held.
func (d DatasetsOf) at(name string) (*datasetv1.Dataset, error) {
	for _, one := range d.Datasets.List {
		if one.GetName() == name {
			return one, nil
		}
	}
	return nil, fmt.Errorf("dataset %s: %w", name, server.ErrNotFound)
}

// Get implements server.Datasets.
func (d DatasetsOf) Get(_ context.Context, name string) (*datasetv1.Dataset, error) {
	if err := d.called("dataset " + name); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	one, err := d.at(name)
	if err != nil {
		return nil, err
	}
	out := proto.CloneOf(one)
	out.Properties = d.Datasets.Properties[name]
	return out, nil
}

// Declared implements server.Datasets.
func (d DatasetsOf) Declared(context.Context) ([]*datasetv1.Dataset, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*datasetv1.Dataset
	for _, one := range d.Datasets.List {
		if one.GetDeclared() {
			out = append(out, proto.CloneOf(one))
		}
	}
	return out, nil
}

// Promote implements server.Datasets. Which snapshots change hands is not followed.
func (d DatasetsOf) Promote(_ context.Context, name string) (string, error) {
	if err := d.called("promote " + name); err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	one, err := d.at(name)
	if err != nil {
		return "", err
	}
	of, short, isClone := strings.Cut(one.GetOrigin(), "@")
	if !isClone {
		return "", fmt.Errorf("promote %s: %w: it is no clone", name, server.ErrPrecondition)
	}
	one.Origin = ""
	if other, err := d.at(of); err == nil {
		other.Origin = name + "@" + short
	}
	return of, nil
}

// Conditions implements server.Datasets.
func (d DatasetsOf) Conditions(_ context.Context, root string) ([]*datasetv1.Condition, error) {
	var out []*datasetv1.Condition
	for _, c := range d.Datasets.Conditions {
		if under(c.GetDataset(), root) {
			out = append(out, c)
		}
	}
	return out, nil
}

// PlanDestroy implements server.Datasets.
func (d DatasetsOf) PlanDestroy(_ context.Context, name string, all bool) (*datasetv1.PlanDestroyResponse, error) {
	if err := d.called("plan to destroy " + name); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	out, err := d.doomed(name, all)
	if err != nil {
		return nil, err
	}
	return &datasetv1.PlanDestroyResponse{Destroyed: out, Plan: planOf(out)}, nil
}

// planOf is the names.
func planOf(names []string) []byte { return []byte(strings.Join(names, " ")) }

func (d DatasetsOf) doomed(name string, all bool) ([]string, error) {
	var out []string
	for _, s := range d.Datasets.Snapshots {
		of, _, _ := strings.Cut(s.GetName(), "@")
		if under(of, name) {
			out = append(out, s.GetName())
		}
	}
	found := false
	for _, one := range slices.Backward(d.Datasets.List) {
		if !under(one.GetName(), name) {
			continue
		}
		if one.GetDeclared() {
			return nil, fmt.Errorf("destroy %s: %w: it is declared", name, server.ErrPrecondition)
		}
		found, out = true, append(out, one.GetName())
	}
	switch {
	case !found:
		return nil, fmt.Errorf("dataset %s: %w", name, server.ErrNotFound)
	case len(out) > 1 && !all:
		return nil, fmt.Errorf("destroy %s: %w: there is something below it", name, server.ErrPrecondition)
	}
	return out, nil
}

// Destroy implements server.Datasets.
func (d DatasetsOf) Destroy(_ context.Context, name, confirm string, all bool, shown []byte) ([]string, error) {
	if err := d.called(fmt.Sprintf("destroy %s, %s, %t", name, confirm, all)); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Datasets.Snapshots, d.Datasets.Meanwhile = append(d.Datasets.Snapshots, d.Datasets.Meanwhile...), nil
	out, err := d.doomed(name, all)
	if err != nil {
		return nil, err
	}
	if string(planOf(out)) != string(shown) {
		return nil, fmt.Errorf("destroy %s: %w: it is not what was shown", name, server.ErrPrecondition)
	}
	d.Datasets.List = slices.DeleteFunc(d.Datasets.List, func(o *datasetv1.Dataset) bool { return slices.Contains(out, o.GetName()) })
	d.Datasets.Snapshots = slices.DeleteFunc(d.Datasets.Snapshots, func(s *snapshotv1.Snapshot) bool { return slices.Contains(out, s.GetName()) })
	return out, nil
}

// List implements server.Snapshots.
func (v SnapshotsOf) List(_ context.Context, dataset string, recursive bool) ([]*snapshotv1.Snapshot, error) {
	if err := v.called(fmt.Sprintf("snapshots of %s, %t", dataset, recursive)); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []*snapshotv1.Snapshot
	for _, s := range v.Datasets.Snapshots {
		of, _, _ := strings.Cut(s.GetName(), "@")
		if of == dataset || (recursive || dataset == "") && under(of, dataset) {
			out = append(out, proto.CloneOf(s))
		}
	}
	return out, nil
}

// Create implements server.Snapshots.
func (v SnapshotsOf) Create(_ context.Context, datasets []string, name string, recursive bool) (*snapshotv1.CreateResponse, error) {
	if err := v.called(fmt.Sprintf("snapshot %s of %s, %t", name, strings.Join(datasets, " "), recursive)); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []string
	for _, d := range datasets {
		if v.at(d+"@"+name) != nil {
			return nil, fmt.Errorf("snapshot %s@%s: %w: it exists", d, name, server.ErrPrecondition)
		}
		out = append(out, d+"@"+name)
	}
	for _, s := range out {
		v.Datasets.Snapshots = append(v.Datasets.Snapshots, &snapshotv1.Snapshot{Name: s})
	}
	answer := &snapshotv1.CreateResponse{Snapshots: out}
	if recursive {
		answer.LeftOut = slices.Clone(v.Datasets.Replicas)
	}
	return answer, nil
}

// at finds a snapshot, with the lock held.
func (v SnapshotsOf) at(name string) *snapshotv1.Snapshot {
	for _, s := range v.Datasets.Snapshots {
		if s.GetName() == name {
			return s
		}
	}
	return nil
}

// Destroy implements server.Snapshots.
func (v SnapshotsOf) Destroy(_ context.Context, names []string) error {
	if err := v.called("destroy " + strings.Join(names, " ")); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, name := range names {
		if s := v.at(name); len(s.GetHolds()) > 0 {
			return fmt.Errorf("destroy %s: %w: it is held by %s", name, server.ErrPrecondition, strings.Join(s.GetHolds(), ", "))
		}
	}
	v.Datasets.Snapshots = slices.DeleteFunc(v.Datasets.Snapshots, func(s *snapshotv1.Snapshot) bool { return slices.Contains(names, s.GetName()) })
	return nil
}

// Hold implements server.Snapshots.
func (v SnapshotsOf) Hold(_ context.Context, tag string, names []string) error {
	return v.tag("hold", tag, names, func(s *snapshotv1.Snapshot) { s.Holds = append(s.Holds, tag) })
}

// Release implements server.Snapshots.
func (v SnapshotsOf) Release(_ context.Context, tag string, names []string) error {
	return v.tag("release", tag, names, func(s *snapshotv1.Snapshot) {
		s.Holds = slices.DeleteFunc(s.Holds, func(t string) bool { return t == tag })
	})
}

func (v SnapshotsOf) tag(verb, tag string, names []string, do func(*snapshotv1.Snapshot)) error {
	if err := v.called(fmt.Sprintf("%s %s with %s", verb, strings.Join(names, " "), tag)); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, name := range names {
		s := v.at(name)
		if s == nil {
			return fmt.Errorf("snapshot %s: %w", name, server.ErrNotFound)
		}
		do(s)
	}
	return nil
}

// PlanRollback implements server.Snapshots.
func (v SnapshotsOf) PlanRollback(_ context.Context, snapshot string) (*snapshotv1.PlanRollbackResponse, error) {
	if err := v.called("plan to roll back to " + snapshot); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lost(snapshot)
}

func (v SnapshotsOf) lost(snapshot string) (*snapshotv1.PlanRollbackResponse, error) {
	dataset, _, _ := strings.Cut(snapshot, "@")
	out := &snapshotv1.PlanRollbackResponse{Dataset: dataset, WrittenBytes: 1 << 20}
	found := false
	for _, s := range v.Datasets.Snapshots {
		if of, _, _ := strings.Cut(s.GetName(), "@"); of != dataset {
			continue
		}
		if found {
			out.Lost = append(out.Lost, s.GetName())
		}
		found = found || s.GetName() == snapshot
	}
	if !found {
		return nil, fmt.Errorf("snapshot %s: %w", snapshot, server.ErrNotFound)
	}
	return out, nil
}

// Rollback implements server.Snapshots.
func (v SnapshotsOf) Rollback(_ context.Context, snapshot, confirm string, lost []string) error {
	if err := v.called(fmt.Sprintf("roll back to %s, %s", snapshot, confirm)); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	plan, err := v.lost(snapshot)
	if err != nil {
		return err
	}
	if !slices.Equal(plan.GetLost(), lost) {
		return fmt.Errorf("roll back to %s: %w: what is lost is %v", snapshot, server.ErrPrecondition, plan.GetLost())
	}
	v.Datasets.Snapshots = slices.DeleteFunc(v.Datasets.Snapshots, func(s *snapshotv1.Snapshot) bool { return slices.Contains(lost, s.GetName()) })
	return nil
}

// PreviewPrune implements server.Snapshots.
func (v SnapshotsOf) PreviewPrune(_ context.Context, dataset string) ([]*snapshotv1.Verdict, error) {
	return v.Datasets.Verdicts, v.called("preview of " + dataset)
}

// Schedules implements server.Snapshots.
func (v SnapshotsOf) Schedules(context.Context) ([]*snapshotv1.Schedule, error) {
	return v.Datasets.Schedules, nil
}

// Clone implements server.Snapshots.
func (v SnapshotsOf) Clone(_ context.Context, snapshot, dataset string) error {
	if err := v.called(fmt.Sprintf("clone %s to %s", snapshot, dataset)); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.at(snapshot)
	if s == nil {
		return fmt.Errorf("snapshot %s: %w", snapshot, server.ErrNotFound)
	}
	if slices.ContainsFunc(v.Datasets.List, func(d *datasetv1.Dataset) bool { return d.GetName() == dataset }) {
		return fmt.Errorf("clone %s: %w: %s exists", snapshot, server.ErrPrecondition, dataset)
	}
	s.Clones = append(s.Clones, dataset)
	v.Datasets.List = append(v.Datasets.List, &datasetv1.Dataset{Name: dataset, Origin: snapshot})
	return nil
}

// Diff implements server.Snapshots.
func (v SnapshotsOf) Diff(_ context.Context, snapshot, to string) (*snapshotv1.DiffResponse, error) {
	if err := v.called(fmt.Sprintf("compare %s with %s", snapshot, to)); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, name := range []string{snapshot, to} {
		if v.at(name) == nil {
			return nil, fmt.Errorf("snapshot %s: %w", name, server.ErrNotFound)
		}
	}
	return proto.CloneOf(v.Datasets.Diff), nil
}

// Bookmarks implements server.Snapshots.
func (v SnapshotsOf) Bookmarks(_ context.Context, dataset string, recursive bool) ([]*snapshotv1.Snapshot, error) {
	if err := v.called(fmt.Sprintf("bookmarks of %s, %t", dataset, recursive)); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []*snapshotv1.Snapshot
	for _, b := range v.Datasets.Bookmarks {
		of, _, _ := strings.Cut(b, "#")
		if of == dataset || (recursive || dataset == "") && under(of, dataset) {
			out = append(out, &snapshotv1.Snapshot{Name: b})
		}
	}
	return out, nil
}

// Bookmark implements server.Snapshots.
func (v SnapshotsOf) Bookmark(_ context.Context, snapshot, name string) (string, error) {
	if err := v.called(fmt.Sprintf("bookmark %s as %s", snapshot, name)); err != nil {
		return "", err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	of, _, _ := strings.Cut(snapshot, "@")
	bookmark := of + "#" + name
	switch {
	case v.at(snapshot) == nil:
		return "", fmt.Errorf("snapshot %s: %w", snapshot, server.ErrNotFound)
	case slices.Contains(v.Datasets.Bookmarks, bookmark):
		return "", fmt.Errorf("bookmark %s: %w: it exists", bookmark, server.ErrPrecondition)
	}
	v.Datasets.Bookmarks = append(v.Datasets.Bookmarks, bookmark)
	return bookmark, nil
}

// DestroyBookmarks implements server.Snapshots.
func (v SnapshotsOf) DestroyBookmarks(_ context.Context, names []string) error {
	if err := v.called("destroy bookmarks " + strings.Join(names, " ")); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, name := range names {
		at := slices.Index(v.Datasets.Bookmarks, name)
		if at < 0 {
			return fmt.Errorf("bookmark %s: %w", name, server.ErrNotFound)
		}
		v.Datasets.Bookmarks = slices.Delete(v.Datasets.Bookmarks, at, at+1)
	}
	return nil
}
