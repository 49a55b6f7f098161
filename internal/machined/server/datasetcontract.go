package server

import (
	"context"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
)

// Datasets are the file systems and volumes in the node's pools, in the messages of the
// API. Safe for concurrent use. On a node without OpenZFS every method is
// ErrPrecondition. What does not exist is ErrNotFound, a name that ZFS does not take
// ErrInvalid.
type Datasets interface {
	// List is for all pools where root is empty.
	List(ctx context.Context, root string) ([]*datasetv1.Dataset, error)
	// Get has the properties too, by name.
	Get(ctx context.Context, name string) (*datasetv1.Dataset, error)
	// Declared are the declared datasets that are there, with their names, kinds and sizes
	// alone, as the node has seen them last. It looks at nothing.
	Declared(ctx context.Context) ([]*datasetv1.Dataset, error)
	// Promote returns the dataset that is a clone from then on. ErrPrecondition where name
	// is no clone, one of the two is of the system's own or a volume of Kubernetes, or
	// replication decides about what is there.
	Promote(ctx context.Context, name string) (clone string, err error)
	// Conditions are why declared datasets at or below root are not as declared.
	Conditions(ctx context.Context, root string) ([]*datasetv1.Condition, error)
	// PlanDestroy returns what Destroy destroys, in order: all that is below name too
	// where all is set. ErrPrecondition where something is in the way.
	PlanDestroy(ctx context.Context, name string, all bool) (*datasetv1.PlanDestroyResponse, error)
	// Destroy is ErrInvalid where confirm is not the name, ErrPrecondition where shown is
	// not the plan of what it would destroy. What was destroyed before an error is
	// returned with it.
	Destroy(ctx context.Context, name, confirm string, all bool, shown []byte) ([]string, error)
}

// Snapshots are those in the node's pools, with the terms of Datasets. Names of snapshots
// are whole.
type Snapshots interface {
	// List is for all pools where dataset is empty.
	List(ctx context.Context, dataset string, recursive bool) ([]*snapshotv1.Snapshot, error)
	// Create makes all or none. ErrPrecondition where replication decides about one that is
	// named; those below that are left out.
	Create(ctx context.Context, datasets []string, name string, recursive bool) (*snapshotv1.CreateResponse, error)
	// Destroy destroys all or none: ErrPrecondition where one is held or cloned.
	Destroy(ctx context.Context, snapshots []string) error
	Hold(ctx context.Context, tag string, snapshots []string) error
	Release(ctx context.Context, tag string, snapshots []string) error
	PlanRollback(ctx context.Context, snapshot string) (*snapshotv1.PlanRollbackResponse, error)
	// Rollback is ErrInvalid where confirm is not the dataset's name, ErrPrecondition
	// where lost is not what PlanRollback says, in any order.
	Rollback(ctx context.Context, snapshot, confirm string, lost []string) error
	// Schedules is how the declared ones fare.
	Schedules(ctx context.Context) ([]*snapshotv1.Schedule, error)
	// PreviewPrune is for all datasets where dataset is empty.
	PreviewPrune(ctx context.Context, dataset string) ([]*snapshotv1.Verdict, error)
	// Clone is ErrPrecondition where the dataset exists, one of the two is of the system's
	// own, or replication decides about what is there.
	Clone(ctx context.Context, snapshot, dataset string) error
	// Diff is ErrPrecondition where the file system is not mounted, ErrInvalid where to is
	// not the later snapshot.
	Diff(ctx context.Context, snapshot, to string) (*snapshotv1.DiffResponse, error)
	// Bookmarks are those of a dataset, or of all pools.
	Bookmarks(ctx context.Context, dataset string, recursive bool) ([]*snapshotv1.Snapshot, error)
	// Bookmark returns the whole name of what it makes; ErrPrecondition where there is one
	// of the name.
	Bookmark(ctx context.Context, snapshot, name string) (string, error)
	// DestroyBookmarks ends with the first that cannot be destroyed.
	DestroyBookmarks(ctx context.Context, bookmarks []string) error
}
