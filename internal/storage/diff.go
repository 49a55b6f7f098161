package storage

import (
	"fmt"
	"io/fs"
	"slices"
)

// Verb is the kind of an operation.
type Verb string

// The operations of the domain, in the order in which one volume goes through them.
const (
	Grow          Verb = "grow partition"
	Encrypt       Verb = "make encrypted volume on"
	Unlock        Verb = "unlock"
	Cap           Verb = "have the TPM give out no more keys"
	Record        Verb = "record state of"
	Format        Verb = "make file system on"
	FinishFormat  Verb = "finish file system on"
	Check         Verb = "check file system on"
	Mount         Verb = "mount"
	Extend        Verb = "grow encrypted volume"
	Resize        Verb = "grow file system of"
	MakeDirectory Verb = "make directory"
	Enrol         Verb = "give a recovery key to"
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
}

// String prints the operation for logs and tests.
func (o Op) String() string {
	switch o.Verb {
	case Cap:
		return string(o.Verb)
	case MakeDirectory:
		return fmt.Sprintf("%s %s", o.Verb, o.Directory.Path)
	case Record:
		word := "unclean"
		if o.Clean {
			word = "clean"
		}
		return fmt.Sprintf("%s %s: %s", o.Verb, o.Volume, word)
	}
	return fmt.Sprintf("%s %s (%s)", o.Verb, o.Volume, o.Partition.Device)
}

// Lasts implements reconcile.Lasting: how long these take depends on the size of the disk and on what is on it.
func (o Op) Lasts() bool { return o.Verb == Format || o.Verb == Check || o.Verb == Resize }

const (
	// minGrowBytes keeps rounding at the end of a disk from being taken for room.
	minGrowBytes = 1 << 20
	// minResizeBytes is about one block group of the file system, below which growing it gains nothing.
	minResizeBytes = 160 << 20
)

// Diff returns the operations from obs to spec. A volume that Status calls refused yields none. Volumes are mounted one after the other, each in a
// round of its own, so that others learn of the first while the next is still being made; encrypted ones are opened in a round before that. State is given
// its recovery key before that, so that what is wrong with another volume does not keep it from having one; the others come last. Since an operation that fails
// ends the pass, state's comes last too once it has failed, as by an agent that did not open the volume, and first again when another has: neither keeps the
// other from being tried.
func (r *Reconciler) Diff(spec Spec, obs Observed) []Op {
	if spec.Cap && !obs.Capped && !awaitsKey(spec, obs) {
		return []Op{{Verb: Cap, Volume: State}}
	}
	var ops, last []Op
	keys := obs.Volumes[State].Mounted
	for _, v := range spec.Volumes {
		state := obs.Volumes[v.Name]
		ops = append(ops, volumeOps(v, state, keys)...)
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
	}
	return append(ops, last...)
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
	return s.Contents.Signature != FileSystem && (v.Encryption.Mode == TPM || v.Encryption.Mode == Undecided)
}

// volumeOps returns the operations on one volume. Keys says that the state volume is mounted, on which the keys of the others are.
func volumeOps(v Volume, s VolumeState, keys bool) []Op {
	if refusal(v, s) != "" {
		return nil
	}
	var ops []Op
	add := func(verb Verb, p Partition) { ops = append(ops, Op{Verb: verb, Volume: v.Name, Partition: p}) }
	_, contents := s.holder()
	fresh := !s.encrypted() && contents.Signature != FileSystem
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
	default:
		return append(ops, fileSystemOps(v, s)...)
	}
	return ops
}

// mountedOps bring a mounted volume to its size and contents. Settled says that its partition is not being grown just now.
func mountedOps(v Volume, s VolumeState, settled bool) []Op {
	var ops []Op
	holder, contents := s.holder()
	grown := s.encrypted() && v.Grow && holder.SizeBytes+s.Crypt.HeaderBytes+minGrowBytes <= s.Partition.SizeBytes
	switch {
	case !settled:
	case grown:
		ops = append(ops, Op{Verb: Extend, Volume: v.Name, Partition: holder})
	case v.Grow && contents.FileSystemBytes+minResizeBytes <= holder.SizeBytes:
		ops = append(ops, Op{Verb: Resize, Volume: v.Name, Partition: holder})
	}
	return append(ops, directoryOps(v, s)...)
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
	for _, d := range v.Directories {
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
		return fmt.Sprintf("another file system is mounted on %s", v.Target)
	case s.Problem != "":
		return s.Problem
	case s.Mounted, c.Signature == FileSystem:
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
		return fmt.Sprintf("%s holds %s, expected %s or nothing; it is left alone", where, c.Signature, FileSystem)
	case !c.Blank && !c.Formatting:
		return fmt.Sprintf("%s holds data without a known file system, expected %s or blank; it is left alone", where, FileSystem)
	}
	return ""
}
