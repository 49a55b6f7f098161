// Package nodepool is the node's own pool on real OpenZFS, as the storage domain asks for it. It puts package pool/zpool, which changes the pool, and
// zfs.System, which changes what is in it, into the domain's terms.
package nodepool

import (
	"context"
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/zpool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/kstat"
)

// Zpool is what is asked of zpool(8). *zpool.Zpool implements it, and *pooltest.Machine in tests. It leaves no cache file, and an import mounts nothing.
type Zpool interface {
	// Size is that of an imported pool, whatever state others are in.
	Size(ctx context.Context, name string) (zpool.Size, error)
	Create(ctx context.Context, c pool.Creation) error
	Import(ctx context.Context, i pool.Import) error
	// Online with expand has a device used to its whole size.
	Online(ctx context.Context, name, vdev string, expand bool) error
}

// Datasets is the part of zfs.System that is used.
type Datasets interface {
	List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error)
	Create(ctx context.Context, name string, o zfs.CreateOptions) error
	Set(ctx context.Context, name string, properties map[string]string) error
}

// Pools implements storage.Pools. Its methods may be called concurrently, but not two that change the same pool.
type Pools struct {
	zpool    Zpool
	datasets Datasets
	proc     string
}

var _ storage.Pools = Pools{}

// New returns Pools on the given programs. Proc is where proc(5) is mounted.
func New(pools Zpool, datasets Datasets, proc string) Pools { return Pools{pools, datasets, proc} }

// Pool asks the kernel first: a program is run only for a pool that is imported.
func (p Pools) Pool(ctx context.Context, name string, properties []string) (storage.PoolState, error) {
	imported, err := kstat.Imported(p.proc, name)
	if err != nil || !imported {
		return storage.PoolState{}, err
	}
	size, err := p.zpool.Size(ctx, name)
	if err != nil {
		return storage.PoolState{}, err
	}
	if size.SizeBytes == 0 {
		// Shares of it would come to nothing.
		return storage.PoolState{}, fmt.Errorf("read the size of pool %s: it is %s, and tells none", name, size.State)
	}
	datasets, err := p.datasets.List(ctx, zfs.Query{Roots: []string{name}, Kinds: []zfs.Kind{zfs.Filesystem}, Depth: -1, Properties: properties})
	if err != nil {
		return storage.PoolState{}, err
	}
	return storage.PoolState{
		Imported: true, GUID: uint64(size.GUID), SizeBytes: size.SizeBytes, ExpandableBytes: size.ExpandableBytes, Datasets: local(name, datasets),
	}, nil
}

// local is what is set on each file system below the pool's own, and not inherited, received or standard.
func local(root string, datasets []zfs.Dataset) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, d := range datasets {
		below, ok := strings.CutPrefix(d.Name, root+"/")
		if !ok {
			continue
		}
		out[below] = map[string]string{}
		for property, is := range d.Properties {
			if is.Source == zfs.SourceLocal {
				out[below][property] = is.Value
			}
		}
	}
	return out
}

// Make has zpool overwrite what an attempt that was cut off has left.
func (p Pools) Make(ctx context.Context, name, device string, properties, inherited map[string]string) error {
	return p.zpool.Create(ctx, pool.Creation{
		Pool: name, Groups: []pool.Group{{Devices: []string{device}}}, Properties: properties, FileSystem: inherited,
	})
}

// Import forces: the pool is the node's own, on its own disk, so one that was in use by a node of another identity, or that was not exported, is taken.
func (p Pools) Import(ctx context.Context, name string, guid uint64, device string) error {
	return p.zpool.Import(ctx, pool.Import{GUID: zfs.GUID(guid), Name: name, Devices: []string{device}, Force: true})
}

// Expand takes the device by the path that it was imported from.
func (p Pools) Expand(ctx context.Context, name, device string) error {
	return p.zpool.Online(ctx, name, device, true)
}

// MakeDataset implements storage.Pools.
func (p Pools) MakeDataset(ctx context.Context, name string, properties map[string]string) error {
	return p.datasets.Create(ctx, name, zfs.CreateOptions{Properties: properties})
}

// SetDataset implements storage.Pools.
func (p Pools) SetDataset(ctx context.Context, name string, properties map[string]string) error {
	return p.datasets.Set(ctx, name, properties)
}
