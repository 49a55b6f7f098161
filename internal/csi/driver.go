package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	spec "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Name is the driver's, in StorageClass.provisioner and in kubelet's registry.
const Name = "zfs.csi.cyvive.dev"

// DefaultParent is where volumes are on a node's own pool.
const DefaultParent = "node/plane/volumes"

// KubeletDir is kubelet's directory, as kubelet says it.
const KubeletDir = "/var/lib/kubelet"

// maxParent is how long the name of a parent may be, so that names below it stay under the 255 bytes of ZFS, with snapshots and when deleted.
const maxParent = 80

// Config is what a Driver is made of.
type Config struct {
	// NodeName is the node's in Kubernetes.
	NodeName string
	// Version is that of the operating system.
	Version string
	// Parents are file systems below which volumes are made. None is below another, and those of pools that are not imported yet may come later. The first is what a
	// StorageClass gets that names none.
	Parents []string
	// More are such that have come since the driver was made, each in a pool of its own. They may be more with each call, and none goes; nil is none.
	More func() []string
	// Away are other file systems below which volumes may have been made, and are not now, as their pools are exported or cannot be written to. What is there is not
	// looked for; but what is to be deleted is not taken for gone while it may be there. They may be others with each call; nil is none.
	Away func() []string
	// KubeletDir is the directory below which kubelet's paths are; empty is [KubeletDir].
	KubeletDir string
	// FileSystems are those that a zvol can be formatted with: ext4, xfs.
	FileSystems []string
	System      zfs.System
	Mounts      Mounts
	Pools       Pools
	// Logger is told of each call that changes something or fails. Nil discards.
	Logger *slog.Logger
}

// Driver is the four services of one node. Its methods may be called concurrently.
type Driver struct {
	spec.UnimplementedIdentityServer
	spec.UnimplementedControllerServer
	spec.UnimplementedGroupControllerServer
	spec.UnimplementedNodeServer

	Config
	locks locks
	// dirty says that something may have been left aside that nobody needs.
	dirty atomic.Bool
	// more is how many More have been.
	more atomic.Int64
	// works are what is done with the file systems of volumes, by their ids (lasting, in staged.go).
	works sync.Map
	// trashes are parents whose file system for deleted volumes was there once.
	trashes sync.Map
	// ended is closed by End.
	ended chan struct{}
	end   sync.Once
}

// New checks the configuration. It asks neither ZFS nor the kernel.
func New(c Config) (*Driver, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.KubeletDir == "" {
		c.KubeletDir = KubeletDir
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("configure CSI driver: %w", err)
	}
	d := &Driver{Config: c, ended: make(chan struct{})}
	d.dirty.Store(true)
	return d, nil
}

// End ends what goes on without the call that it was begun by (lasting, in staged.go). It is for when the driver serves nobody any more.
func (d *Driver) End() { d.end.Do(func() { close(d.ended) }) }

func (c Config) check() error {
	switch {
	case c.System == nil || c.Mounts == nil || c.Pools == nil:
		return errors.New("system, mounts and pools have to be given")
	case !isSegment(c.NodeName):
		return fmt.Errorf("node name %q: expected letters, digits, '-', '_' and '.', 63 at most", c.NodeName)
	case c.Version == "":
		return errors.New("the version is empty")
	case !path.IsAbs(c.KubeletDir) || path.Clean(c.KubeletDir) != c.KubeletDir || c.KubeletDir == "/":
		return fmt.Errorf("kubelet's directory %q: expected an absolute path", c.KubeletDir)
	case len(c.Parents) == 0:
		return errors.New("there is no parent for volumes")
	}
	for _, name := range c.FileSystems {
		if name != ext4 && name != xfs {
			return fmt.Errorf("file system %q: expected ext4 or xfs", name)
		}
	}
	for i, parent := range c.Parents {
		if !IsParent(parent) {
			return fmt.Errorf("parent %q: expected POOL/NAME of letters, digits, '-', '_', '.' and ':', %d bytes at most", parent, maxParent)
		}
		for _, other := range c.Parents[:i] {
			if strings.HasPrefix(parent+"/", other+"/") || strings.HasPrefix(other+"/", parent+"/") {
				return fmt.Errorf("parent %s lies in parent %s, or is the same", parent, other)
			}
		}
	}
	return nil
}

// poolOf is the pool of a dataset.
func poolOf(dataset string) string {
	pool, _, _ := strings.Cut(dataset, "/")
	return pool
}

// parents are those below which volumes are made and looked for at present.
func (d *Driver) parents() []string {
	if d.More == nil {
		return d.Parents
	}
	more := d.More()
	if n := int64(len(more)); d.more.Swap(n) != n {
		d.dirty.Store(true) // nobody has looked there for what is left aside
	}
	return slices.Concat(d.Parents, more)
}

// pools are those of the parents, each once.
func (d *Driver) pools() []string {
	var names []string
	for _, parent := range d.parents() {
		if pool := poolOf(parent); !slices.Contains(names, pool) {
			names = append(names, pool)
		}
	}
	return names
}

// Pools tells what [zfs.System] does not.
type Pools interface {
	// Pool returns what is known of an imported pool. One that is not imported is [zfs.ErrNotExist].
	// It is asked with nearly every call, and every few seconds besides.
	Pool(ctx context.Context, name string) (Pool, error)
	// DataErrors counts the files and blocks of an imported pool that are lost for good. It is asked about a volume's health only.
	DataErrors(ctx context.Context, name string) (uint64, error)
}

// suspended is the state of a pool that has stopped all I/O.
const suspended = "SUSPENDED"

// Pool is a pool's identity and state.
type Pool struct {
	GUID zfs.GUID
	// State is as zpool status has it: ONLINE, DEGRADED, FAULTED, UNAVAIL, SUSPENDED.
	State string
}
