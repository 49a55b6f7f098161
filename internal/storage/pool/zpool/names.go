package zpool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// zpool status -j looks up the GUID, type, path and state of a vdev by the name that it prints for it, and prints one member for each name (fill_vdev_info and
// vdev_stats_nvlist in cmd/zpool/zpool_main.c, 2.3.9). Of two leaves with one path, such as one that is gone and another in its place, one is left out then, and the other
// has things of both; so have two spares that stand in at the same place of two mirrors. Named by their GUIDs, all are told apart. What they are called comes from a
// second look.

// guidOptions are statusOptions with vdevs by their GUIDs (-g), and without files.
func guidOptions() []string {
	return []string{"status", "-j", "--json-int", "-p", "-g", "-s", "-t", "-i"}
}

// looks is how often both looks are taken: between them, a vdev may come.
const looks = 3

// status reads the status of all pools.
func (z *Zpool) status(ctx context.Context) ([]pool.Pool, error) {
	var out []pool.Pool
	for range looks {
		byGUID, err := z.statusBy(ctx, guidOptions())
		if err != nil {
			return nil, err
		}
		named, err := z.statusBy(ctx, statusOptions())
		if isCut(err) { // as by the name of a file with errors
			named, err = z.statusBy(ctx, slices.DeleteFunc(statusOptions(), func(o string) bool { return o == filesOption }))
		}
		if err != nil {
			return nil, err
		}
		var complete bool
		if out, complete = merged(named, byGUID); complete {
			break
		}
	}
	return out, nil
}

func (z *Zpool) statusBy(ctx context.Context, options []string) ([]pool.Pool, error) {
	out, err := z.run(ctx, options)
	if err != nil && !errors.Is(err, zfs.ErrNotExist) {
		return nil, fmt.Errorf("read the status of pools: %w", err)
	}
	return parseStatus(out)
}

// merged are the pools that are in both looks, with the vdevs of the second and the names of the first. Complete says that the first had all names.
func merged(named, byGUID []pool.Pool) (out []pool.Pool, complete bool) {
	complete = true
	for _, p := range named {
		i := slices.IndexFunc(byGUID, func(o pool.Pool) bool { return o.GUID == p.GUID })
		if i < 0 {
			continue
		}
		names := map[zfs.GUID]string{}
		for _, v := range p.Vdevs {
			names[v.GUID] = v.Name
		}
		p.Vdevs = renamed(byGUID[i].Vdevs, names)
		for _, v := range p.Vdevs {
			_, found := names[v.GUID]
			complete = complete && (found || v.Type != "mirror" && v.Type != "raidz" && v.Type != "draid")
		}
		out = append(out, p)
	}
	return out, complete
}

// renamed gives vdevs that are named by their GUIDs other names: those that are known, or type and place among their siblings (zpool_vdev_name in
// lib/libzfs/libzfs_pool.c). Leaves have theirs.
func renamed(vdevs []pool.Vdev, names map[zfs.GUID]string) []pool.Vdev {
	out := slices.Clone(vdevs)
	for i := range out {
		v := &out[i]
		if len(v.Children) > 0 && v.Name == v.GUID.String() {
			v.Name = cmp.Or(names[v.GUID], fmt.Sprintf("%s-%d", v.Type, i))
		}
		v.Children = renamed(v.Children, nil)
	}
	return out
}
