package csi

import (
	"context"
	"errors"
	"slices"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// after begins a token, which names the last entry of the page before: so a page is right also where that was deleted meanwhile. With the id of a
// snapshot, which has 127 bytes at most (maxComponent), it comes to maxString.
const after = ">"

// page cuts a list, which is sorted by id, and returns the token for what is left.
func page[T any](all []T, id func(T) string, token string, limit int32) (part []T, next string, err error) {
	if limit < 0 {
		return nil, "", refuse("max entries: %d is negative", limit)
	}
	if token != "" {
		last, ok := strings.CutPrefix(token, after)
		if !ok || last == "" {
			return nil, "", status.Errorf(codes.Aborted, "starting token %.64q is none of this driver's: begin again without one", token)
		}
		from, found := slices.BinarySearchFunc(all, last, func(one T, last string) int { return strings.Compare(id(one), last) })
		if found {
			from++
		}
		all = all[from:]
	}
	if limit == 0 || len(all) <= int(limit) {
		return all, "", nil
	}
	return all[:limit], after + id(all[limit-1]), nil
}

// ListVolumes implements the Controller service.
func (d *Driver) ListVolumes(ctx context.Context, r *spec.ListVolumesRequest) (*spec.ListVolumesResponse, error) {
	all, err := d.volumes(ctx)
	if err != nil {
		return nil, failure(err, "list volumes")
	}
	part, next, err := page(all, func(v volume) string { return v.id }, r.GetStartingToken(), r.GetMaxEntries())
	if err != nil {
		return nil, err
	}
	answer := &spec.ListVolumesResponse{NextToken: next}
	for _, v := range part {
		info, err := d.info(ctx, v)
		if err != nil {
			return nil, failure(err, "list volumes")
		}
		answer.Entries = append(answer.Entries, &spec.ListVolumesResponse_Entry{Volume: info})
	}
	return answer, nil
}

// ControllerGetVolume implements the Controller service.
func (d *Driver) ControllerGetVolume(ctx context.Context, r *spec.ControllerGetVolumeRequest) (*spec.ControllerGetVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, refuse("volume id: expected one")
	}
	v, err := d.find(ctx, r.GetVolumeId())
	if err != nil {
		return nil, failure(err, "get volume")
	}
	info, err := d.info(ctx, v)
	if err != nil {
		return nil, failure(err, "get volume %s", v.id)
	}
	return &spec.ControllerGetVolumeResponse{Volume: info, Status: &spec.ControllerGetVolumeResponse_VolumeStatus{}}, nil
}

// ListSnapshots implements the Controller service.
func (d *Driver) ListSnapshots(ctx context.Context, r *spec.ListSnapshotsRequest) (*spec.ListSnapshotsResponse, error) {
	all, err := d.snapshotsFor(ctx, r)
	if err != nil {
		return nil, failure(err, "list snapshots")
	}
	part, next, err := page(all, snapshot.id, r.GetStartingToken(), r.GetMaxEntries())
	if err != nil {
		return nil, err
	}
	answer := &spec.ListSnapshotsResponse{NextToken: next}
	for _, s := range part {
		answer.Entries = append(answer.Entries, &spec.ListSnapshotsResponse_Entry{Snapshot: s.info()})
	}
	return answer, nil
}

// snapshotsFor returns those that a request is about, without those in pools that are suspended, which is the error where there are no others. One of
// an id that is there no more is none.
func (d *Driver) snapshotsFor(ctx context.Context, r *spec.ListSnapshotsRequest) ([]snapshot, error) {
	var all []snapshot
	var away error
	if id := r.GetSnapshotId(); id != "" {
		s, err := d.findSnapshot(ctx, id)
		if errors.Is(err, zfs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		all = []snapshot{s}
	} else {
		var err error
		if all, away, err = d.snapshots(ctx); err != nil {
			return nil, err
		}
	}
	of := r.GetSourceVolumeId()
	all = slices.DeleteFunc(all, func(s snapshot) bool { return of != "" && s.volume != of })
	if len(all) == 0 {
		return nil, away
	}
	return all, nil
}

// GetSnapshot implements the Controller service.
func (d *Driver) GetSnapshot(ctx context.Context, r *spec.GetSnapshotRequest) (*spec.GetSnapshotResponse, error) {
	if r.GetSnapshotId() == "" {
		return nil, refuse("snapshot id: expected one")
	}
	s, err := d.findSnapshot(ctx, r.GetSnapshotId())
	if err != nil {
		return nil, failure(err, "get snapshot")
	}
	return &spec.GetSnapshotResponse{Snapshot: s.info()}, nil
}
