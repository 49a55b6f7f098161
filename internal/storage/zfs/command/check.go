package command

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// checkBelow returns an error unless name is that of a file system or volume below a pool's own.
func checkBelow(name string) error {
	n, err := zfs.ParseDataset(name)
	if err == nil && n.Path == "" {
		err = fmt.Errorf("name %q %w: it is the name of a pool, expected one below it", name, zfs.ErrInvalid)
	}
	return err
}

// propertyOptions are NAME=VALUE by name, each behind flag, if there is one.
func propertyOptions(flag string, properties map[string]string) ([]string, error) {
	var args []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		value := properties[name]
		if err := checkPropertyName(name); err != nil {
			return nil, err
		}
		if err := zfs.CheckUserValue(name, value); err != nil {
			return nil, err
		}
		if flag != "" {
			args = append(args, flag)
		}
		args = append(args, name+"="+value)
	}
	return args, nil
}

// checkPropertyName returns an error unless name can be a property's and nothing else. Whether there is such a property, and whether people may set
// it, is not decided here.
func checkPropertyName(name string) error {
	if zfs.IsUserProperty(name) && !strings.ContainsAny(name, "@#") {
		return zfs.CheckUserName(name)
	}
	native, of := name, ""
	if i := strings.IndexAny(name, "@#"); i >= 0 { // such as written@snapshot and userquota@1000
		native, of = name[:i], name[i+1:]
		if err := zfs.CheckSnapshotName(of); err != nil {
			return fmt.Errorf("property %q: %w", name, err)
		}
	}
	if native == "" || strings.Trim(native, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || native[0] < 'a' {
		return fmt.Errorf("property name %.40q %w: expected small letters, digits and '_', with a letter in front", name, zfs.ErrInvalid)
	}
	return nil
}

// checkAny returns an error unless name is whole and not one of ZFS's own.
func checkAny(name string) error {
	_, err := zfs.ParseNew(name)
	return err
}

// onePool returns an error unless all are names of snapshots in one pool.
func onePool(snapshots []string) error {
	pool := ""
	for _, name := range snapshots {
		n, err := zfs.ParseSnapshot(name)
		if err != nil {
			return err
		}
		if pool == "" {
			pool = n.Pool
		}
		if n.Pool != pool {
			return fmt.Errorf("snapshot %s %w: it is in another pool than %s, and a transaction is one pool's", name, zfs.ErrInvalid, snapshots[0])
		}
	}
	return nil
}
