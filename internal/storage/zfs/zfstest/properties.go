package zfstest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// native is a property that ZFS knows (module/zcommon/zfs_prop.c, zfs_prop_init).
type native struct {
	standard string
	inherits bool
	onceOnly bool
	// volumes says that file systems do not have it.
	volumes bool
}

// natives are the properties that can be set and that the model knows.
var natives = map[string]native{
	"mountpoint":     {inherits: true},
	"canmount":       {standard: "on"},
	"readonly":       {standard: "off", inherits: true},
	"compression":    {standard: "on", inherits: true},
	"recordsize":     {standard: "131072", inherits: true},
	"atime":          {standard: "on", inherits: true},
	"sync":           {standard: "standard", inherits: true},
	"logbias":        {standard: "latency", inherits: true},
	"copies":         {standard: "1", inherits: true},
	"xattr":          {standard: "sa", inherits: true},
	"acltype":        {standard: "off", inherits: true},
	"snapdir":        {standard: "hidden", inherits: true},
	"volmode":        {standard: "default", inherits: true},
	"volblocksize":   {standard: "16384", onceOnly: true, volumes: true},
	"quota":          {standard: "0"},
	"refquota":       {standard: "0"},
	"reservation":    {standard: "0"},
	"refreservation": {standard: "0"},
	"encryption":     {standard: "off", inherits: true, onceOnly: true},
	"keyformat":      {standard: "none", onceOnly: true},
	"keylocation":    {standard: "none"},
}

// computed are the properties that nobody sets.
var computed = []string{
	"type", "creation", "guid", "createtxg", "origin", "encryptionroot", "receive_resume_token", "written", "referenced", "available", "userrefs", "keystatus",
}

func isUser(property string) bool { return strings.Contains(property, ":") }

// checkSettable says whether a property may be set, at creation or later.
func checkSettable(property string, creating bool) error {
	n, known := natives[property]
	switch {
	case isUser(property) || property == "volsize" && !creating:
		return nil
	case slices.Contains(computed, property):
		return fmt.Errorf("set %s: %w", property, zfs.ErrReadOnly)
	case !known:
		return fmt.Errorf("set %s: %w: no such property", property, zfs.ErrInvalid)
	case n.onceOnly && !creating:
		return fmt.Errorf("set %s: %w once the dataset is there", property, zfs.ErrReadOnly)
	}
	return nil
}

// set sets a property; received says that a stream did.
func (d *dataset) set(property, value string, received bool) {
	next := maps.Clone(d.settings)
	if next == nil {
		next = map[string]setting{}
	}
	s := next[property]
	if received {
		s.received = &value
	} else {
		s.local = &value
	}
	next[property] = s
	d.settings = next
	if property == "readonly" {
		d.shut = value == "on"
	}
}

// resize sets the size of a volume (zvol_check_volsize in module/zfs/zvol.c).
func (d *dataset) resize(m *Model, value string) error {
	bytes, err := strconv.ParseUint(value, 10, 64)
	block, _ := m.property(d, "volblocksize")
	step, _ := strconv.ParseUint(block.Value, 10, 64)
	if err != nil || d.kind != zfs.Volume || bytes == 0 || bytes%max(step, 1) != 0 {
		return fmt.Errorf("set volsize %s on %s: %w", value, d.name, zfs.ErrInvalid)
	}
	d.size = bytes
	return nil
}

// unset has a property be inherited. A received value is masked by that, for as long as no stream brings another (zfs-inherit(8) without -S).
func (d *dataset) unset(property string) {
	next := maps.Clone(d.settings)
	delete(next, property)
	d.settings = next
	if property == "readonly" {
		d.shut = false // whatever is inherited: zfs_ioc_inherit_prop in module/zfs/zfs_ioctl.c hands a 0 to zfs_prop_set_special
	}
}

// property returns what zfs get says; ok is false where the dataset has no such property.
func (m *Model) property(d *dataset, name string) (zfs.Property, bool) {
	if value, is, has := m.computed(d, name); is {
		return zfs.Property{Value: value, Source: zfs.SourceNone}, has
	}
	if s, ok := d.settings[name]; ok {
		if s.local != nil {
			return zfs.Property{Value: *s.local, Source: zfs.SourceLocal}, true
		}
		return zfs.Property{Value: *s.received, Source: zfs.SourceReceived}, true
	}
	n, known := natives[name]
	if !known && !isUser(name) || n.volumes && d.kind != zfs.Volume {
		return zfs.Property{}, false
	}
	if n.inherits || isUser(name) {
		for above := parentOf(d.name); above != ""; above = parentOf(above) {
			s, ok := m.datasets[above].settings[name]
			if !ok {
				continue
			}
			value := s.received
			if s.local != nil {
				value = s.local
			}
			return zfs.Property{Value: below(name, *value, above, d.name), Source: zfs.SourceInherited, From: above}, true
		}
	}
	if name == "mountpoint" {
		return zfs.Property{Value: "/" + d.name, Source: zfs.SourceDefault}, true
	}
	return zfs.Property{Value: n.standard, Source: zfs.SourceDefault}, known
}

// below is an inherited value: of a mount point, with the rest of the name.
func below(property, value, above, name string) string {
	if property != "mountpoint" || value == "none" || value == "legacy" {
		return value
	}
	return strings.TrimSuffix(value, "/") + strings.TrimPrefix(name, above)
}

// computed returns a property that is not set; is says that it is such a one, has that the dataset has it.
func (m *Model) computed(d *dataset, name string) (value string, is, has bool) {
	switch name {
	case "type":
		return string(d.kind), true, true
	case "guid":
		return d.guid.String(), true, true
	case "createtxg":
		return strconv.FormatUint(d.txg, 10), true, true
	case "creation":
		return strconv.FormatInt(d.created.Unix(), 10), true, true
	case "encryption":
		return d.encryption, true, true
	case "encryptionroot":
		if d.root == nil {
			return "", true, false
		}
		return d.root.name, true, true
	case "keystatus":
		return "available", true, d.root != nil
	case "origin":
		if d.origin == nil {
			return "", true, false
		}
		return d.origin.whole(), true, true
	case "receive_resume_token":
		// Also of one that runs (get_receive_resume_token in module/zfs/dsl_dataset.c).
		if d.partial == nil || !d.partial.resumable {
			return "", true, false
		}
		return d.partial.token(), true, true
	case "written":
		return strconv.Itoa(d.written()), true, true
	case "referenced":
		return strconv.Itoa(size(d.contents)), true, true
	case "available":
		return strconv.FormatUint(m.available(), 10), true, true
	case "volsize":
		return strconv.FormatUint(d.size, 10), true, d.kind == zfs.Volume
	case "userrefs":
		return "", true, false
	}
	return "", false, false
}

// roomBytes is what a pool of the model has room for; nothing keeps more from being written.
const roomBytes = 1 << 40

// available is what no file takes. Quotas and reservations are not counted.
func (m *Model) available() uint64 {
	used := 0
	for _, d := range m.datasets {
		used += size(d.contents)
	}
	return uint64(max(roomBytes-used, 0))
}

const (
	// headerBytes is the block with the header of the intent log, in two copies of a sector each.
	headerBytes = 8 << 10
	// aboveBytes are the blocks above one that is changed, up to that: a dozen of those, in two copies.
	aboveBytes = 96 << 10
)

// written is how much was written since the latest snapshot, be it by OpenZFS itself.
func (d *dataset) written() int {
	s := d.latest()
	switch {
	case s == nil:
		return size(d.contents)
	case d.changed > s.txg:
		return max(size(d.contents)-size(s.contents), 0) + aboveBytes
	case d.own:
		return headerBytes
	}
	return 0
}

func size(records []record) int {
	n := 0
	for _, r := range records {
		n += len(r.Data)
	}
	return n
}
