package pools

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/storage/pool/zpool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Kstats has a folder for each pool that is imported, with files guid and state of one line each (spa_guid_init and spa_state_init in
// module/zfs/spa_stats.c of OpenZFS 2.3.9).
const Kstats = "/proc/spl/kstat/zfs"

// transitioning is the state of a pool that is being imported or exported (spa_state_to_name in module/zfs/spa_misc.c).
const transitioning = "TRANSITIONING"

// Program runs zpool, and returns what it has written also when it failed. Package zfs/command implements it.
type Program interface {
	Zpool(ctx context.Context, args ...string) ([]byte, error)
}

// Pools implements csi.Pools. It keeps nothing, and may be used concurrently.
type Pools struct {
	kstats string
	zpool  *zpool.Zpool
}

// runner is a Program as package zpool has it.
type runner struct{ Program }

// Run implements zpool.Runner.
func (r runner) Run(ctx context.Context, args ...string) ([]byte, error) {
	return r.Zpool(ctx, args...)
}

// New returns Pools that read below a folder, which is [Kstats] on a node.
func New(kstats string, program Program) Pools { return Pools{kstats, zpool.New(runner{program})} }

// Pool implements csi.Pools.
func (p Pools) Pool(_ context.Context, name string) (csi.Pool, error) {
	guid, err := p.read(name, "guid")
	if err != nil {
		return csi.Pool{}, err
	}
	state, err := p.read(name, "state")
	if err != nil {
		return csi.Pool{}, err
	}
	if state == transitioning {
		return csi.Pool{}, fmt.Errorf("pool %s %w: it is being imported or exported", name, zfs.ErrNotExist)
	}
	n, err := strconv.ParseUint(guid, 10, 64)
	if err != nil || n == 0 {
		return csi.Pool{}, fmt.Errorf("read pool %s: its GUID is %.40q, expected a number", name, guid)
	}
	return csi.Pool{GUID: zfs.GUID(n), State: state}, nil
}

// read reads a line that the kernel has of a pool.
func (p Pools) read(name, file string) (string, error) {
	text, err := os.ReadFile(filepath.Join(p.kstats, name, file))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("pool %s %w: it is not imported", name, zfs.ErrNotExist)
	}
	if err != nil {
		return "", fmt.Errorf("read pool %s: %w", name, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// DataErrors implements csi.Pools.
func (p Pools) DataErrors(ctx context.Context, name string) (uint64, error) {
	list, err := p.zpool.Pools(ctx)
	if err != nil {
		return 0, err
	}
	for _, one := range list {
		if one.Name == name {
			return one.DataErrors, nil
		}
	}
	return 0, fmt.Errorf("pool %s %w: it is not imported", name, zfs.ErrNotExist)
}
