package csi

import (
	"context"
	"errors"
	"fmt"

	spec "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// condition is what is wrong with a pool, and so with each volume in it.
type condition struct {
	volume          spec.VolumeHealthErrorType
	storage         spec.StorageHealthErrorType
	reason, message string
}

// conditions returns what is wrong with a pool.
func (d *Driver) conditions(ctx context.Context, name string) ([]condition, error) {
	p, err := d.Pools.Pool(ctx, name)
	if errors.Is(err, zfs.ErrNotExist) {
		return []condition{{
			spec.VolumeHealthErrorType_INACCESSIBLE, spec.StorageHealthErrorType_STORAGE_UNREACHABLE, "PoolNotImported", "pool " + name + " is not imported",
		}}, nil
	}
	if err != nil {
		return nil, err
	}
	var all []condition
	switch p.State {
	case "ONLINE":
	case "DEGRADED":
		all = append(all, condition{
			spec.VolumeHealthErrorType_DEGRADED, spec.StorageHealthErrorType_STORAGE_DEGRADED, "PoolDegraded",
			"pool " + name + " has lost redundancy: see nodectl pool status",
		})
	default:
		all = append(all, condition{
			spec.VolumeHealthErrorType_INACCESSIBLE, spec.StorageHealthErrorType_STORAGE_UNREACHABLE, "PoolUnavailable",
			fmt.Sprintf("pool %s is %s: see nodectl pool status", name, p.State),
		})
	}
	lost, err := d.Pools.DataErrors(ctx, name)
	if err != nil {
		return nil, err
	}
	if lost > 0 {
		all = append(all, condition{
			spec.VolumeHealthErrorType_DATA_LOSS, spec.StorageHealthErrorType_STORAGE_DEGRADED, "PoolDataErrors",
			fmt.Sprintf("pool %s has %d errors in data of this volume or others: see nodectl pool status", name, lost),
		})
	}
	return all, nil
}

// health is a volume's, by what is wrong with its pool.
func (v volume) health(conditions []condition) *spec.VolumeHealth {
	h := &spec.VolumeHealth{VolumeId: v.id}
	for _, c := range conditions {
		h.HealthStatuses = append(h.HealthStatuses, &spec.VolumeHealth_VolumeHealthEntry{Status: c.volume, Reason: c.reason, Message: brief(c.message)})
	}
	return h
}

func (d *Driver) healthOf(ctx context.Context, id string) (*spec.VolumeHealth, error) {
	if id == "" {
		return nil, refuse("volume id: expected one")
	}
	v, err := d.find(ctx, id)
	if err != nil {
		return nil, failure(err, "read health")
	}
	conditions, err := d.conditions(ctx, poolOf(v.parent))
	if err != nil {
		return nil, failure(err, "read health of volume %s", v.id)
	}
	return v.health(conditions), nil
}

// ControllerGetVolumeHealth implements the Controller service.
func (d *Driver) ControllerGetVolumeHealth(
	ctx context.Context, r *spec.ControllerGetVolumeHealthRequest,
) (*spec.ControllerGetVolumeHealthResponse, error) {
	h, err := d.healthOf(ctx, r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	return &spec.ControllerGetVolumeHealthResponse{VolumeHealth: h}, nil
}

// ControllerListVolumeHealth implements the Controller service: volumes that are well are left out. Each pool is asked once, which takes two programs.
func (d *Driver) ControllerListVolumeHealth(
	ctx context.Context, r *spec.ControllerListVolumeHealthRequest,
) (*spec.ControllerListVolumeHealthResponse, error) {
	volumes, err := d.volumes(ctx)
	if err != nil {
		return nil, failure(err, "list volumes")
	}
	var ill []*spec.VolumeHealth
	pools := map[string][]condition{}
	for _, v := range volumes {
		name := poolOf(v.parent)
		conditions, asked := pools[name]
		if !asked {
			if conditions, err = d.conditions(ctx, name); err != nil {
				return nil, failure(err, "read health of pool %s", name)
			}
			pools[name] = conditions
		}
		if len(conditions) > 0 {
			ill = append(ill, v.health(conditions))
		}
	}
	part, next, err := page(ill, (*spec.VolumeHealth).GetVolumeId, r.GetStartingToken(), r.GetMaxEntries())
	if err != nil {
		return nil, err
	}
	return &spec.ControllerListVolumeHealthResponse{Entries: part, NextToken: next}, nil
}

// NodeGetVolumeHealth implements the Node service. There is one node that has the volume, so it sees what the controller does.
func (d *Driver) NodeGetVolumeHealth(ctx context.Context, r *spec.NodeGetVolumeHealthRequest) (*spec.NodeGetVolumeHealthResponse, error) {
	h, err := d.healthOf(ctx, r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	return &spec.NodeGetVolumeHealthResponse{VolumeHealth: h}, nil
}

// NodeGetStorageHealth implements the Node service. A reason names its pool, since none may be there twice.
func (d *Driver) NodeGetStorageHealth(ctx context.Context, _ *spec.NodeGetStorageHealthRequest) (*spec.NodeGetStorageHealthResponse, error) {
	answer := &spec.NodeGetStorageHealthResponse{}
	seen := map[string]*spec.NodeGetStorageHealthResponse_StorageBackendHealth{}
	for _, pool := range d.pools() {
		conditions, err := d.conditions(ctx, pool)
		if err != nil {
			return nil, failure(err, "read health of pool %s", pool)
		}
		for _, c := range conditions {
			key := fmt.Sprint(c.storage, c.reason)
			if one := seen[key]; one != nil {
				one.Message = brief(one.Message + "; " + c.message)
				continue
			}
			seen[key] = &spec.NodeGetStorageHealthResponse_StorageBackendHealth{Status: c.storage, Reason: c.reason, Message: brief(c.message)}
			answer.BackendHealth = append(answer.BackendHealth, seen[key])
		}
	}
	return answer, nil
}
