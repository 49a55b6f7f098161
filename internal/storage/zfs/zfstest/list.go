package zfstest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// List implements zfs.System.
func (m *Model) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	roots := q.Roots
	if q.Alone && len(roots) == 0 {
		return nil, fmt.Errorf("list alone: %w: no root", zfs.ErrInvalid)
	}
	if len(roots) == 0 {
		for _, name := range slices.Sorted(maps.Keys(m.datasets)) {
			if parentOf(name) == "" {
				roots = append(roots, name)
			}
		}
	}
	seen, out := map[string]bool{}, []zfs.Dataset{}
	for _, root := range roots {
		found, err := m.listBelow(root, q)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			if !seen[d.Name] && (len(q.Kinds) == 0 || slices.Contains(q.Kinds, d.Kind)) {
				seen[d.Name] = true
				out = append(out, d)
			}
		}
	}
	// Stable, so that snapshots and bookmarks stay in their order behind the dataset that they are of.
	slices.SortStableFunc(out, func(a, b zfs.Dataset) int { return strings.Compare(fileSystemOf(a.Name), fileSystemOf(b.Name)) })
	return out, nil
}

// Get implements zfs.System.
func (m *Model) Get(ctx context.Context, name string) (zfs.Dataset, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return zfs.Dataset{}, fmt.Errorf("get: %w", err)
	}
	d, err := m.dataset(name)
	if err != nil {
		return zfs.Dataset{}, err
	}
	names := append(slices.Collect(maps.Keys(natives)), computed...)
	names = append(names, "volsize")
	for at := name; at != ""; at = parentOf(at) {
		names = slices.AppendSeq(names, maps.Keys(m.datasets[at].settings))
	}
	return zfs.Dataset{Name: d.name, Kind: d.kind, GUID: d.guid, CreateTXG: d.txg, Created: d.created, Properties: m.properties(d, names)}, nil
}

// fileSystemOf is the name without snapshot or bookmark.
func fileSystemOf(name string) string {
	if i := strings.IndexAny(name, "@#"); i >= 0 {
		return name[:i]
	}
	return name
}

func (m *Model) listBelow(root string, q zfs.Query) ([]zfs.Dataset, error) {
	if strings.ContainsAny(root, "@#") {
		return m.listOne(root, q.Properties)
	}
	if _, err := m.dataset(root); err != nil {
		return nil, err
	}
	var out []zfs.Dataset
	for _, d := range m.below(root) {
		if q.Alone && d.name != root || q.Depth >= 0 && strings.Count(d.name, "/")-strings.Count(root, "/") > q.Depth {
			continue
		}
		out = append(out, zfs.Dataset{
			Name: d.name, Kind: d.kind, GUID: d.guid, CreateTXG: d.txg, Created: d.created, Properties: m.properties(d, q.Properties),
		})
		if q.Alone {
			break
		}
		for _, s := range d.snapshots {
			out = append(out, m.listedSnapshot(s, q.Properties))
		}
		for _, b := range d.bookmarks {
			out = append(out, listedBookmark(d, b))
		}
	}
	return out, nil
}

// listOne lists a snapshot or bookmark by its name.
func (m *Model) listOne(name string, properties []string) ([]zfs.Dataset, error) {
	if of, short, ok := strings.Cut(name, "#"); ok {
		d, err := m.dataset(of)
		if err != nil {
			return nil, err
		}
		if b := d.bookmark(short); b != nil {
			return []zfs.Dataset{listedBookmark(d, b)}, nil
		}
		return nil, fmt.Errorf("open %s: %w", name, zfs.ErrNotExist)
	}
	s, err := m.snapshot(name)
	if err != nil {
		return nil, err
	}
	return []zfs.Dataset{m.listedSnapshot(s, properties)}, nil
}

func (m *Model) listedSnapshot(s *snapshot, properties []string) zfs.Dataset {
	found := map[string]zfs.Property{}
	for _, name := range properties {
		switch value, ok := s.user[name]; {
		case name == "userrefs":
			found[name] = zfs.Property{Value: strconv.Itoa(len(s.holds)), Source: zfs.SourceNone}
		case name == "guid":
			found[name] = zfs.Property{Value: s.guid.String(), Source: zfs.SourceNone}
		case name == "volsize" && s.of.kind == zfs.Volume:
			found[name] = zfs.Property{Value: strconv.FormatUint(s.size, 10), Source: zfs.SourceNone}
		case name == "referenced":
			found[name] = zfs.Property{Value: strconv.Itoa(size(s.contents)), Source: zfs.SourceNone}
		case ok && value.local != nil:
			found[name] = zfs.Property{Value: *value.local, Source: zfs.SourceLocal}
		case ok:
			found[name] = zfs.Property{Value: *value.received, Source: zfs.SourceReceived}
		case isUser(name):
			if p, ok := m.property(s.of, name); ok {
				if p.Source != zfs.SourceInherited {
					p.Source, p.From = zfs.SourceInherited, s.of.name
				}
				found[name] = p
			}
		}
	}
	return zfs.Dataset{Name: s.whole(), Kind: zfs.Snapshot, GUID: s.guid, CreateTXG: s.txg, Created: s.created, Properties: found}
}

func listedBookmark(d *dataset, b *bookmark) zfs.Dataset {
	return zfs.Dataset{
		Name: d.name + "#" + b.name, Kind: zfs.Bookmark, GUID: b.guid, CreateTXG: b.txg, Created: b.created, Properties: map[string]zfs.Property{},
	}
}

func (m *Model) properties(d *dataset, names []string) map[string]zfs.Property {
	found := map[string]zfs.Property{}
	for _, name := range names {
		if p, ok := m.property(d, name); ok {
			found[name] = p
		}
	}
	return found
}
