package pool

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Diff returns the operations from obs to spec that may be carried out: those that destroy something only with a confirmation. [Plan] has the others too.
func (r *Reconciler) Diff(spec Spec, obs Observed) []Op {
	ops, _ := Plan(spec, obs)
	return slices.DeleteFunc(ops, func(o Op) bool { return !spec.allowed(o) })
}

// Plan returns all operations from obs to spec, those that need a confirmation too, and what a person has to resolve. It is pure.
func Plan(spec Spec, obs Observed) ([]Op, []Condition) {
	var ops []Op
	var conditions []Condition
	for _, p := range spec.Pools {
		b := &builder{spec: p, obs: obs}
		b.build()
		ops = append(ops, b.ops...)
		conditions = append(conditions, b.conditions...)
	}
	if own, there := obs.imported(spec.Own); there && own.State != Suspended && !own.ReadOnly {
		b := &builder{spec: PoolSpec{Name: own.Name, Scrub: monthly(own.GUID)}, obs: obs, pool: own}
		b.schedules()
		ops = append(ops, b.ops...)
	}
	return ops, conditions
}

// builder makes the plan of one pool.
type builder struct {
	spec       PoolSpec
	obs        Observed
	pool       Pool
	ops        []Op
	conditions []Condition
	// copying says that the pool copies data already, or will by an operation of this plan.
	copying bool
	// stray are devices that are kept out, and awry says that one of them is yet to be.
	stray map[zfs.GUID]bool
	awry  bool
}

// op adds an operation on the pool.
func (b *builder) op(o Op) {
	o.Pool = b.spec.Name
	if o.GUID == 0 {
		o.GUID = b.pool.GUID
	}
	b.ops = append(b.ops, o)
}

func (b *builder) condition(kind Kind, text, next string) {
	b.conditions = append(b.conditions, Condition{Kind: kind, Pool: b.spec.Name, Text: text, Next: next})
}

func (b *builder) build() {
	var there bool
	b.pool, there = b.obs.imported(b.spec.Name)
	if b.spec.Presence == Destroyed || b.spec.Presence == Exported {
		b.leave(there)
		return
	}
	if !there {
		b.bring()
		return
	}
	if want := b.spec.GUID; want != 0 && want != b.pool.GUID {
		b.condition(TwoOfOneName, fmt.Sprintf("pool %s is imported, and is %s; %s is declared", b.pool.Name, b.pool.GUID, want),
			"Export the one that is imported, or declare its GUID.")
		return
	}
	for _, i := range b.obs.Importable {
		if i.Name == b.pool.Name && !i.Destroyed {
			b.condition(TwoOfOneName, fmt.Sprintf("there is another pool %s (%s) on this machine's disks, which is left alone", i.Name, i.GUID),
				"Take its disks out, import it under another name, or destroy it by its GUID.")
		}
	}
	if b.obs.Remembered[b.pool.Name] != b.pool.GUID {
		b.op(Op{Verb: Remember})
	}
	b.bringUp()
}

// bringUp takes an imported pool to what is declared.
func (b *builder) bringUp() {
	switch {
	case b.pool.State == Suspended:
		b.condition(IOSuspended, fmt.Sprintf("pool %s has stopped all I/O, since its devices do not answer", b.pool.Name),
			fmt.Sprintf("Bring its devices back, then clear its errors; what waits is written then. %s", causes(b.pool)))
		b.openAnew()
		return
	case b.pool.ReadOnly:
		if !b.spec.ReadOnly {
			b.condition(ReadOnly, fmt.Sprintf("pool %s is imported read-only, and is declared to be written", b.pool.Name), "Export it; it is imported again to be written.")
		}
		return
	case b.spec.ReadOnly:
		b.condition(Writable, fmt.Sprintf("pool %s is imported for writing, and is declared to be read only", b.pool.Name),
			"Reboot the node, or export the pool (presence: exported) and have it imported again: it is read-only then. The node changes nothing of it until then; others may.")
		return
	}
	b.copying = b.pool.Scan.Resilvers() || b.pool.Expansion.running() || b.pool.Removal.running()
	b.strays()
	b.online()
	b.setProperties(func(name string) bool { return name == "ashift" }) // which counts when something is made
	if len(b.spec.Vdevs) > 0 {
		b.layout()
	}
	b.encryption()
	b.grow()
	b.schedules()
	b.enrol()
	// One that cannot be set keeps back what comes after it, and nothing that restores redundancy may be that.
	b.setProperties(func(name string) bool { return name != "ashift" })
}

// leave takes a pool away that is not to be there, and no other of its name.
func (b *builder) leave(there bool) {
	switch want := b.spec.GUID; {
	case there && want != 0 && want != b.pool.GUID:
		b.condition(TwoOfOneName, fmt.Sprintf("pool %s is imported, and is %s; %s is declared", b.pool.Name, b.pool.GUID, want),
			"The one that is imported is left alone. Take the declaration out, or declare its GUID.")
	case there && b.spec.Presence == Exported:
		b.op(Op{Verb: ExportPool})
	case b.spec.Presence == Exported:
		for _, i := range b.obs.candidates(b.spec) {
			b.parted(i, true)
		}
	case there:
		b.op(Op{Verb: DestroyPool, Needs: "all that is in it is lost", Amount: sizeWords(b.pool)})
	case b.spec.Presence == Destroyed && len(b.obs.candidates(b.spec)) > 0:
		// It was to be destroyed before a reboot, and nobody has said so: only a pool that is imported can be.
		b.spec.ReadOnly = false
		b.bring()
	case b.spec.Presence == Destroyed:
		if known := b.obs.Remembered[b.spec.Name]; known != 0 && (want == 0 || want == known) {
			b.erase(known)
			b.op(Op{Verb: Remember, Value: "forget"})
		}
	}
}

func sizeWords(p Pool) string {
	return fmt.Sprintf("%d MiB on %d devices", p.AllocatedBytes>>20, len(p.Leaves()))
}

// setProperties sets what differs of some properties. One that only counts when something is made is set too: it is for what is added later.
func (b *builder) setProperties(of func(name string) bool) {
	want := b.spec.properties()
	names := make([]string, 0, len(want))
	for name := range want {
		if of(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if got, known := b.pool.Properties[name]; known && !sameValue(got.Value, want[name]) {
			b.op(Op{Verb: SetProperty, Property: name, Value: want[name]})
		}
	}
}

// sameValue compares a value that zpool tells with one that it is given. What is empty is told as "-".
func sameValue(got, want string) bool {
	return got == want || got == "-" && want == "" || strings.EqualFold(got, want)
}

// online brings back devices whose disk is here again, under whatever name. What a person took offline stays so.
func (b *builder) online() {
	for _, leaf := range b.pool.Leaves() {
		if leaf.State == Offline || leaf.Class == Spare || leaf.Class == Cache || b.stray[leaf.GUID] {
			continue
		}
		d, found := b.obs.diskOf(leaf)
		if !found || d.usable() != "" || !leaf.comesBack(d) {
			continue
		}
		if b.obs.Unopened[leaf.GUID] {
			why := leaf.Why()
			if why != "" {
				why = ": " + why
			}
			b.condition(DeviceFails, fmt.Sprintf("%s of pool %s is here, on %s, and stays out of use%s", leaf.Name, b.pool.Name, d, why),
				fmt.Sprintf("Declare another disk in its place. It is tried again when it was plugged in anew, every %d minutes, and at once by `nodectl pool online %s %s`.",
					int(unopenedLife.Minutes()), b.pool.Name, leaf.GUID))
			continue
		}
		b.op(Op{Verb: BringOnline, Vdev: leaf.GUID.String(), VdevGUID: leaf.GUID, Path: leaf.Path, Disk: &d})
	}
}

// comesBack says that a device is out of use, and would not be with its disk. Of a container whose disk is gone, the kernel does not say that it was pulled: it fails, and
// ZFS takes it for faulty, or has not noticed yet. One that ZFS has looked for under its old name, which another disk has now, is of no use to it as it is there.
func (v Vdev) comesBack(d Disk) bool {
	switch {
	case v.State == Removed, v.State == Unavailable:
		return true
	case v.State == Faulted && v.Reason == "CORRUPT_DATA":
		return d.Label != nil && d.Label.GUID == v.GUID && d.Label.Device != v.Path
	}
	return d.stale() && d.Container.Keyed
}

// grow uses devices that have become larger.
func (b *builder) grow() {
	for _, v := range b.pool.Vdevs {
		if v.Class == Spare || v.Class == Cache {
			continue
		}
		for _, leaf := range v.Leaves() {
			d, found := b.obs.diskOf(leaf)
			// Of a vdev that lacks a device, the size stays as it is (vdev_open in module/zfs/vdev.c, 2.3.9): it grows once it has all.
			if leaf.State == Online && (found && d.GrowableBytes >= minGrowBytes || leaf.ExpandableBytes > 0 || v.ExpandableBytes > 0 && v.State == Online) {
				o := Op{Verb: GrowDevice, Vdev: name(leaf), VdevGUID: leaf.GUID, Path: leaf.Path}
				if found {
					o.Disk = &d
				}
				b.op(o)
			}
		}
	}
}

// minGrowBytes is less than what ZFS makes anything of: a metaslab has 16 MiB at least (vdev_metaslab_set_size in module/zfs/vdev.c).
const minGrowBytes = 16 << 20

// schedules starts what is due, in a pool that does nothing else.
func (b *builder) schedules() {
	if b.copying || b.pool.Scan.Active() || b.awry {
		return
	}
	now := b.obs.Now
	if b.spec.Scrub != nil && b.spec.Scrub.Due(believed(b.pool.LastScrub(), now), now) {
		b.op(Op{Verb: StartScrub})
		return
	}
	last, running, able := b.pool.lastTrim()
	if b.spec.Trim != nil && able && !running && b.spec.Trim.Due(believed(last, now), now) {
		b.op(Op{Verb: StartTrim})
	}
}
