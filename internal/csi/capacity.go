package csi

import (
	"context"
	"errors"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// GetCapacity implements the Controller service. What a volume can have is what its parent has left; what is only said to be theirs, and not
// reserved, is not taken off.
func (d *Driver) GetCapacity(ctx context.Context, r *spec.GetCapacityRequest) (*spec.GetCapacityResponse, error) {
	p, err := d.parametersOf(r.GetParameters(), nil)
	if err != nil {
		return nil, err
	}
	has, err := d.segments(ctx)
	if err != nil {
		return nil, failure(err, "read pools")
	}
	if !within(r.GetAccessibleTopology().GetSegments(), has) {
		return &spec.GetCapacityResponse{}, nil
	}
	if len(r.GetVolumeCapabilities()) > 0 {
		w := wish{parameters: p}
		if w.access, err = d.accessesOf(r.GetVolumeCapabilities()); err == nil {
			err = w.choose()
		}
		if err != nil {
			// What no volume can be is no lack of room. For none external-provisioner leaves a claim that is bound at once as it is, without a word; after an
			// error it asks for the volume, and tells why there is none (becomeOwner in pkg/controller/controller.go of v6.3.0).
			return nil, err
		}
	}
	found, err := d.System.List(ctx, zfs.Query{Roots: []string{p.parent}, Kinds: []zfs.Kind{zfs.Filesystem}, Properties: []string{"available"}})
	if errors.Is(err, zfs.ErrNotExist) || errors.Is(err, zfs.ErrSuspended) {
		// Nor can one where the parent is not there at present. An error would have the scheduler go by what there was before.
		return &spec.GetCapacityResponse{}, nil
	}
	if err != nil {
		return nil, failure(err, "read room of %s", p.parent)
	}
	room := int64(0)
	for _, one := range found {
		room = number(one.Properties["available"].Value)
	}
	return &spec.GetCapacityResponse{AvailableCapacity: room, MinimumVolumeSize: wrapperspb.Int64(leastBytes)}, nil
}
