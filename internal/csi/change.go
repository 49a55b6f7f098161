package csi

import (
	"context"
	"fmt"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/status"
)

// ControllerExpandVolume implements the Controller service.
func (d *Driver) ControllerExpandVolume(ctx context.Context, r *spec.ControllerExpandVolumeRequest) (*spec.ControllerExpandVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, refuse("volume id: expected one")
	}
	if r.GetCapacityRange() == nil {
		return nil, refuse("capacity range: expected one")
	}
	release, err := d.take(ctx, r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	v, err := d.find(ctx, r.GetVolumeId())
	if err != nil {
		return nil, failure(err, "expand volume")
	}
	if err := d.capable(v, r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	if err := d.enlarge(ctx, &v, r.GetCapacityRange()); err != nil {
		return nil, err
	}
	return &spec.ControllerExpandVolumeResponse{CapacityBytes: v.capacity, NodeExpansionRequired: v.fileSystem == ext4 || v.fileSystem == xfs}, nil
}

// capable checks a capability that need not be given.
func (d *Driver) capable(v volume, c *spec.VolumeCapability) error {
	if c == nil {
		return nil
	}
	a, err := d.accessOf(c)
	if err != nil {
		return err
	}
	if why := v.fits(a); why != "" {
		return refuse("%s", why)
	}
	return nil
}

// enlarge grows a volume into a range. One that is in it already stays as it is, and none shrinks.
func (d *Driver) enlarge(ctx context.Context, v *volume, r *spec.CapacityRange) error {
	s, err := sizesOf(r, v.step, leastOf(v.fileSystem))
	if err != nil {
		return err
	}
	if s.most > 0 && v.capacity > s.most {
		return outOfRange("volume %s has %d bytes, more than %d: a volume does not shrink", v.id, v.capacity, s.most)
	}
	return failure(d.grow(ctx, v, max(v.capacity, s.least)), "expand volume %s to %d bytes", v.id, s.least)
}

// ControllerModifyVolume implements the Controller service: properties of a VolumeAttributesClass. What was written before keeps its form.
func (d *Driver) ControllerModifyVolume(ctx context.Context, r *spec.ControllerModifyVolumeRequest) (*spec.ControllerModifyVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, refuse("volume id: expected one")
	}
	if err := checkMutable(r.GetMutableParameters()); err != nil {
		return nil, err
	}
	release, err := d.take(ctx, r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	v, err := d.find(ctx, r.GetVolumeId())
	if err != nil {
		return nil, failure(err, "modify volume")
	}
	if err := checkKind(r.GetMutableParameters(), v.kind); err != nil {
		return nil, err
	}
	if len(r.GetMutableParameters()) > 0 {
		if err := d.System.Set(ctx, v.dataset, r.GetMutableParameters()); err != nil {
			return nil, failure(err, "modify volume %s", v.id)
		}
	}
	return &spec.ControllerModifyVolumeResponse{}, nil
}

// ValidateVolumeCapabilities implements the Controller service.
func (d *Driver) ValidateVolumeCapabilities(
	ctx context.Context, r *spec.ValidateVolumeCapabilitiesRequest,
) (*spec.ValidateVolumeCapabilitiesResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, refuse("volume id: expected one")
	case len(r.GetVolumeCapabilities()) == 0:
		return nil, refuse("volume capabilities: expected one at least")
	}
	v, err := d.find(ctx, r.GetVolumeId())
	if err != nil {
		return nil, failure(err, "validate capabilities")
	}
	if why := d.lacks(v, r); why != "" {
		return &spec.ValidateVolumeCapabilitiesResponse{Message: brief(why)}, nil
	}
	return &spec.ValidateVolumeCapabilitiesResponse{Confirmed: &spec.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: r.GetVolumeContext(), VolumeCapabilities: r.GetVolumeCapabilities(),
		Parameters: r.GetParameters(), MutableParameters: r.GetMutableParameters(),
	}}, nil
}

// lacks says what a volume does not have of what is asked.
func (d *Driver) lacks(v volume, r *spec.ValidateVolumeCapabilitiesRequest) string {
	for _, c := range r.GetVolumeCapabilities() {
		if err := d.capable(v, c); err != nil {
			return status.Convert(err).Message()
		}
	}
	if err := v.current(r.GetVolumeContext()); err != nil {
		return status.Convert(err).Message()
	}
	p, err := d.parametersOf(r.GetParameters(), r.GetMutableParameters())
	switch {
	case err != nil:
		return status.Convert(err).Message()
	case len(r.GetParameters()) > 0 && p.parent != v.parent:
		return fmt.Sprintf("volume %s is below %s, not %s", v.id, v.parent, p.parent)
	case p.fileSystem != "" && p.fileSystem != v.fileSystem:
		return fmt.Sprintf("volume %s is %s", v.id, describe(access{block: v.block(), fileSystem: v.fileSystem}))
	}
	if err := checkKind(p.properties, v.kind); err != nil {
		return status.Convert(err).Message()
	}
	return ""
}
