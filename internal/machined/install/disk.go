package install

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/signature"
)

// Disk is one of the machine's disks as it was found.
type Disk struct {
	// Name is the kernel's, such as vdb.
	Name string
	// Type is SSD, HDD or NVMe. The other texts are what the disk and its place say; empty where they say nothing.
	Type, Model, Serial, WWN, Bus, Path string
	SizeBytes                           int64
	// SectorBytes is the smallest that it can write.
	SectorBytes int
	ReadOnly    bool
	// Sequence is the kernel's number of the disk, which no other gets that comes to its name; 0 if it was not opened.
	Sequence uint64
	// System says that the node runs from it.
	System bool
	// Use is who uses it, empty if nobody does. Problem is why it cannot be looked at.
	Use, Problem string
	// Contents is what was found on it.
	Contents []signature.Found
	// Note is what an earlier installation left on it; nil if there was none.
	Note *Note
}

// Errors of disks.
var (
	// ErrDisk is a disk that cannot be chosen: none or several match, or the one that does cannot be taken.
	ErrDisk = errors.New("no disk for an installation")
	// ErrData is a disk that holds data, which the request does not allow to destroy.
	ErrData = errors.New("the disk holds data")
	// ErrEncryption is an encrypted disk that is asked for, and that the installed node could not open.
	ErrEncryption = errors.New("the disk cannot be encrypted, as the configuration has it (disk.encryption.mode)")
)

// String tells the disk from others, for a person.
func (d Disk) String() string { return d.identity().String() }

// Choose returns the one disk that a selector means. It is never the one that the node runs from. The error is ErrRequest or ErrDisk, and says of each
// disk why it was or was not meant.
func Choose(disks []Disk, s Selector) (Disk, error) {
	if err := s.Check(); err != nil {
		return Disk{}, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	var matching []Disk
	var lines []string
	for _, d := range disks {
		why := s.Mismatches(d.identity())
		if d.System {
			why = append([]string{"the node runs from it"}, why...)
		}
		if len(why) == 0 {
			matching = append(matching, d)
			why = []string{"it matches"}
		}
		lines = append(lines, d.String()+": "+strings.Join(why, "; "))
	}
	if len(matching) == 1 {
		return matching[0], nil
	}
	count := "no disk matches"
	if len(matching) > 1 {
		count = fmt.Sprintf("%d disks match, exactly one has to", len(matching))
	}
	if len(disks) == 0 {
		lines = []string{"the machine has no disk that is known"}
	}
	return Disk{}, fmt.Errorf("%w: %s %s\n  %s", ErrDisk, count, s, strings.Join(lines, "\n  "))
}

// names are those by which a disk's data can be given up.
func (d Disk) names() []string { return d.identity().Names() }

// usable says why nothing can be put onto a disk, whatever it holds.
func (d Disk) usable() error {
	switch {
	case d.System:
		return fmt.Errorf("%w: the node runs from %s", ErrDisk, d)
	case d.Problem != "":
		return fmt.Errorf("%w: %s cannot be looked at: %s", ErrDisk, d, d.Problem)
	case d.ReadOnly:
		return fmt.Errorf("%w: %s can only be read", ErrDisk, d)
	case d.Use != "":
		return fmt.Errorf("%w: %s is in use: %s", ErrDisk, d, d.Use)
	case d.SectorBytes != sectorBytes:
		return fmt.Errorf("%w: %s has sectors of %d bytes, the boot partition can be made with %d only", ErrDisk, d, d.SectorBytes, sectorBytes)
	}
	return nil
}

// giveUp says whether the request allows to destroy what is on the disk. The name is checked also where nothing is: it may be meant for another.
func (d Disk) giveUp(wipe string) error {
	if wipe != "" {
		for _, n := range d.names() {
			if strings.EqualFold(n, wipe) {
				return nil
			}
		}
		return fmt.Errorf("%w: wipe is for a disk named %q, and %s is chosen, whose names are: %s", ErrRequest, wipe, d, orNone(d.names()))
	}
	if len(d.Contents) == 0 {
		return nil
	}
	can := "wipe it by its serial number or WWN: " + orNone(d.names())
	if d.Note != nil && d.Note.Step != Complete {
		can = "go on with the installation that was begun on it (version " + d.Note.Version + ") and " + can
	}
	if len(d.names()) == 0 {
		can = "it has neither a serial number nor a WWN by which it could be wiped"
	}
	return fmt.Errorf("%w: %s: %s; choose another, or %s", ErrData, d, signature.Names(d.Contents), can)
}

// goesOn says whether the disk is as the installation of its note has left it, so that the same request goes on behind it. One that holds something else as well
// is begun anew, if it may be wiped.
func (d Disk) goesOn(wipe string) bool {
	switch d.Note.Step {
	case Begun:
		return true // what the disk held before is still there
	case Complete:
		return wipe == ""
	}
	return len(d.Contents) == 0
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
