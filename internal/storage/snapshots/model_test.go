package snapshots

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// model is what of zfs.System the domain uses, in memory, with a clock that can be set. Other methods are not there, and panic.
type model struct {
	zfs.System
	now    time.Time
	uptime time.Duration
	txg    uint64
	// datasets are file systems; snapshots are by whole name.
	datasets  []string
	snapshots map[string]*made
	// marks are properties that are set on a dataset, which those below inherit.
	marks map[string]map[string]string
	// fail is the error of each change, by the name of the dataset that it begins with.
	fail map[string]error
	// busy snapshots are in use without a trace in the list.
	busy  map[string]bool
	lists int
	doubt bool
}

type made struct {
	txg    uint64
	at     time.Time
	tags   []string
	clones []string
	by     string
}

func newModel(datasets ...string) *model {
	return &model{
		now: time.Date(2026, 3, 1, 12, 7, 0, 0, time.UTC), txg: 100, datasets: datasets, snapshots: map[string]*made{},
		marks: map[string]map[string]string{}, fail: map[string]error{}, busy: map[string]bool{},
	}
}

func (m *model) clock() Clock {
	c := Clock{Now: m.now, Uptime: m.uptime}
	if m.doubt {
		c.Doubt = "no time server has answered"
	}
	return c
}

// pass lets time go by.
func (m *model) pass(d time.Duration) { m.now, m.uptime = m.now.Add(d), m.uptime+d }

func (m *model) List(_ context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	m.lists++
	root := q.Roots[0]
	if !slices.Contains(m.datasets, root) {
		return nil, fmt.Errorf("zfs list: %w", zfs.ErrNotExist)
	}
	var out []zfs.Dataset
	below := func(name string) bool { return name == root || q.Depth < 0 && isBelow(name, root) }
	for _, name := range m.datasets {
		if below(name) {
			out = append(out, zfs.Dataset{Name: name, Kind: zfs.Filesystem, Properties: m.marked(name)})
		}
	}
	for name, s := range m.snapshots {
		if dataset, _, _ := strings.Cut(name, "@"); !below(dataset) {
			continue
		}
		clones := "-"
		if len(s.clones) > 0 {
			clones = strings.Join(s.clones, ",")
		}
		out = append(out, zfs.Dataset{
			Name: name, Kind: zfs.Snapshot, GUID: zfs.GUID(s.txg*1000 + uint64(len(name))), CreateTXG: s.txg, Created: s.at,
			Properties: map[string]zfs.Property{"userrefs": {Value: strconv.Itoa(len(s.tags))}, "clones": {Value: clones}},
		})
	}
	return out, nil
}

// marked are the properties of a dataset.
func (m *model) marked(name string) map[string]zfs.Property {
	out := map[string]zfs.Property{}
	for of, marks := range m.marks {
		for property, value := range marks {
			switch {
			case of == name:
				out[property] = zfs.Property{Value: value, Source: zfs.SourceLocal}
			case isBelow(name, of) && out[property].Source == "":
				out[property] = zfs.Property{Value: value, Source: zfs.SourceInherited, From: of}
			}
		}
	}
	return out
}

func (m *model) Holds(_ context.Context, snapshots ...string) (map[string][]zfs.Hold, error) {
	out := map[string][]zfs.Hold{}
	for _, name := range snapshots {
		for _, tag := range m.snapshots[name].tags {
			out[name] = append(out[name], zfs.Hold{Tag: tag})
		}
	}
	return out, nil
}

func (m *model) Snapshot(ctx context.Context, names []string, properties map[string]string) error {
	dataset, _, _ := strings.Cut(names[0], "@")
	if err := errors.Join(ctx.Err(), m.fail[dataset]); err != nil {
		return err
	}
	for _, name := range names {
		if m.snapshots[name] != nil {
			return fmt.Errorf("zfs snapshot %s: %w", name, zfs.ErrExist)
		}
	}
	m.txg++
	for _, name := range names {
		m.snapshots[name] = &made{txg: m.txg, at: m.now.Truncate(time.Second), by: properties[PolicyProperty]}
	}
	return nil
}

func (m *model) DestroySnapshots(ctx context.Context, names []string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, name := range names {
		s := m.snapshots[name]
		dataset, _, _ := strings.Cut(name, "@")
		switch {
		case m.fail[dataset] != nil:
			return fmt.Errorf("zfs destroy %s: %w", name, m.fail[dataset])
		case s == nil:
		case len(s.tags) > 0:
			return fmt.Errorf("zfs destroy %s: %w", name, zfs.ErrHeld)
		case len(s.clones) > 0:
			return fmt.Errorf("zfs destroy %s: %w", name, zfs.ErrHasDependents)
		case m.busy[name]:
			return fmt.Errorf("zfs destroy %s: %w", name, zfs.ErrBusy)
		}
	}
	for _, name := range names {
		delete(m.snapshots, name)
	}
	m.txg++
	return nil
}

// String prints all snapshots by dataset and age.
func (m *model) String() string {
	names := slices.SortedFunc(maps.Keys(m.snapshots), func(a, b string) int {
		da, _, _ := strings.Cut(a, "@")
		db, _, _ := strings.Cut(b, "@")
		if da != db {
			return strings.Compare(da, db)
		}
		return int(m.snapshots[a].txg) - int(m.snapshots[b].txg)
	})
	return strings.Join(names, "\n")
}
