package dataset

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// model is what of zfs.System the domain uses, in memory: datasets with local properties, and a few rules of ZFS.
type model struct {
	zfs.System
	datasets map[string]*entry
	fail     map[string]error
	guid     zfs.GUID
}

type entry struct {
	kind  zfs.Kind
	guid  zfs.GUID
	local map[string]string
	// received properties count as not local.
	received map[string]string
}

func newModel(pools ...string) *model {
	m := &model{datasets: map[string]*entry{}, fail: map[string]error{}}
	for _, p := range pools {
		m.add(p, zfs.Filesystem)
	}
	return m
}

func (m *model) add(name string, kind zfs.Kind) *entry {
	m.guid++
	e := &entry{kind: kind, guid: m.guid, local: map[string]string{}, received: map[string]string{}}
	m.datasets[name] = e
	return e
}

// defaults of what has no value at all.
var defaults = map[string]string{
	"compression": "on", "atime": "on", "quota": "0", "refquota": "0", "reservation": "0", "refreservation": "0", "recordsize": "131072", "canmount": "on",
	"used": "1000", "available": "100000", "referenced": "500", "xattr": "on",
}

func (e *entry) inheritable(name string) bool {
	s, _ := zfs.FindSetting(e.kind, name)
	return zfs.IsUserProperty(name) || s.Inherited
}

func (m *model) property(name, property string) zfs.Property {
	e := m.datasets[name]
	if v, ok := e.local[property]; ok {
		return zfs.Property{Value: zfs.ShownValue(e.kind, property, v), Source: zfs.SourceLocal}
	}
	if v, ok := e.received[property]; ok {
		return zfs.Property{Value: v, Source: zfs.SourceReceived}
	}
	for at := parentOf(name); at != "" && e.inheritable(property); at = parentOf(at) {
		if v, ok := m.datasets[at].local[property]; ok {
			return zfs.Property{Value: zfs.ShownValue(e.kind, property, v), Source: zfs.SourceInherited, From: at}
		}
	}
	return zfs.Property{Value: defaults[property], Source: zfs.SourceDefault}
}

func (m *model) List(_ context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	root := q.Roots[0]
	if m.datasets[root] == nil {
		return nil, fmt.Errorf("zfs list %s: %w", root, zfs.ErrNotExist)
	}
	var out []zfs.Dataset
	for _, name := range slices.Sorted(maps.Keys(m.datasets)) {
		if name != root && !isBelow(name, root) {
			continue
		}
		d := zfs.Dataset{Name: name, Kind: m.datasets[name].kind, GUID: m.datasets[name].guid, Properties: map[string]zfs.Property{}}
		for _, p := range q.Properties {
			d.Properties[p] = m.property(name, p)
		}
		out = append(out, d)
	}
	return out, nil
}

func (m *model) Create(_ context.Context, name string, o zfs.CreateOptions) error {
	parent := m.datasets[parentOf(name)]
	switch {
	case m.fail[name] != nil:
		return fmt.Errorf("zfs create %s: %w", name, m.fail[name])
	case m.datasets[name] != nil:
		return fmt.Errorf("zfs create %s: %w", name, zfs.ErrExist)
	case parent == nil || parent.kind != zfs.Filesystem:
		return fmt.Errorf("zfs create %s: the parent: %w", name, zfs.ErrNotExist)
	}
	kind := zfs.Filesystem
	if o.SizeBytes > 0 {
		kind = zfs.Volume
	}
	e := m.add(name, kind)
	maps.Copy(e.local, o.Properties)
	if kind == zfs.Volume {
		block := uint64(16384)
		if b := e.local["volblocksize"]; b != "" {
			block, _ = strconv.ParseUint(b, 10, 64)
		}
		e.local["volblocksize"] = fmt.Sprint(block)
		e.local["volsize"] = fmt.Sprint((o.SizeBytes + block - 1) / block * block)
		if !o.Sparse {
			e.local["refreservation"] = e.local["volsize"]
		}
	}
	return m.room(name)
}

func (m *model) Set(_ context.Context, name string, properties map[string]string) error {
	if m.fail[name] != nil {
		return fmt.Errorf("zfs set %s: %w", name, m.fail[name])
	}
	e := m.datasets[name]
	before := maps.Clone(e.local)
	for k, v := range properties {
		old, _ := strconv.ParseUint(e.local[k], 10, 64)
		size, _ := strconv.ParseUint(v, 10, 64)
		block, _ := strconv.ParseUint(e.local["volblocksize"], 10, 64)
		if s, _ := zfs.FindSetting(e.kind, k); s.CreateOnly || k == "volsize" && (size < old || size%block != 0) {
			return fmt.Errorf("zfs set %s=%s %s: %w", k, v, name, zfs.ErrInvalid)
		}
		if v == "auto" {
			v = e.local["volsize"]
		}
		e.local[k] = v
	}
	if err := m.room(name); err != nil {
		e.local = before
		return err
	}
	return nil
}

// room refuses a reservation that does not fit into the quota of its parent.
func (m *model) room(name string) error {
	for at, e := range m.datasets {
		parent := m.datasets[parentOf(at)]
		if parent == nil {
			continue
		}
		if r, q := number("reservation", e.local["reservation"]), number("quota", parent.local["quota"]); r > q {
			return fmt.Errorf("zfs set %s: %s reserves %d of %d: %w", name, at, r, q, zfs.ErrNoSpace)
		}
	}
	return nil
}

func (m *model) Inherit(_ context.Context, name, property string) error {
	if !m.datasets[name].inheritable(property) {
		return fmt.Errorf("zfs inherit %s %s: %w", property, name, zfs.ErrInvalid)
	}
	delete(m.datasets[name].local, property)
	return nil
}

func (m *model) Destroy(context.Context, string) error { panic("the loop destroys something") }

// String prints all datasets with their local properties.
func (m *model) String() string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.datasets)) {
		e := m.datasets[name]
		fmt.Fprintf(&out, "%s (%s)", name, e.kind)
		for _, p := range slices.Sorted(maps.Keys(e.local)) {
			fmt.Fprintf(&out, " %s=%s", p, shown(p, e.local[p]))
		}
		fmt.Fprintln(&out)
	}
	return out.String()
}
