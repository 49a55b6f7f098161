package zpool

import (
	"regexp"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/pool"
)

// feature is a line of zpool_collect_unsup_feat (lib/libzfs/libzfs_pool.c).
var feature = regexp.MustCompile(`(?m)^([a-z0-9.-]+:[a-z0-9_]+)(?: \(.*\))?$`)

// problem tells from the texts of show_import what stands in the way. The status goes first, as a pool that another system has may be whole. Tree is what the pool's
// tree says: check_status (lib/libzfs/libzfs_status.c, 2.3.9) tells of one thing only, and of a resilver or another system's claim before it looks for missing
// devices, damage and features.
func problem(status, action string, tree pool.Problem) (problem pool.Problem, features []string, claimed bool) {
	flat := sentence(status)
	for _, c := range []struct {
		text    string
		problem pool.Problem
	}{
		{"currently imported by another system", pool.Active},
		{"has the multihost property on", pool.NoHostID},
		{"can only be accessed in read-only mode", pool.NewerForWriting},
		{"uses the following feature(s) not supported", pool.Newer},
		{"formatted using an incompatible version", pool.Newer},
	} {
		if strings.Contains(flat, c.text) {
			var features []string
			for _, m := range feature.FindAllStringSubmatch(status, -1) {
				features = append(features, m[1])
			}
			return c.problem, features, false
		}
	}
	claimed = strings.Contains(flat, "last accessed by another system")
	switch {
	case strings.Contains(sentence(action), "Attach the missing devices"):
		return pool.Incomplete, nil, claimed
	case claimed && (tree == pool.Ready || tree == pool.Active):
		return pool.OtherSystem, nil, true
	}
	return tree, nil, claimed
}

// judged tells from a pool's tree what stands in the way, by the same rules as check_status. The config's first line is the pool's own.
func judged(p pool.Importable, config []string) pool.Problem {
	if p.State == pool.Online || p.State == pool.Degraded {
		return pool.Ready
	}
	reason := ""
	if len(config) > 0 {
		_, reason, _ = strings.Cut(strings.TrimSpace(strings.TrimPrefix(config[0], p.Name)), "  ")
	}
	switch reasons()[strings.TrimSpace(reason)] {
	case "ACTIVE":
		return pool.Active
	case "UNSUP_FEAT", "VERSION_NEWER":
		return pool.Newer
	case "BAD_GUID_SUM":
		return pool.Incomplete
	}
	if slices.ContainsFunc(p.Vdevs, absent) {
		return pool.Incomplete
	}
	return pool.Damaged
}

// absent says that a device of a vdev is not there, but for one that is being replaced (find_vdev_problem in lib/libzfs/libzfs_status.c).
func absent(v pool.Vdev) bool {
	switch {
	case v.Type == "replacing":
		return false
	case len(v.Children) > 0:
		return slices.ContainsFunc(v.Children, absent)
	}
	return v.Reason == "OPEN_FAILED"
}
