package storage

import (
	"fmt"
	"io/fs"
)

// Verb is the kind of an operation.
type Verb string

// The operations of the domain, in the order in which one volume goes through them.
const (
	Grow          Verb = "grow partition"
	Record        Verb = "record state of"
	Format        Verb = "make file system on"
	FinishFormat  Verb = "finish file system on"
	Check         Verb = "check file system on"
	Mount         Verb = "mount"
	Resize        Verb = "grow file system of"
	MakeDirectory Verb = "make directory"
)

// Op is one operation on one volume.
type Op struct {
	Verb   Verb
	Volume string
	// Partition is the volume's.
	Partition Partition
	// Clean is what Record keeps.
	Clean bool
	// Directory is that of MakeDirectory.
	Directory Directory
}

// String prints the operation for logs and tests.
func (o Op) String() string {
	switch o.Verb {
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

const (
	// minGrowBytes keeps rounding at the end of a disk from being taken for room.
	minGrowBytes = 1 << 20
	// minResizeBytes is about one block group of the file system, below which growing it gains nothing.
	minResizeBytes = 160 << 20
)

// Diff returns the operations from obs to spec. A volume that Status calls refused yields none. Volumes are mounted one after the other, each in a
// round of its own, so that others learn of the first while the next is still being made.
func (r *Reconciler) Diff(spec Spec, obs Observed) []Op {
	var ops []Op
	for _, v := range spec.Volumes {
		state := obs.Volumes[v.Name]
		ops = append(ops, volumeOps(v, state)...)
		if !state.Mounted && len(ops) > 0 {
			return ops
		}
	}
	return ops
}

func volumeOps(v Volume, s VolumeState) []Op {
	if refusal(v, s) != "" {
		return nil
	}
	var ops []Op
	add := func(verb Verb) { ops = append(ops, Op{Verb: verb, Volume: v.Name, Partition: s.Partition}) }
	if v.Grow && s.Partition.GrowableBytes >= minGrowBytes {
		add(Grow)
	}
	if s.Mounted {
		if v.Grow && len(ops) == 0 && s.Contents.FileSystemBytes+minResizeBytes <= s.Partition.SizeBytes {
			add(Resize)
		}
		return append(ops, directoryOps(v, s)...)
	}
	made := s.Contents.Signature == FileSystem
	if !s.Recorded {
		ops = append(ops, Op{Verb: Record, Volume: v.Name, Partition: s.Partition, Clean: !made || s.Contents.Clean})
	}
	switch {
	case !made:
		add(Format)
	case s.Contents.Formatting:
		add(FinishFormat)
	case !s.Contents.Clean:
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
	c := s.Contents
	switch {
	case !s.Found:
		return fmt.Sprintf("the system disk has no partition named %q", v.Name)
	case s.Covered:
		return fmt.Sprintf("another file system is mounted on %s", v.Target)
	case s.Mounted, c.Signature == FileSystem:
		return ""
	case c.Signature != "":
		return fmt.Sprintf("partition %s (%s) holds %s, expected %s or nothing; it is left alone", v.Name, s.Partition.Device, c.Signature, FileSystem)
	case !c.Blank && !c.Formatting:
		return fmt.Sprintf("partition %s (%s) holds data without a known file system, expected %s or blank; it is left alone",
			v.Name, s.Partition.Device, FileSystem)
	}
	return ""
}
