package csi

import (
	"context"
	"errors"
	"maps"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Keys of a topology. A volume is where both its node and its pool are: a node that was made anew has the name, and not the pool; a pool that was
// carried to another machine has not the node.
const (
	nodeKey = Name + "/node"
	poolKey = Name + "/pool-" // with the GUID
	// here is the value of a pool's.
	here = "imported"
)

// contextGeneration is the key of the generation in a volume's context.
const contextGeneration = "generation"

func poolSegment(guid zfs.GUID) string { return poolKey + guid.String() }

// segments are those of this node. Pools that are not imported are left out.
func (d *Driver) segments(ctx context.Context) (map[string]string, error) {
	segments := map[string]string{nodeKey: d.NodeName}
	for _, name := range d.pools() {
		pool, err := d.Pools.Pool(ctx, name)
		switch code := status.Code(failure(err, "")); code {
		case codes.OK:
			segments[poolSegment(pool.GUID)] = here
		case codes.NotFound:
		default:
			return nil, err
		}
	}
	return segments, nil
}

// topologies says from where a volume can be used: one node. A volume with copies has one for each.
func (d *Driver) topologies(ctx context.Context, v volume) ([]*spec.Topology, error) {
	pool, err := d.Pools.Pool(ctx, poolOf(v.parent))
	if errors.Is(err, zfs.ErrNotExist) {
		// The volume was there a moment ago. That it is not would have who asks take it for deleted, or never made.
		return nil, status.Errorf(codes.Unavailable, "volume %s is in pool %s, which was exported just now", v.id, poolOf(v.parent))
	}
	if err != nil {
		return nil, err
	}
	return []*spec.Topology{{Segments: map[string]string{nodeKey: d.NodeName, poolSegment(pool.GUID): here}}}, nil
}

// checkTopology says whether a volume below a parent can be where it has to be.
func (d *Driver) checkTopology(ctx context.Context, r *spec.TopologyRequirement, parent string) error {
	has, err := d.segments(ctx)
	if err != nil {
		return failure(err, "read pools")
	}
	asked := r.GetRequisite()
	if len(asked) == 0 {
		// Preferred alone leaves the choice to the driver, which has none.
		return nil
	}
	for _, t := range asked {
		if within(t.GetSegments(), has) {
			return nil
		}
	}
	return status.Errorf(codes.ResourceExhausted, "volumes below %s are on node %s alone, which is none of the %d places asked for",
		parent, d.NodeName, len(asked))
}

// within says whether what is asked for is all there.
func within(asked, has map[string]string) bool {
	for key, value := range asked {
		if has[key] != value {
			return false
		}
	}
	return true
}

// NodeTopology are the labels that kubelet gives its node. They change when a pool is imported; kubelet reads them when the driver registers.
func (d *Driver) NodeTopology(ctx context.Context) (map[string]string, error) {
	segments, err := d.segments(ctx)
	return maps.Clone(segments), err
}
