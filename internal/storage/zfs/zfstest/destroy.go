package zfstest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Destroy implements zfs.System.
func (m *Model) Destroy(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if of, short, ok := strings.Cut(name, "#"); ok {
		return m.destroyBookmark(of, short)
	}
	if strings.Contains(name, "@") {
		if _, err := m.snapshot(name); err != nil {
			return err
		}
		return m.destroySnapshots([]string{name})
	}
	d, err := m.dataset(name)
	switch {
	case err != nil:
		return err
	case len(m.below(name)) > 1 || len(d.snapshots) > 0 || d.partial != nil && !d.inconsistent:
		return fmt.Errorf("destroy %s: %w", name, zfs.ErrHasDependents)
	case d.partial != nil && d.partial.running || parentOf(name) == "":
		return fmt.Errorf("destroy %s: %w", name, zfs.ErrBusy)
	}
	delete(m.datasets, name)
	m.next()
	return nil
}

func (m *Model) destroyBookmark(of, short string) error {
	d, err := m.dataset(of)
	if err != nil {
		return err
	}
	if d.bookmark(short) == nil {
		return fmt.Errorf("destroy %s#%s: %w", of, short, zfs.ErrNotExist)
	}
	d.bookmarks = slices.DeleteFunc(slices.Clone(d.bookmarks), func(b *bookmark) bool { return b.name == short })
	m.next()
	return nil
}

// DestroySnapshots implements zfs.System.
func (m *Model) DestroySnapshots(_ context.Context, names []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.destroySnapshots(names)
}

func (m *Model) destroySnapshots(names []string) error {
	doomed := map[*snapshot]bool{}
	for _, name := range names {
		if err := checkName(name, '@'); err != nil {
			return err
		}
		s, err := m.snapshot(name)
		if err != nil {
			continue // gone already
		}
		switch clones := m.clones(s); {
		case len(s.holds) > 0:
			return fmt.Errorf("destroy %s: %w: %s", name, zfs.ErrHeld, strings.Join(slices.Sorted(maps.Keys(s.holds)), ", "))
		case len(clones) > 0:
			return fmt.Errorf("destroy %s: %w: %s", name, zfs.ErrHasDependents, strings.Join(clones, ", "))
		case s.sending > 0:
			return fmt.Errorf("destroy %s: %w: it is being sent", name, zfs.ErrBusy)
		}
		doomed[s] = true
	}
	for s := range doomed {
		s.of.snapshots = slices.DeleteFunc(slices.Clone(s.of.snapshots), func(o *snapshot) bool { return o == s })
	}
	m.next()
	return nil
}
