package endpoint

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

var bothKinds = []zfs.Kind{zfs.Filesystem, zfs.Volume}

// closable are the properties by which datasets are closed, in the order in which they are given back, and what was noted of them.
var closable = []string{"readonly", "mountpoint", "canmount", replication.PropertyBefore}

// own is the value of a property that a dataset does not inherit; empty where it does.
func own(d zfs.Dataset, property string) string {
	if p := d.Properties[property]; p.Source == zfs.SourceLocal || p.Source == zfs.SourceReceived {
		return p.Value
	}
	return ""
}

// noteOf reads what was noted of a dataset, by property; an empty value is of one that was inherited. A note that cannot be read is none.
func noteOf(d zfs.Dataset) map[string]string {
	note := map[string]string{}
	values, err := url.ParseQuery(localOf(d, replication.PropertyBefore))
	if err != nil {
		return note
	}
	for property := range values {
		note[property] = values.Get(property)
	}
	return note
}

// noteText is how a note is kept: mount points may have what user properties must not.
func noteText(note map[string]string) string {
	values := url.Values{}
	for property, value := range note {
		values.Set(property, value)
	}
	return values.Encode()
}

// close makes a root read-only, and all below it that would not be by the root's being so: what has a value of its own, and all volumes. A volume that
// is in use follows what is set on itself, not what it inherits (module/zfs of OpenZFS 2.3.9: zfs_prop_set_special calls zvol_set_ro for the dataset
// that is set alone, and zvol_setup_zv reads the property when the device is opened first). What was there before is noted with it, in one transaction
// (dsl_props_set of zfs_set_prop_nvlist), once: what is on already may be so by a call that was cut. A replica is read-only as one, which is nothing to be noted.
func (l *Local) close(ctx context.Context, root string) error {
	found, err := l.system.List(ctx, zfs.Query{
		Roots: []string{root}, Kinds: bothKinds, Depth: -1, Properties: []string{"readonly", replication.PropertyBefore, replication.PropertyReplica},
	})
	if err != nil {
		return fmt.Errorf("fence %s: %w", root, err)
	}
	for _, d := range found {
		note, value := noteOf(d), own(d, "readonly")
		_, noted := note["readonly"]
		shut := noted || localOf(d, replication.PropertyReplica) != ""
		if value == "on" && shut || value == "" && d.Name != root && d.Kind != zfs.Volume {
			continue
		}
		note["readonly"] = value
		set := map[string]string{"readonly": "on", replication.PropertyBefore: noteText(note)}
		if err := l.shut(ctx, d.Name, set); err != nil {
			return fmt.Errorf("fence %s: %w", root, err)
		}
	}
	return nil
}

// shut sets the properties that close a dataset. Where a file is open for writing, zfs set ends with an error of its mount, and has set them all the same
// (zfs_mount_setattr, which zfs_prop_set_list_flags in lib/libzfs/libzfs_dataset.c of OpenZFS 2.3.9 calls after the ioctl); ZFS then refuses writes
// (readonly_changed_cb in module/os/linux/zfs/zfs_vfsops.c, zfs_write in module/zfs/zfs_vnops.c), so that what is left is closed, too.
func (l *Local) shut(ctx context.Context, name string, set map[string]string) error {
	err := l.system.Set(ctx, name, set)
	if err == nil {
		return nil
	}
	d, other := l.settings(ctx, name, slices.Sorted(maps.Keys(set))...)
	if other != nil {
		return err
	}
	for property, value := range set {
		if localOf(d, property) != value {
			return err
		}
	}
	return nil
}

// noteAdopted is the note of what is about to become a replica of a tree that was fenced, and empty for all else: receives set more than the fence did.
func (l *Local) noteAdopted(ctx context.Context, roots []string, f *replication.FileSystem) (string, error) {
	if f.Replica != "" || f.Marked {
		return "", nil
	}
	states, err := l.roots(ctx, roots)
	if err != nil {
		return "", err
	}
	fenced := func(s replication.RootState) bool {
		return s.Fenced && (f.Name == s.Name || strings.HasPrefix(f.Name, s.Name+"/"))
	}
	if !slices.ContainsFunc(states, fenced) {
		return "", nil
	}
	d, err := l.settings(ctx, f.Name, closable...)
	if err != nil {
		return "", err
	}
	note := noteOf(d)
	for property := range closed(f.Kind) {
		if _, noted := note[property]; !noted || property != "readonly" {
			note[property] = own(d, property)
		}
	}
	return noteText(note), nil
}

// received is what a replica gets when it is opened: what was noted of it, and otherwise what undoes what a receive has set, and nothing else. Canmount
// cannot be inherited (PROP_DEFAULT in module/zcommon/zfs_prop.c of OpenZFS 2.3.9), and gets what a file system has from the start.
func received(d zfs.Dataset) map[string]string {
	want := map[string]string{"readonly": "off"}
	if shut := closed(zfs.Filesystem); d.Kind == zfs.Filesystem {
		if localOf(d, "mountpoint") == shut["mountpoint"] {
			want["mountpoint"] = ""
		}
		if localOf(d, "canmount") == shut["canmount"] {
			want["canmount"] = "on"
		}
	}
	for property, value := range noteOf(d) {
		want[property] = value
	}
	return want
}

// reopen gives a dataset the values that it should have; an empty one is inherited. The mount point goes before canmount: zfs inherit has no -u, and
// mounts what canmount lets it at the inherited place (changelist_postfix in lib/libzfs/libzfs_changelist.c of OpenZFS 2.3.9).
func (l *Local) reopen(ctx context.Context, d zfs.Dataset, want map[string]string) error {
	set := map[string]string{}
	for _, property := range closable[:3] {
		value, ok := want[property]
		switch {
		case !ok || value == own(d, property):
		case value != "":
			set[property] = value
		case property == "canmount":
			set[property] = "on"
		default:
			if err := l.inherit(ctx, d, property); err != nil {
				return err
			}
		}
	}
	if len(set) == 0 {
		return nil
	}
	return l.system.Set(ctx, d.Name, set)
}

// inherit has a property be inherited. A volume that would inherit that it is read-only keeps it as its own: zfs inherit opens its device for writing
// whatever is inherited (zfs_ioc_inherit_prop in module/zfs/zfs_ioctl.c of OpenZFS 2.3.9 hands a 0 to zvol_set_ro).
func (l *Local) inherit(ctx context.Context, d zfs.Dataset, property string) error {
	if i := strings.LastIndexByte(d.Name, '/'); property == "readonly" && d.Kind == zfs.Volume && i > 0 {
		above, err := l.settings(ctx, d.Name[:i], property)
		if err != nil || above.Properties[property].Value == "on" {
			return err
		}
	}
	return l.system.Inherit(ctx, d.Name, property)
}

// settings reads properties of one file system or volume.
func (l *Local) settings(ctx context.Context, name string, properties ...string) (zfs.Dataset, error) {
	found, err := l.system.List(ctx, zfs.Query{Roots: []string{name}, Kinds: bothKinds, Properties: properties})
	if err != nil {
		return zfs.Dataset{}, err
	}
	for _, d := range found {
		if d.Name == name {
			return d, nil
		}
	}
	return zfs.Dataset{}, fmt.Errorf("%s %w: it is gone", name, replication.ErrChanged)
}
