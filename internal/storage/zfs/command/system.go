package command

import (
	"context"
	"fmt"
	"strconv"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// System is the machine's datasets, by way of the programs. Neither what it creates nor what it clones or receives is mounted.
type System struct{ run Runner }

var _ zfs.System = (*System)(nil)

// NewSystem returns the datasets of the pools that the programs of r see.
func NewSystem(r Runner) *System { return &System{run: r} }

// Create implements [zfs.System].
func (s *System) Create(ctx context.Context, name string, o zfs.CreateOptions) error {
	if err := checkBelow(name); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	args := []string{"create", "-u"}
	switch _, both := o.Properties["volsize"]; {
	case o.Sparse && o.SizeBytes == 0:
		return fmt.Errorf("create %s: %w: it is to be sparse, and has no size", name, zfs.ErrInvalid)
	case both:
		return fmt.Errorf("create %s: %w: the size of a volume is no property when it is made", name, zfs.ErrInvalid)
	case o.SizeBytes > 0:
		args = []string{"create", "-V", strconv.FormatUint(o.SizeBytes, 10)}
		if o.Sparse {
			args = append(args, "-s")
		}
	}
	options, err := propertyOptions("-o", o.Properties)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return s.do(ctx, append(append(args, options...), "--", name)...)
}

// Set implements [zfs.System]. A file system that is mounted stays where it is when its mountpoint is set. Where ZFS refuses one of several
// properties, those before it may be set (zfs_set_prop_nvlist in module/zfs/zfs_ioctl.c).
func (s *System) Set(ctx context.Context, name string, properties map[string]string) error {
	if err := checkAny(name); err != nil {
		return fmt.Errorf("set properties: %w", err)
	}
	if len(properties) == 0 {
		return nil
	}
	words, err := propertyOptions("", properties)
	if err != nil {
		return fmt.Errorf("set properties of %s: %w", name, err)
	}
	return s.do(ctx, append(append([]string{"set", "-u", "--"}, words...), name)...)
}

// Inherit implements [zfs.System]. Quotas, reservations, limits and canmount are not inherited, and are [zfs.ErrInvalid]: they are set to none.
func (s *System) Inherit(ctx context.Context, name, property string) error {
	if err := checkAny(name); err != nil {
		return fmt.Errorf("inherit property: %w", err)
	}
	if err := checkPropertyName(property); err != nil {
		return fmt.Errorf("inherit property of %s: %w", name, err)
	}
	return s.do(ctx, "inherit", "--", property, name)
}

// Rename implements [zfs.System]. A mounted file system is unmounted for it and mounted again, unless its mountpoint is none or legacy.
func (s *System) Rename(ctx context.Context, from, to string) error {
	f, err := zfs.ParseNew(from)
	if err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	t, err := zfs.ParseNew(to)
	if err != nil {
		return fmt.Errorf("rename %s: %w", from, err)
	}
	if f.Bookmark != "" || t.Bookmark != "" {
		return fmt.Errorf("rename %s to %s: %w: bookmarks keep their names", from, to, zfs.ErrInvalid)
	}
	if f.Pool != t.Pool || (f.Snapshot == "") != (t.Snapshot == "") {
		return fmt.Errorf("rename %s to %s: %w: expected a name of the same kind in the same pool", from, to, zfs.ErrInvalid)
	}
	return s.do(ctx, "rename", "--", from, to)
}

// Destroy implements [zfs.System].
func (s *System) Destroy(ctx context.Context, name string) error {
	if err := checkAny(name); err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	return s.do(ctx, "destroy", "--", name)
}

// Snapshot implements [zfs.System]. All have to be in one pool, each of another file system.
func (s *System) Snapshot(ctx context.Context, names []string, userProperties map[string]string) error {
	if err := onePool(names); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if len(names) == 0 {
		return nil
	}
	for name := range userProperties {
		if !zfs.IsUserProperty(name) {
			return fmt.Errorf("snapshot %s: property %q %w: a snapshot has those of your own only, with a colon in their names", names[0], name, zfs.ErrInvalid)
		}
	}
	options, err := propertyOptions("-o", userProperties)
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", names[0], err)
	}
	args := append(append([]string{"snapshot"}, options...), "--")
	return s.do(ctx, append(args, names...)...)
}

// Rollback implements [zfs.System]. Later bookmarks are in the way as later snapshots are.
func (s *System) Rollback(ctx context.Context, snapshot string) error {
	if _, err := zfs.ParseSnapshot(snapshot); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	return s.do(ctx, "rollback", "--", snapshot)
}

// Promote implements [zfs.System]. zfs promote takes no options, and no "--".
func (s *System) Promote(ctx context.Context, name string) error {
	if _, err := zfs.ParseDataset(name); err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	return s.do(ctx, "promote", name)
}

// Bookmark implements [zfs.System].
func (s *System) Bookmark(ctx context.Context, of, name string) error {
	n, err := zfs.ParseNew(of)
	if err == nil && n.Snapshot == "" && n.Bookmark == "" {
		err = fmt.Errorf("name %q %w: expected a snapshot or a bookmark", of, zfs.ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("bookmark: %w", err)
	}
	if _, err := zfs.ParseBookmark(name); err != nil {
		return fmt.Errorf("bookmark %s: %w", of, err)
	}
	return s.do(ctx, "bookmark", "--", of, name)
}

// do runs zfs for its effect.
func (s *System) do(ctx context.Context, args ...string) error {
	_, err := s.run.Zfs(ctx, args...)
	return err
}
