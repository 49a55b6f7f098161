package command

import (
	"context"
	"fmt"
	"maps"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Clone implements [zfs.System]. zfs clone mounts a file system that may be mounted, and has no option not to (do_clone in cmd/zfs/zfs_main.c of
// 2.3.9): so it is made with canmount=noauto, and gets the value that was asked for, if it is another, in a second step.
func (s *System) Clone(ctx context.Context, snapshot, name string, properties map[string]string) error {
	if _, err := zfs.ParseSnapshot(snapshot); err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	if err := checkBelow(name); err != nil {
		return fmt.Errorf("clone %s: %w", snapshot, err)
	}
	kind, err := s.kindOf(ctx, snapshot)
	if err != nil {
		return fmt.Errorf("clone %s: %w", snapshot, err)
	}
	first := maps.Clone(properties)
	if first == nil {
		first = map[string]string{}
	}
	canmount, later := first["canmount"]
	if kind == zfs.Filesystem && canmount != "off" {
		first["canmount"] = "noauto"
	}
	options, err := propertyOptions("-o", first)
	if err != nil {
		return fmt.Errorf("clone %s: %w", snapshot, err)
	}
	args := append(append([]string{"clone"}, options...), "--", snapshot, name)
	if err := s.do(ctx, args...); err != nil {
		return err
	}
	if !later || canmount == first["canmount"] {
		return nil
	}
	return s.Set(ctx, name, map[string]string{"canmount": canmount})
}

// kindOf tells whether a snapshot is of a file system or of a volume.
func (s *System) kindOf(ctx context.Context, snapshot string) (zfs.Kind, error) {
	all, err := s.List(ctx, zfs.Query{Roots: []string{datasetOf(snapshot)}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}})
	if err != nil {
		return "", err
	}
	if len(all) != 1 {
		return "", fmt.Errorf("dataset %s %w", datasetOf(snapshot), zfs.ErrNotExist)
	}
	return all[0].Kind, nil
}
