package pool

import (
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// bring imports or creates a pool that is not imported, or says why not.
func (b *builder) bring() {
	found := b.obs.candidates(b.spec)
	remembered := b.obs.Remembered[b.spec.Name]
	if b.spec.GUID == 0 && len(found) > 1 {
		var ids []string
		for _, i := range found {
			ids = append(ids, fmt.Sprintf("%s (%s)", i.GUID, i.State))
		}
		b.condition(TwoOfOneName, fmt.Sprintf("there are %d pools named %s: %s", len(found), b.spec.Name, strings.Join(ids, ", ")),
			"Declare the GUID of the one that is meant. Neither is touched until then.")
		return
	}
	for _, p := range b.obs.Pools {
		if b.spec.GUID != 0 && p.GUID == b.spec.GUID {
			b.condition(OtherName, fmt.Sprintf("pool %s is imported under the name %s", p.GUID, p.Name),
				fmt.Sprintf("Export it, and it is imported as %s.", b.spec.Name))
			return
		}
	}
	switch {
	case len(found) == 1 && b.spec.GUID == 0 && remembered != 0 && found[0].GUID != remembered:
		b.condition(OtherPool, fmt.Sprintf("the pool %s that is here is %s, and %s was here before", b.spec.Name, found[0].GUID, remembered),
			"Declare the GUID of the one that is meant.")
	case len(found) == 1:
		b.importOne(found[0])
	case b.spec.GUID != 0 || remembered != 0:
		guid := b.spec.GUID
		if guid == 0 {
			guid = remembered
		}
		text := fmt.Sprintf("pool %s (%s) is on none of this machine's disks", b.spec.Name, guid)
		if shut := b.obs.shut(); shut != "" {
			text += ", as far as these could be opened: " + shut
		}
		b.condition(Missing, text,
			"Plug its disks in. If it is gone for good, have it forgotten: declare it destroyed once, and then anew.")
	default:
		b.create()
	}
}

// importOne imports a pool, or says what is in the way.
func (b *builder) importOne(i Importable) {
	name := fmt.Sprintf("pool %s (%s)", i.Name, i.GUID)
	if copies := b.copies(i.GUID); len(copies) > 0 {
		b.condition(DiskCopied, fmt.Sprintf("several disks say that they are the same device of %s: %s", name, strings.Join(copies, "; ")),
			"One is a copy of the other, and may be older. Take out the one that is not to be used; the pool is imported then.")
		return
	}
	if b.parted(i, false) {
		return
	}
	o := b.importOp(i)
	if plain := b.plain(i.GUID); len(plain) > 0 {
		b.condition(LayoutDiffers, fmt.Sprintf("%s is on disks that are not encrypted, and is declared to be: %s", name, strings.Join(plain, " and ")),
			"If you did not make it so, somebody has put them in the place of yours. If you did, confirm the import by its name, or declare the encryption as it is.")
	}
	if b.obs.Late[i.GUID] > 0 && (i.Problem == Ready || i.Problem == OtherSystem || i.Problem == NewerForWriting) {
		b.condition(DevicesMissing, fmt.Sprintf("%s lacks devices that it can do without: %s", name, strings.Join(i.Missing, ", ")),
			fmt.Sprintf("They are waited for. If they have not come %d seconds after the last that has, it can be imported without them.", int(latest.Seconds())))
		return
	}
	switch i.Problem {
	case Ready, OtherSystem:
		if len(i.LostLogs) > 0 {
			b.condition(DevicesMissing, fmt.Sprintf("%s lacks its log: %s", name, strings.Join(i.LostLogs, ", ")),
				"Plug it in, and it is imported; or confirm the import by its name, without what only the log has.")
		}
		b.op(o)
	case Active:
		b.condition(InUseElsewhere, name+" is imported by another system. "+i.Words, "Export it there. It is not taken from a system that uses it.")
	case NoHostID:
		b.condition(InUseElsewhere, name+" may be used by several systems, and this one has no hostid to tell it from others", "Reboot the node, which gives itself one.")
	case Newer:
		b.condition(PoolNewer, fmt.Sprintf("%s has features that this system does not know: %s", name, strings.Join(i.Features, ", ")),
			"Boot a release of the OS that knows them. Nothing else opens it.")
	case NewerForWriting:
		if b.spec.ReadOnly {
			b.op(o)
			return
		}
		b.condition(PoolNewer, fmt.Sprintf("%s can only be read here, for features that this system does not know: %s", name, strings.Join(i.Features, ", ")),
			"Boot a release of the OS that knows them, or declare the pool read-only.")
	case Incomplete:
		b.condition(DevicesMissing, fmt.Sprintf("%s lacks devices that it cannot do without: %s", name, strings.Join(i.Missing, ", ")),
			"Plug them in; it is imported as soon as there are enough.")
	default:
		b.damaged(i, o, name)
	}
}

// copies are disks that say that they are the same device of a pool that is not imported. ZFS takes the one that is where the device was last (fix_paths in
// lib/libzutil/zutil_import.c, 2.3.9), be it years older: what was written to the other since would be missed, and the two go different ways from then on. A disk that is
// seen by two paths is no copy, nor is a device that is made of two disks.
func (b *builder) copies(guid zfs.GUID) []string {
	var out []string
	for n, d := range b.obs.Disks {
		for _, o := range b.obs.Disks[:n] {
			if b.isOf(d, guid) && b.isOf(o, guid) && d.Label.GUID == o.Label.GUID && d.Label.Device != o.Label.Device && d.Key() != o.Key() {
				out = append(out, fmt.Sprintf("%s and %s", o, d))
			}
		}
	}
	return out
}

// importOp is the import of a pool that is found, with what is lost by it.
func (b *builder) importOp(i Importable) Op {
	o := Op{Verb: ImportPool, GUID: i.GUID, ReadOnly: b.spec.ReadOnly}
	var needs []string
	o.Force = i.Problem == OtherSystem || i.Claimed || b.obs.Claimed[i.GUID] || b.obs.Rewinds[b.spec.Name].Claimed
	if o.Force {
		needs = append(needs, "another system used it last and did not export it: if that one still does, the pool is destroyed")
	}
	if o.WithoutLog = len(i.LostLogs) > 0; o.WithoutLog {
		needs = append(needs, "what was written last is lost, so far as only its log has it: "+strings.Join(i.LostLogs, ", "))
	}
	plain := b.plain(i.GUID)
	if len(plain) > 0 {
		needs = append(needs, "what is on its disks is not encrypted, and may be somebody else's: "+strings.Join(plain, " and "))
	}
	o.Sealed = b.spec.Encryption == EncryptAlways && len(plain) == 0
	o.Needs = strings.Join(needs, "; ")
	return o
}

// damaged offers the way back to an earlier state, if one was found.
func (b *builder) damaged(i Importable, o Op, name string) {
	rewind, tried := b.obs.Rewinds[b.spec.Name]
	switch {
	case !tried:
		b.condition(PoolDamaged, name+" cannot be read as it is. "+i.Words,
			"Look for missing or swapped disks first. To see whether there is an earlier state to return to, declare rewind; that changes nothing yet.")
	case !rewind.Possible:
		b.condition(PoolDamaged, name+" cannot be read, and there is no earlier state to return to. "+rewind.Words,
			"Look for missing or swapped disks. Otherwise restore it from a replica or backup.")
	default:
		b.condition(PoolDamaged, name+" cannot be read as it is, and can be in an earlier state. "+rewind.Words,
			"Confirm the import by its name; what was written since is lost then.")
		lost := "the latest changes are lost. " + rewind.Words
		if o.Needs != "" {
			lost = o.Needs + "; " + lost
		}
		o.Verb, o.Needs = RewindPool, lost
		b.op(o)
	}
}

// create makes a pool of disks that are all here. Those that hold something are named.
func (b *builder) create() {
	if len(b.spec.Vdevs) == 0 {
		text := fmt.Sprintf("pool %s is on none of this machine's disks, and no disks are declared to make it of", b.spec.Name)
		if shut := b.obs.shut(); shut != "" {
			text += "; these could not be opened: " + shut
		}
		b.condition(Missing, text, "Plug its disks in, or declare the disks that hold its data.")
		return
	}
	r := newResolver(b.obs.Disks)
	var groups []DiskGroup
	var all []Disk
	take := func(class Class, layout Layout, slots []slot) {
		g := DiskGroup{Class: class, Layout: layout}
		for _, s := range slots {
			switch owner, _, member := b.obs.member(s.disk); {
			case !s.found:
				b.condition(DiskMissing, s.why, "Plug the disk in, or correct its selector.")
			case s.disk.usable() != "":
				b.condition(DiskUnusable, s.disk.usable(), "Free the disk, or choose another.")
			case member:
				b.condition(DiskUnusable, fmt.Sprintf("%s is in pool %s", s.disk, owner), "Choose another.")
			}
			g.Disks = append(g.Disks, s.disk)
		}
		groups, all = append(groups, g), append(all, g.Disks...)
	}
	for n, v := range b.spec.vdevs() {
		take(v.Class, v.Layout, r.resolveAll(v.Disks, fmt.Sprintf("vdev %d of pool %s", n+1, b.spec.Name)))
	}
	for _, other := range []struct {
		class Class
		slots []slot
	}{{Cache, r.resolveAll(b.spec.Cache, "the cache of pool "+b.spec.Name)}, {Spare, r.resolveAll(b.spec.Spares, "the spares of pool "+b.spec.Name)}} {
		for _, s := range other.slots {
			take(other.class, Single, []slot{s})
		}
	}
	if b.keysLackPlace() || len(b.conditions) > 0 || len(groups) == 0 {
		return
	}
	o := Op{Verb: CreatePool, Groups: groups, Encrypt: b.encrypts()}
	if lost := loss(all); lost != "" {
		o.Needs = "what its disks hold is lost: " + lost
	}
	b.op(o)
	var locked []string
	for _, d := range all {
		if why := d.shut(); why != "" {
			locked = append(locked, fmt.Sprintf("%s: %s", d, why))
		}
	}
	if len(locked) > 0 {
		b.condition(DiskLocked, fmt.Sprintf("disks of which pool %s is to be made are encrypted, and what they hold cannot be seen: %s", b.spec.Name, strings.Join(locked, "; ")),
			"If it is the pool, open them (nodectl disk recover pools), and it is imported. If nobody needs it any more, confirm that it is made anew, by its name.")
	}
}
