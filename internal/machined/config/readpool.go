package config

import (
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of Pool.Ashift: ASHIFT_MIN and ASHIFT_MAX of include/sys/vdev_impl.h.
const minAshift, maxAshift = 9, 16

// encryptedAshift is that of the sectors of an encrypted disk (package storage/luks).
const encryptedAshift = 12

var diskSizeForm = regexp.MustCompile(`^(?:>=|<=) ?[0-9]{1,9}(?:\.[0-9]{1,3})? ?(?:[kKMGT]i?)?B$`)

// compatibilities are the sets of features that zpool can read on a node, the default first: those of which the image has the file (dataFiles of images/internal/build),
// and off, which is all features and has none (zpool_load_compat in lib/libzfs/libzfs_pool.c of OpenZFS 2.3.9). Another cannot be set.
func compatibilities() []string { return []string{defaultCompatibility, "off"} }

func failmodes() []string { return []string{"wait", "continue", "panic"} }

func isGUID(s string) bool {
	n, err := strconv.ParseUint(s, 10, 64)
	return err == nil && n != 0 && s == strconv.FormatUint(n, 10)
}

func (o *object) pool() Pool {
	p := Pool{
		Name:     o.requiredText("name", poolRules+"; none of those that zpool has other uses for, such as mirror, log or c0", isPoolName),
		Presence: choice(o, "presence", PoolImported, PoolExported, PoolDestroyed),
		Data:     o.groups("data"), Special: o.groups("special"), Dedup: o.groups("dedup"), Log: o.groups("log"),
		Cache: o.disks("cache"), Spares: o.disks("spares"),
		Ashift: o.count("ashift", minAshift, maxAshift), Autoexpand: o.boolean("autoexpand"), Autotrim: o.booleanOr("autotrim", defaultAutotrim),
		Compatibility: choice(o, "compatibility", compatibilities()...),
		Failmode:      choice(o, "failmode", failmodes()...), Multihost: o.boolean("multihost"),
		ReadOnly: o.boolean("readOnly"), Rewind: o.boolean("rewind"), Scrub: o.schedule("scrub"), Trim: o.schedule("trim"),
		Encryption: choice(o, "encryption", PoolEncryptionAuto, PoolEncryptionLUKS2, PoolEncryptionNone),
	}
	if p.Encryption == PoolEncryptionLUKS2 && p.Ashift != 0 && p.Ashift < encryptedAshift {
		o.fail("ashift", "got %d, expected %d or more with encryption, whose sectors have %d bytes", p.Ashift, encryptedAshift, 1<<encryptedAshift)
	}
	if p.Name == SystemPool {
		o.fail("name", "%s is the system's own pool, expected another name; what is declared may lie below %s", SystemPool, SystemVolumes)
	}
	o.text("guid", "the pool's number, as zpool shows it", func(s string) bool {
		if isGUID(s) {
			p.GUID, _ = strconv.ParseUint(s, 10, 64)
		}
		return isGUID(s)
	})
	if len(p.Data) == 0 && len(p.Special)+len(p.Dedup)+len(p.Log)+len(p.Cache)+len(p.Spares) > 0 {
		o.fail("data", "missing, expected at least one group of disks that hold the data, since others are given")
	}
	return p
}

// minDisks is how many disks a group has at least: one more than may fail.
func minDisks(l Layout) int {
	switch l {
	case LayoutMirror, LayoutRAIDZ1:
		return 2
	case LayoutRAIDZ2:
		return 3
	case LayoutRAIDZ3:
		return 4
	}
	return 1
}

func (o *object) groups(name string) []DiskGroup {
	var out []DiskGroup
	o.list(name, "a mapping with layout and disks", func(node *yaml.Node, path string) {
		g := o.d.object(node, path)
		if g == nil {
			return
		}
		group := DiskGroup{Layout: choice(g, "layout", LayoutSingle, LayoutMirror, LayoutRAIDZ1, LayoutRAIDZ2, LayoutRAIDZ3)}
		if g.require("disks", "a list of the disks, each a mapping such as {serial: S1}") != nil {
			group.Disks = g.disks("disks")
			if n := minDisks(group.Layout); len(group.Disks) < n && g.values["disks"].Kind == yaml.SequenceNode {
				g.fail("disks", "got %d disks, expected at least %d for the layout %s", len(group.Disks), n, group.Layout)
			}
		}
		if name == "log" && strings.HasPrefix(string(group.Layout), "raidz") {
			g.fail("layout", "got %q, expected single or mirror for a log", group.Layout)
		}
		out = append(out, group)
		g.done()
	})
	return out
}

func (o *object) disks(name string) []DiskSelector {
	var out []DiskSelector
	o.list(name, "a mapping such as {serial: S1}", func(node *yaml.Node, path string) {
		d := o.d.object(node, path)
		if d == nil {
			return
		}
		out = append(out, d.selector())
		d.done()
	})
	return out
}

// selector reads what says which disk is meant.
func (o *object) selector() DiskSelector {
	isText := func(s string) bool { return s != "" && len(s) <= 128 && isUserValue(s) }
	s := DiskSelector{
		Sizes: texts(o, "sizes", "a condition such as >=100GB or <=2TiB", func(s string) (string, bool) { return s, diskSizeForm.MatchString(s) }),
		Type:  o.text("type", "ssd, hdd or nvme", isOneOf([]string{"ssd", "hdd", "nvme"})),
	}
	const expected = "a text that the disk tells, in which * stands for any text and ? for any character"
	s.Model, s.Serial = o.text("model", expected, isText), o.text("serial", expected, isText)
	s.WWN, s.Path = o.text("wwn", expected, isText), o.text("path", expected, isText)
	s.Bus = o.text("bus", "how the disk is attached, such as nvme, ata, scsi or virtio", isText)
	if len(o.values) == 0 {
		o.d.fail(o.line, o.path, "nothing says which disk is meant, expected at least one of serial, wwn, path, model, type, bus and sizes")
	}
	return s
}
