package storage

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Verb is the kind of an operation.
type Verb string

// The operations of the domain, in the order in which one volume goes through them.
const (
	Grow           Verb = "grow partition"
	Encrypt        Verb = "make encrypted volume on"
	Unlock         Verb = "unlock"
	Cap            Verb = "have the TPM give out no more keys"
	Record         Verb = "record state of"
	Format         Verb = "make file system on"
	FinishFormat   Verb = "finish file system on"
	Check          Verb = "check file system on"
	MakePool       Verb = "make pool on"
	Import         Verb = "import pool of"
	MakeDataset    Verb = "make dataset"
	SetDataset     Verb = "set properties of dataset"
	MakeMountPoint Verb = "make mount point"
	Mount          Verb = "mount"
	Extend         Verb = "grow encrypted volume"
	Expand         Verb = "grow pool of"
	MakeDirectory  Verb = "make directory"
	Enrol          Verb = "give a recovery key to"
)

// Op is one operation on one volume.
type Op struct {
	Verb   Verb
	Volume string
	// Partition is the volume's or, for operations on its file system, what that is made on.
	Partition Partition
	// Clean is what Record keeps.
	Clean bool
	// Directory is that of MakeDirectory.
	Directory Directory
	// GUID is that of the pool of Import.
	GUID uint64
	// Dataset is what operations on one of a pool are on, Source its name with the pool's, and Properties what is set.
	Dataset    Dataset
	Source     string
	Properties map[string]string
}

// String prints the operation for logs and tests.
func (o Op) String() string {
	switch o.Verb {
	case Cap:
		return string(o.Verb)
	case MakeDirectory:
		return fmt.Sprintf("%s %s", o.Verb, o.Directory.Path)
	case MakeMountPoint:
		return fmt.Sprintf("%s %s", o.Verb, o.Dataset.Target)
	case MakeDataset, SetDataset:
		return fmt.Sprintf("%s %s: %s", o.Verb, o.Source, printed(o.Properties))
	case Record:
		word := "unclean"
		if o.Clean {
			word = "clean"
		}
		return fmt.Sprintf("%s %s: %s", o.Verb, o.Volume, word)
	}
	if o.Verb == Mount && o.Source != "" {
		return fmt.Sprintf("%s %s", o.Verb, o.Source)
	}
	return fmt.Sprintf("%s %s (%s)", o.Verb, o.Volume, o.Partition.Device)
}

// printed are properties in the form of zfs set, ordered.
func printed(properties map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		out = append(out, name+"="+properties[name])
	}
	return strings.Join(out, " ")
}

// Lasts implements reconcile.Lasting: how long these take depends on the size of the disk and on what is on it.
func (o Op) Lasts() bool {
	return slices.Contains([]Verb{Format, Check, MakePool, Import}, o.Verb)
}

// minGrowBytes keeps rounding at the end of a disk from being taken for room.
const minGrowBytes = 1 << 20

// Diff returns the operations from obs to spec. A volume that Status calls refused yields none. Volumes are mounted one after the other, each in a
// round of its own, so that others learn of the first while the next is still being made; encrypted ones are opened in a round before that. State is given
// its recovery key before that, so that what is wrong with another volume does not keep it from having one; the others come last. Since an operation that fails
// ends the pass, state's comes last too once it has failed, as by an agent that did not open the volume, and first again when another has: neither keeps the
// other from being tried. Behind them is what is set on datasets that are mounted already, once their pool has its size.
func (r *Reconciler) Diff(spec Spec, obs Observed) []Op {
	if spec.Cap && !obs.Capped && !awaitsKey(spec, obs) {
		return []Op{{Verb: Cap, Volume: State}}
	}
	var ops, last, set []Op
	keys := obs.Volumes[State].Mounted
	for _, v := range spec.Volumes {
		state := obs.Volumes[v.Name]
		of := volumeOps(v, state, keys)
		ops = append(ops, of...)
		enrol := Op{Verb: Enrol, Volume: v.Name, Partition: state.Partition}
		switch {
		case !state.Mounted && len(ops) > 0:
			return ops
		case !keys || !state.Mounted || !state.encrypted() || state.Crypt.Enrolled:
		case v.Name == State && !obs.EnrolLast:
			ops = append(ops, enrol)
		default:
			last = append(last, enrol)
		}
		if state.Mounted && len(of) == 0 && refusal(v, state) == "" {
			set = append(set, settingOps(v, state)...)
		}
	}
	return slices.Concat(ops, last, set)
}

// awaitsKey says that the state volume is still to be made as one that the TPM opens, or to be opened by it. For one that something else opens the TPM has
// nothing to give out: it is capped before the volume is made, or opened.
func awaitsKey(spec Spec, obs Observed) bool {
	i := slices.IndexFunc(spec.Volumes, func(v Volume) bool { return v.Name == State })
	if i < 0 {
		return false
	}
	v, s := spec.Volumes[i], obs.Volumes[State]
	switch {
	case refusal(v, s) != "" || s.Mounted:
		return false
	case s.encrypted():
		return !s.open() && s.Crypt.By != KMS && s.Crypt.By != Passphrase
	}
	return s.Contents.Signature != v.signature() && (v.Encryption.Mode == TPM || v.Encryption.Mode == Undecided)
}

// volumeOps returns the operations on one volume. Keys says that the state volume is mounted, on which the keys of the others are.
func volumeOps(v Volume, s VolumeState, keys bool) []Op {
	if refusal(v, s) != "" {
		return nil
	}
	var ops []Op
	add := func(verb Verb, p Partition) { ops = append(ops, Op{Verb: verb, Volume: v.Name, Partition: p}) }
	_, contents := s.holder()
	fresh := !s.encrypted() && contents.Signature != v.signature()
	if fresh && (v.Encryption.Mode == Undecided || v.Encryption.Held) {
		return nil
	}
	if v.Grow && s.Partition.GrowableBytes >= minGrowBytes {
		add(Grow, s.Partition)
	}
	switch {
	case s.Mounted:
		return append(ops, mountedOps(v, s, len(ops) == 0)...)
	case v.Name != State && !keys && (s.encrypted() || fresh && v.Encryption.Mode.Encrypts()):
		return nil
	case fresh && v.Encryption.Mode.Encrypts():
		add(Encrypt, s.Partition)
	case s.encrypted() && !s.open():
		add(Unlock, s.Partition)
	case v.Pool != nil:
		return append(ops, poolOps(v, s)...)
	default:
		return append(ops, fileSystemOps(v, s)...)
	}
	return ops
}

// mountedOps bring a mounted volume to its size and contents. Settled says that its partition is not being grown just now.
func mountedOps(v Volume, s VolumeState, settled bool) []Op {
	var ops []Op
	holder, _ := s.holder()
	grown := s.encrypted() && v.Grow && holder.SizeBytes+s.Crypt.HeaderBytes+minGrowBytes <= s.Partition.SizeBytes
	switch {
	case !settled:
	case grown:
		ops = append(ops, Op{Verb: Extend, Volume: v.Name, Partition: holder})
	case v.Grow && s.Pool.ExpandableBytes >= minGrowBytes:
		ops = append(ops, Op{Verb: Expand, Volume: v.Name, Partition: holder})
	}
	return append(ops, directoryOps(v, s)...)
}

// settingOps bring what is set on the datasets of a mounted volume to what it should be.
func settingOps(v Volume, s VolumeState) []Op {
	if v.Pool == nil {
		return nil
	}
	var ops []Op
	for _, d := range v.Pool.Datasets {
		ops = append(ops, propertyOps(v, s, d)...)
	}
	return ops
}

// fileSystemOps take a volume that is not mounted, and is open if it is encrypted, to being so.
func fileSystemOps(v Volume, s VolumeState) []Op {
	var ops []Op
	holder, contents := s.holder()
	add := func(verb Verb) { ops = append(ops, Op{Verb: verb, Volume: v.Name, Partition: holder}) }
	made := contents.Signature == FileSystem
	if !s.Recorded {
		ops = append(ops, Op{Verb: Record, Volume: v.Name, Partition: holder, Clean: !made || contents.Clean})
	}
	switch {
	case !made:
		add(Format)
	case contents.Formatting:
		add(FinishFormat)
	case !contents.Clean:
		add(Check)
	}
	add(Mount)
	return ops
}

func directoryOps(v Volume, s VolumeState) []Op {
	var ops []Op
	for _, d := range v.directories() {
		if mode, ok := s.Directories[d.Path]; !ok || mode != d.Mode.Perm() {
			ops = append(ops, Op{Verb: MakeDirectory, Volume: v.Name, Partition: s.Partition, Directory: Directory{d.Path, d.Mode & fs.ModePerm}})
		}
	}
	return ops
}

// refusal says why nothing is done for a volume; empty if there is no such reason.
func refusal(v Volume, s VolumeState) string {
	holder, c := s.holder()
	where := fmt.Sprintf("partition %s (%s)", v.Name, s.Partition.Device)
	switch {
	case !s.Found:
		return fmt.Sprintf("the system disk has no partition named %q", v.Name)
	case s.Covered:
		return fmt.Sprintf("another file system is mounted on %s", strings.Join(v.targets(), " or "))
	case s.Problem != "":
		return s.Problem
	case c.Signature == PoolMember && v.Pool != nil:
		return poolRefusal(v, s, where)
	case s.Mounted, c.Signature == v.signature():
		return ""
	case s.encrypted() && !s.open() && s.Crypt.Refused != "":
		return fmt.Sprintf("%s is encrypted and does not open: %s", where, s.Crypt.Refused)
	case s.encrypted() && !s.open():
		return ""
	case s.encrypted():
		where = fmt.Sprintf("encrypted volume %s (%s)", v.Name, holder.Device)
	case c.Signature == Encrypted: // of an Encrypt that was interrupted
		return ""
	}
	switch {
	case c.Signature != "":
		return fmt.Sprintf("%s holds %s, expected %s or nothing; it is left alone", where, c.Signature, v.signature())
	case !c.Blank && !c.Formatting:
		return fmt.Sprintf("%s holds data without a known file system, expected %s or blank; it is left alone", where, v.signature())
	}
	return ""
}
