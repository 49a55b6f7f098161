package zfstest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Hold implements zfs.System.
func (m *Model) Hold(_ context.Context, tag string, names ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, err := m.all(names)
	if err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	for _, s := range found {
		if s.holds == nil {
			s.holds = map[string]int64{}
		}
		if _, there := s.holds[tag]; !there {
			s.holds[tag] = m.now.Unix()
		}
	}
	m.next()
	return nil
}

// Release implements zfs.System.
func (m *Model) Release(_ context.Context, tag string, names ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		if s, err := m.snapshot(name); err == nil {
			delete(s.holds, tag)
		}
	}
	m.next()
	return nil
}

// Holds implements zfs.System.
func (m *Model) Holds(_ context.Context, names ...string) (map[string][]zfs.Hold, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, err := m.all(names)
	if err != nil {
		return nil, fmt.Errorf("holds: %w", err)
	}
	out := map[string][]zfs.Hold{}
	for i, s := range found {
		out[names[i]] = []zfs.Hold{}
		for _, tag := range slices.Sorted(maps.Keys(s.holds)) {
			out[names[i]] = append(out[names[i]], zfs.Hold{Tag: tag, Since: s.holds[tag]})
		}
	}
	return out, nil
}

func (m *Model) all(names []string) ([]*snapshot, error) {
	found := make([]*snapshot, len(names))
	for i, name := range names {
		s, err := m.snapshot(name)
		if err != nil {
			return nil, err
		}
		found[i] = s
	}
	return found, nil
}
