package zpool

import (
	"strings"

	"github.com/cyvive/cyvive/internal/storage/pool"
)

// reasons are the words of print_import_config for vdev_aux_str.
func reasons() map[string]string {
	return map[string]string{
		"cannot open": "OPEN_FAILED", "missing device": "BAD_GUID_SUM", "insufficient replicas": "NO_REPLICAS", "newer version": "VERSION_NEWER",
		"unsupported feature(s)": "UNSUP_FEAT", "too many errors": "ERR_EXCEEDED", "currently in use": "ACTIVE", "all children offline": "CHILDREN_OFFLINE",
		"invalid label": "BAD_LABEL", "corrupted data": "CORRUPT_DATA",
	}
}

// headings are those of print_import_config and print_class_vdevs.
func headings() map[string]pool.Class {
	return map[string]pool.Class{"logs": pool.Log, "special": pool.Special, "dedup": pool.Dedup, "cache": pool.Cache, "spares": pool.Spare}
}

// maxDepth is more than ZFS makes: root, vdev, spare, replacing, device.
const maxDepth = 16

// configTree reads the lines of a pool's config: two spaces for each level, a name, a state, and a reason. The first line is the pool.
func configTree(lines []string) []pool.Vdev {
	class := pool.Normal
	root := pool.Vdev{}
	for i, line := range lines {
		name, rest, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
		depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
		if name == "" || depth > maxDepth {
			continue
		}
		if depth == 0 {
			if c, heading := headings()[name]; heading && i > 0 {
				class = c
			}
			continue
		}
		v := pool.Vdev{Name: name, Class: class, Type: typeOf(name)}
		if v.Type == "indirect" {
			continue // what is left of a vdev that was removed: zpool status does not show it (print_status_config in cmd/zpool/zpool_main.c)
		}
		state, reason, _ := strings.Cut(strings.TrimSpace(rest), "  ")
		v.State, v.Reason = pool.State(state), reasons()[strings.TrimSpace(reason)]
		parent := &root
		for range depth - 1 {
			if len(parent.Children) == 0 {
				break
			}
			parent = &parent.Children[len(parent.Children)-1]
		}
		parent.Children = append(parent.Children, v)
	}
	return root.Children
}

// typeOf is the type of a vdev by its name (zpool_vdev_name in lib/libzfs/libzfs_pool.c: type, for RAIDZ with its parity, a dash and a number).
func typeOf(name string) string {
	kind, number, dash := strings.Cut(name, "-")
	if !dash || number == "" || strings.Trim(number, "0123456789") != "" {
		return "disk"
	}
	switch kind {
	case "raidz1", "raidz2", "raidz3":
		return "raidz"
	case "mirror", "spare", "replacing", "indirect", "hole", "missing":
		return kind
	}
	return "disk"
}
