package zfstest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Snapshot implements zfs.System.
func (m *Model) Snapshot(ctx context.Context, names []string, user map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	settings := map[string]setting{}
	for property, value := range user {
		if !isUser(property) {
			return fmt.Errorf("snapshot with %s: %w: no user property", property, zfs.ErrInvalid)
		}
		settings[property] = setting{local: &value}
	}
	seen := map[string]bool{}
	for _, name := range names {
		if err := checkName(name, '@'); err != nil {
			return err
		}
		of, short, _ := strings.Cut(name, "@")
		d, err := m.dataset(of)
		switch {
		case err != nil:
			return err
		case seen[of]:
			return fmt.Errorf("snapshot %s: %w: another one of %s", name, zfs.ErrInvalid, of)
		case d.snapshot(short) != nil:
			return fmt.Errorf("snapshot %s: %w", name, zfs.ErrExist)
		case d.inconsistent:
			return fmt.Errorf("snapshot %s: %w: it is being received", name, zfs.ErrBusy)
		}
		seen[of] = true
	}
	txg := m.next()
	for _, name := range names {
		of, short, _ := strings.Cut(name, "@")
		d := m.datasets[of]
		d.snapshots = append(slices.Clone(d.snapshots), &snapshot{
			of: d, name: short, guid: m.newGUID(), txg: txg, created: m.now, contents: d.contents, large: d.large, size: d.size, user: maps.Clone(settings),
			logged: d.logged,
		})
		d.own = false
	}
	return nil
}

// Rollback implements zfs.System. Bookmarks that are later than the snapshot are in the way, too (dsl_dataset_rollback_check).
func (m *Model) Rollback(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.snapshot(name)
	if err != nil {
		return err
	}
	m.next()
	return s.of.rollBack(s)
}

func (d *dataset) rollBack(s *snapshot) error {
	later := func(b *bookmark) bool { return b.txg > s.txg }
	switch {
	case s != d.latest() || slices.ContainsFunc(d.bookmarks, later):
		return fmt.Errorf("roll back to %s: %w: later snapshots or bookmarks", s.whole(), zfs.ErrHasDependents)
	case d.partial != nil && d.partial.running:
		return fmt.Errorf("roll back to %s: %w", s.whole(), zfs.ErrBusy)
	}
	d.contents, d.changed, d.large, d.size = s.contents, s.txg, s.large, s.size
	d.logged, d.own = false, s.logged // dsl_dataset_zero_zil writes another header into what it was rolled back to
	return nil
}

// Clone implements zfs.System.
func (m *Model) Clone(_ context.Context, of, name string, properties map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.snapshot(of)
	if err != nil {
		return err
	}
	if _, asked := properties["encryption"]; asked {
		return fmt.Errorf("clone %s: %w: encryption is the snapshot's", of, zfs.ErrInvalid)
	}
	d, err := m.newDataset(name, s.of.kind, properties)
	if err != nil {
		return fmt.Errorf("clone %s: %w", of, err)
	}
	d.origin, d.contents, d.changed, d.large, d.size = s, s.contents, s.txg, s.large, s.size
	d.encryption, d.root = s.of.encryption, s.of.root
	return nil
}

// Promote implements zfs.System: the snapshots up to the origin become the clone's.
func (m *Model) Promote(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.dataset(name)
	if err != nil {
		return err
	}
	if d.origin == nil {
		return fmt.Errorf("promote %s: %w: no clone", name, zfs.ErrInvalid)
	}
	old := d.origin.of
	upTo := slices.Index(old.snapshots, d.origin) + 1
	for _, s := range old.snapshots[:upTo] {
		if d.snapshot(s.name) != nil {
			return fmt.Errorf("promote %s: %s: %w", name, s.name, zfs.ErrExist)
		}
	}
	m.next()
	origin := d.origin
	d.origin, old.origin = old.origin, origin
	d.snapshots = append(slices.Clone(old.snapshots[:upTo]), d.snapshots...)
	old.snapshots = slices.Clone(old.snapshots[upTo:])
	for _, s := range d.snapshots {
		s.of = d
	}
	return nil
}

// Bookmark implements zfs.System.
func (m *Model) Bookmark(_ context.Context, of, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := checkName(name, '#'); err != nil {
		return err
	}
	in, short, _ := strings.Cut(name, "#")
	d, err := m.dataset(in)
	if err != nil {
		return err
	}
	if d.bookmark(short) != nil {
		return fmt.Errorf("bookmark %s: %w", name, zfs.ErrExist)
	}
	base, err := m.base(d, of)
	if err != nil {
		return fmt.Errorf("bookmark %s: %w", name, err)
	}
	base.name = short
	d.bookmarks = append(slices.Clone(d.bookmarks), &base)
	slices.SortStableFunc(d.bookmarks, func(a, b *bookmark) int { return int(a.txg) - int(b.txg) })
	m.next()
	return nil
}

// base finds a snapshot or bookmark of a dataset, or of one that it is a clone of.
func (m *Model) base(d *dataset, name string) (bookmark, error) {
	of, short, marked := strings.Cut(name, "#")
	if marked {
		from, err := m.dataset(of)
		if err != nil {
			return bookmark{}, err
		}
		b := from.bookmark(short)
		switch {
		case b == nil:
			return bookmark{}, fmt.Errorf("open %s: %w", name, zfs.ErrNotExist)
		case from != d && !d.descends(from, b.txg):
			return bookmark{}, fmt.Errorf("%w: %s is not earlier in the history of %s", zfs.ErrInvalid, name, d.name)
		}
		return *b, nil
	}
	s, err := m.snapshot(name)
	switch {
	case err != nil:
		return bookmark{}, err
	case s.of != d && !d.descends(s.of, s.txg):
		return bookmark{}, fmt.Errorf("%w: %s is not earlier in the history of %s", zfs.ErrInvalid, name, d.name)
	}
	return bookmark{name: s.name, guid: s.guid, txg: s.txg, created: s.created, length: len(s.contents)}, nil
}

// descends says whether a dataset goes back to what another was at a transaction group.
func (d *dataset) descends(from *dataset, txg uint64) bool {
	for o := d.origin; o != nil; o = o.of.origin {
		if o.of == from {
			return o.txg >= txg
		}
	}
	return false
}
