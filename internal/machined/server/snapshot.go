package server

import (
	"context"
	"strings"

	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
)

// snapshotService is node.snapshot.v1 on Snapshots.
type snapshotService struct {
	snapshotv1.UnimplementedSnapshotServiceServer
	snapshots Snapshots
}

// List implements snapshotv1.SnapshotServiceServer.
func (s *snapshotService) List(ctx context.Context, req *snapshotv1.ListRequest) (*snapshotv1.ListResponse, error) {
	list, err := s.snapshots.List(ctx, req.GetDataset(), req.GetRecursive())
	if err != nil {
		return nil, err
	}
	if req.GetBookmarks() {
		bookmarks, err := s.snapshots.Bookmarks(ctx, req.GetDataset(), req.GetRecursive())
		if err != nil {
			return nil, err
		}
		list = append(list, bookmarks...)
	}
	return &snapshotv1.ListResponse{Snapshots: list}, nil
}

// Create implements snapshotv1.SnapshotServiceServer.
func (s *snapshotService) Create(ctx context.Context, req *snapshotv1.CreateRequest) (*snapshotv1.CreateResponse, error) {
	switch {
	case len(req.GetDatasets()) == 0:
		return nil, invalidf("no dataset is named")
	case req.GetName() == "" || strings.ContainsAny(req.GetName(), "@#/"):
		return nil, invalidf("name %.300q: expected what comes behind the @ of a snapshot", req.GetName())
	}
	for _, d := range req.GetDatasets() {
		if d == "" || strings.ContainsAny(d, "@#") {
			return nil, invalidf("%.300q is no file system and no volume", d)
		}
	}
	return s.snapshots.Create(ctx, req.GetDatasets(), req.GetName(), req.GetRecursive())
}

// Destroy implements snapshotv1.SnapshotServiceServer.
func (s *snapshotService) Destroy(ctx context.Context, req *snapshotv1.DestroyRequest) (*snapshotv1.DestroyResponse, error) {
	for _, name := range req.GetBookmarks() {
		if of, short, found := strings.Cut(name, "#"); !found || of == "" || short == "" || strings.ContainsAny(of, "@%,") || strings.ContainsAny(short, "@%,#/") {
			return nil, invalidf("%.300q: expected the whole name of one bookmark, such as tank/data#monday", name)
		}
	}
	if len(req.GetSnapshots()) > 0 || len(req.GetBookmarks()) == 0 {
		if err := snapshotsNamed(req.GetSnapshots()...); err != nil {
			return nil, err
		}
		if err := s.snapshots.Destroy(ctx, req.GetSnapshots()); err != nil {
			return nil, err
		}
	}
	if len(req.GetBookmarks()) > 0 {
		if err := s.snapshots.DestroyBookmarks(ctx, req.GetBookmarks()); err != nil {
			return nil, err
		}
	}
	return &snapshotv1.DestroyResponse{}, nil
}

// Hold implements snapshotv1.SnapshotServiceServer.
func (s *snapshotService) Hold(ctx context.Context, req *snapshotv1.HoldRequest) (*snapshotv1.HoldResponse, error) {
	if err := tagged(req); err != nil {
		return nil, err
	}
	if err := s.snapshots.Hold(ctx, req.GetTag(), req.GetSnapshots()); err != nil {
		return nil, err
	}
	return &snapshotv1.HoldResponse{}, nil
}

// Release implements snapshotv1.SnapshotServiceServer.
func (s *snapshotService) Release(ctx context.Context, req *snapshotv1.ReleaseRequest) (*snapshotv1.ReleaseResponse, error) {
	if err := tagged(req); err != nil {
		return nil, err
	}
	if err := s.snapshots.Release(ctx, req.GetTag(), req.GetSnapshots()); err != nil {
		return nil, err
	}
	return &snapshotv1.ReleaseResponse{}, nil
}

// PlanRollback implements snapshotv1.SnapshotServiceServer.
func (s *snapshotService) PlanRollback(ctx context.Context, req *snapshotv1.PlanRollbackRequest) (*snapshotv1.PlanRollbackResponse, error) {
	if err := snapshotsNamed(req.GetSnapshot()); err != nil {
		return nil, err
	}
	return s.snapshots.PlanRollback(ctx, req.GetSnapshot())
}

// Rollback implements snapshotv1.SnapshotServiceServer.
func (s *snapshotService) Rollback(ctx context.Context, req *snapshotv1.RollbackRequest) (*snapshotv1.RollbackResponse, error) {
	if err := snapshotsNamed(req.GetSnapshot()); err != nil {
		return nil, err
	}
	if dataset, _, _ := strings.Cut(req.GetSnapshot(), "@"); req.GetConfirm() != dataset {
		return nil, invalidf("the confirmation %.300q is not the name of the dataset that is taken back, %.300q", req.GetConfirm(), dataset)
	}
	if err := s.snapshots.Rollback(ctx, req.GetSnapshot(), req.GetConfirm(), req.GetLost()); err != nil {
		return nil, err
	}
	return &snapshotv1.RollbackResponse{}, nil
}

// PreviewPrune implements snapshotv1.SnapshotServiceServer.
func (s *snapshotService) PreviewPrune(ctx context.Context, req *snapshotv1.PreviewPruneRequest) (*snapshotv1.PreviewPruneResponse, error) {
	verdicts, err := s.snapshots.PreviewPrune(ctx, req.GetDataset())
	if err != nil {
		return nil, err
	}
	schedules, err := s.snapshots.Schedules(ctx)
	if err != nil {
		return nil, err
	}
	return &snapshotv1.PreviewPruneResponse{Verdicts: verdicts, Schedules: schedules}, nil
}

// Clone implements snapshotv1.SnapshotServiceServer.
func (s *snapshotService) Clone(ctx context.Context, req *snapshotv1.CloneRequest) (*snapshotv1.CloneResponse, error) {
	if err := snapshotsNamed(req.GetSnapshot()); err != nil {
		return nil, err
	}
	if req.GetDataset() == "" || strings.ContainsAny(req.GetDataset(), "@#") {
		return nil, invalidf("%.300q: expected the whole name of the dataset that is made", req.GetDataset())
	}
	if err := s.snapshots.Clone(ctx, req.GetSnapshot(), req.GetDataset()); err != nil {
		return nil, err
	}
	return &snapshotv1.CloneResponse{}, nil
}

// Diff implements snapshotv1.SnapshotServiceServer.
func (s *snapshotService) Diff(ctx context.Context, req *snapshotv1.DiffRequest) (*snapshotv1.DiffResponse, error) {
	if err := snapshotsNamed(req.GetSnapshot(), req.GetTo()); err != nil {
		return nil, err
	}
	return s.snapshots.Diff(ctx, req.GetSnapshot(), req.GetTo())
}

// Bookmark implements snapshotv1.SnapshotServiceServer.
func (s *snapshotService) Bookmark(ctx context.Context, req *snapshotv1.BookmarkRequest) (*snapshotv1.BookmarkResponse, error) {
	if err := snapshotsNamed(req.GetSnapshot()); err != nil {
		return nil, err
	}
	if req.GetName() == "" || strings.ContainsAny(req.GetName(), "@#%,/") {
		return nil, invalidf("name %.300q: expected what comes behind the # of a bookmark", req.GetName())
	}
	bookmark, err := s.snapshots.Bookmark(ctx, req.GetSnapshot(), req.GetName())
	if err != nil {
		return nil, err
	}
	return &snapshotv1.BookmarkResponse{Bookmark: bookmark}, nil
}

// snapshotsNamed says what is wrong with whole names of snapshots. A range or a list in
// one name, which zfs destroy takes, is none.
func snapshotsNamed(names ...string) error {
	if len(names) == 0 {
		return invalidf("no snapshot is named")
	}
	for _, name := range names {
		dataset, short, found := strings.Cut(name, "@")
		if !found || dataset == "" || short == "" || strings.ContainsAny(name, "%,#") || strings.Contains(short, "@") || strings.Contains(short, "/") {
			return invalidf("%.300q: expected the whole name of one snapshot, such as tank/data@monday", name)
		}
	}
	return nil
}

// tagged is for requests about holds.
func tagged(req interface {
	GetTag() string
	GetSnapshots() []string
}) error {
	if req.GetTag() == "" {
		return invalidf("no tag is given, by which the hold is known")
	}
	return snapshotsNamed(req.GetSnapshots()...)
}
