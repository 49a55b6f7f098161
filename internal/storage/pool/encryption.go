package pool

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// mapperDir is where the contents of the node's encrypted volumes appear, by names that stay, and nothing else that a pool of the node's lies on.
const mapperDir = "/dev/mapper/"

// sealed says that a leaf was opened in an encrypted disk.
func (v Vdev) sealed() bool { return strings.HasPrefix(v.Path, mapperDir) }

// encrypts says whether a disk that is given to the pool is encrypted first. A leaf in an encrypted disk tells by its path, also where that disk is gone or cannot be
// looked at: else a disk that takes the place of another in such a moment would hold the pool's data in the clear.
func (b *builder) encrypts() bool {
	switch {
	case b.spec.Encryption != EncryptAsFound:
		return b.spec.Encryption == EncryptAlways
	case b.pool.GUID == 0: // it is to be made
		return b.obs.Encrypts
	}
	return slices.ContainsFunc(b.pool.Leaves(), func(leaf Vdev) bool {
		d, found := b.obs.diskOf(leaf)
		return found && d.encrypted() || leaf.sealed()
	})
}

// keysLackPlace says that disks are to be encrypted and cannot be, and adds the condition, once.
func (b *builder) keysLackPlace() bool {
	if b.obs.Encrypts || !b.encrypts() {
		return false
	}
	if !slices.ContainsFunc(b.conditions, func(c Condition) bool { return c.Kind == NoPlaceForKeys }) {
		b.condition(NoPlaceForKeys, fmt.Sprintf("disks of pool %s are to be encrypted, and this node's own volumes are not: their keys would lie in the clear", b.spec.Name),
			"Declare the pool with encryption: none, or make the node with encryption of its own disk.")
	}
	return true
}

// encryption says which disks are not as they are declared. ZFS does not change them: others have to take their place.
func (b *builder) encryption() {
	if b.spec.Encryption == EncryptAsFound {
		return
	}
	var wrong []string
	for _, leaf := range b.pool.Leaves() {
		if d, found := b.obs.diskOf(leaf); found && d.Problem == "" && d.encrypted() != b.encrypts() {
			wrong = append(wrong, d.String())
		}
	}
	if len(wrong) == 0 {
		return
	}
	are := "encrypted, and declared not to be"
	if b.encrypts() {
		are = "not encrypted, and declared to be"
	}
	b.condition(LayoutDiffers, fmt.Sprintf("disks of pool %s are %s: %s", b.pool.Name, are, strings.Join(wrong, " and ")),
		"Declare other disks in their place, one after the other; or declare the encryption as it is.")
}

// plain are the disks of a pool that is not imported which are not encrypted, and declared to be: what a person did not put there would be in the place of what is encrypted.
func (b *builder) plain(guid zfs.GUID) []string {
	var out []string
	for _, d := range b.obs.Disks {
		if b.spec.Encryption == EncryptAlways && d.plain() && d.Label.PoolGUID == guid && !d.Label.Former {
			out = append(out, d.String())
		}
	}
	return out
}

// shut are encrypted disks that were not opened, each with the reason, for a person; empty if there is none.
func (o Observed) shut() string {
	var out []string
	for _, d := range o.Disks {
		if why := d.shut(); why != "" {
			out = append(out, fmt.Sprintf("%s: %s", d, why))
		}
	}
	return strings.Join(out, "; ")
}

// shut says why what is in the encrypted volume on a disk cannot be seen; empty if it can, or there is none.
func (d Disk) shut() string {
	switch c := d.Container; {
	case c == nil || c.Begun || c.Open:
		return ""
	case c.Problem != "":
		return c.Problem
	case !c.Keyed:
		return NoKey
	}
	return "it is not open yet"
}

// NoKey says of an encrypted disk that it can only be opened by a person.
const NoKey = "this node has no key of it; the recovery key of the node that has made it opens it (nodectl disk recover)"

// openAnew opens encrypted disks that were pulled and are here again, of a pool whose errors a person has to clear then. What ZFS does not let go of stays as it is.
func (b *builder) openAnew() {
	for _, leaf := range b.pool.Leaves() {
		if d, found := b.obs.diskOf(leaf); found && d.stale() && d.Container.Keyed {
			b.op(Op{Verb: ReopenDisk, Vdev: leaf.GUID.String(), VdevGUID: leaf.GUID, Path: leaf.Path, Disk: &d})
		}
	}
}

// enrol gives the recovery key to encrypted disks that do not have it, or have the one before.
func (b *builder) enrol() {
	done := map[string]bool{} // a spare that stands in is there twice
	for _, leaf := range b.pool.Leaves() {
		d, found := b.obs.diskOf(leaf)
		if found && d.encrypted() && d.Container.Open && d.Container.Keyed && !d.Container.Recoverable && !done[d.Key()] {
			done[d.Key()] = true
			b.op(Op{Verb: EnrolDisk, Disk: &d})
		}
	}
}

// erase goes on with encrypted disks of a pool that was destroyed, where the power failed behind that: their labels say so.
func (b *builder) erase(guid zfs.GUID) {
	for _, d := range b.obs.Disks {
		if d.encrypted() && d.Container.Open && d.Label != nil && d.Label.PoolGUID == guid && d.Label.State == LabelDestroyed {
			b.op(Op{Verb: EraseDisk, GUID: guid, Disk: &d})
		}
	}
}
