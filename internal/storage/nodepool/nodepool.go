// Package nodepool is the node's own pool on real OpenZFS, as the storage domain asks for it.
package nodepool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage"
)

// Runner runs the programs of OpenZFS and returns what they print. Package zfs/command implements it.
type Runner interface {
	Zpool(ctx context.Context, args ...string) ([]byte, error)
	Zfs(ctx context.Context, args ...string) ([]byte, error)
}

// kstats has a folder for each pool that is imported (module/os/linux/spl/spl-kstat.c; OpenZFS 2.3).
const kstats = "/proc/spl/kstat/zfs"

// Pools implements storage.Pools. Its methods may be called concurrently, but not two that change the same pool.
type Pools struct {
	run    Runner
	kstats string
}

// New returns Pools that run the given programs.
func New(run Runner) Pools { return Pools{run: run, kstats: kstats} }

// Pool asks the kernel first: a program is run only for a pool that is imported.
func (p Pools) Pool(ctx context.Context, name string) (storage.PoolState, error) {
	if _, err := os.Stat(filepath.Join(p.kstats, name)); errors.Is(err, fs.ErrNotExist) {
		return storage.PoolState{}, nil
	} else if err != nil {
		return storage.PoolState{}, fmt.Errorf("look for pool %s: %w", name, err)
	}
	out, err := p.run.Zpool(ctx, "list", "-H", "-p", "-o", "guid,size,expandsize", name)
	if err != nil {
		return storage.PoolState{}, err
	}
	state, err := parsePool(string(out))
	if err != nil {
		return storage.PoolState{}, fmt.Errorf("read properties of pool %s: %w", name, err)
	}
	datasets, err := p.run.Zfs(ctx, "list", "-H", "-r", "-t", "filesystem", "-o", "name", name)
	if err != nil {
		return storage.PoolState{}, err
	}
	set, err := p.run.Zfs(ctx, "get", "-H", "-p", "-r", "-t", "filesystem", "-s", "local", "-o", "name,property,value", "all", name)
	if err != nil {
		return storage.PoolState{}, err
	}
	if state.Datasets, err = parseDatasets(name, string(datasets), string(set)); err != nil {
		return storage.PoolState{}, fmt.Errorf("read datasets of pool %s: %w", name, err)
	}
	return state, nil
}

// Make runs zpool create. It overwrites what an attempt that was cut off has left (-f).
func (p Pools) Make(ctx context.Context, name, device string, properties, inherited map[string]string) error {
	args := append([]string{"create", "-f"}, options("-o", properties)...)
	_, err := p.run.Zpool(ctx, append(append(args, options("-O", inherited)...), name, device)...)
	return err
}

// Import runs zpool import. The pool is the node's own, on its own disk, so one that was in use by a node of another identity, or that was not exported, is
// taken (-f).
func (p Pools) Import(ctx context.Context, name string, guid uint64, device string) error {
	_, err := p.run.Zpool(ctx, "import", "-f", "-N", "-o", "cachefile=none", "-d", device, strconv.FormatUint(guid, 10), name)
	return err
}

// Expand runs zpool online -e.
func (p Pools) Expand(ctx context.Context, name, device string) error {
	_, err := p.run.Zpool(ctx, "online", "-e", name, device)
	return err
}

// MakeDataset runs zfs create.
func (p Pools) MakeDataset(ctx context.Context, name string, properties map[string]string) error {
	_, err := p.run.Zfs(ctx, append(append([]string{"create", "-u"}, options("-o", properties)...), name)...)
	return err
}

// SetDataset runs zfs set, without mounting or unmounting anything (-u).
func (p Pools) SetDataset(ctx context.Context, name string, properties map[string]string) error {
	args := []string{"set", "-u"}
	for _, property := range slices.Sorted(maps.Keys(properties)) {
		args = append(args, property+"="+properties[property])
	}
	_, err := p.run.Zfs(ctx, append(args, name)...)
	return err
}

// options are properties as a program takes them, ordered.
func options(flag string, properties map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		out = append(out, flag, name+"="+properties[name])
	}
	return out
}

// parsePool reads what zpool list says of one pool: GUID, size, and by how much it can grow, which is "-" if by nothing.
func parsePool(text string) (storage.PoolState, error) {
	fields := strings.Split(strings.TrimSuffix(text, "\n"), "\t")
	if len(fields) != 3 {
		return storage.PoolState{}, fmt.Errorf("%d fields in %.100q, expected 3", len(fields), text)
	}
	s := storage.PoolState{Imported: true}
	for i, to := range []*uint64{&s.GUID, &s.SizeBytes, &s.ExpandableBytes} {
		if i == 2 && fields[i] == "-" {
			continue
		}
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return storage.PoolState{}, fmt.Errorf("field %d is %.40q, expected a number", i+1, fields[i])
		}
		*to = n
	}
	return s, nil
}

// parseDatasets reads the names of all file systems of a pool, and what is set on them.
func parseDatasets(pool, names, set string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for name := range strings.Lines(names) {
		if below, ok := strings.CutPrefix(strings.TrimSuffix(name, "\n"), pool+"/"); ok {
			out[below] = map[string]string{}
		}
	}
	for line := range strings.Lines(set) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%d fields in %.100q, expected 3", len(fields), line)
		}
		below, ok := strings.CutPrefix(fields[0], pool+"/")
		if properties := out[below]; ok && properties != nil {
			properties[fields[1]] = fields[2]
		}
	}
	return out, nil
}
