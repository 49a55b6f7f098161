package dataset

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/size"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Spec is the whole desired state.
type Spec struct {
	// Roots are the datasets, mostly pools, below which everything is looked at. Each declared one lies below a root or is one.
	Roots []string
	// ReadOnly are those of Roots whose pools are declared to be read only: what lies in them is mounted, and not changed.
	ReadOnly []string
	// Datasets have different names.
	Datasets []Dataset
	// Seal has mount points made, and closed to writers, before there is anything to mount on them: what they lie on is mounted.
	Seal bool
	// Waits says in words what is waited for before the roots are looked at; only mount points are made until it is empty.
	Waits string
}

// readOnly says that nothing is changed where a dataset lies.
func (s Spec) readOnly(name string) bool {
	return slices.ContainsFunc(s.ReadOnly, func(root string) bool { return name == root || isBelow(name, root) })
}

// Dataset is the desired state of one file system or volume.
type Dataset struct {
	Name string
	// Kind is zfs.Filesystem or zfs.Volume.
	Kind zfs.Kind
	// SizeBytes is that of a volume. Sparse makes one without a reservation; it is not changed afterwards.
	SizeBytes uint64
	Sparse    bool
	// Properties are by their names, user properties among them. Sizes are in bytes.
	Properties map[string]string
	// Target is where a file system is mounted, with Options of mount(8); empty for nowhere.
	Target  string
	Options []string
}

// Check says whether a property can be set on a dataset of a kind, and what is wrong with its value.
type Check func(kind zfs.Kind, name, value string) error

// Check holds all properties against a check.
func (s Spec) Check(check Check) error {
	var all []error
	for _, d := range s.Datasets {
		for _, name := range slices.Sorted(maps.Keys(d.Properties)) {
			if err := check(d.Kind, name, d.Properties[name]); err != nil {
				all = append(all, fmt.Errorf("dataset %s: %w", d.Name, err))
			}
		}
	}
	return errors.Join(all...)
}

// ManagedProperty is the user property, on a dataset itself, that lists the properties which the node has set on it, with commas between.
const ManagedProperty = "dev.cyvive:managed"

// limits say how much a dataset may have, guarantees how much it has.
func isLimit(name string) bool     { return name == "quota" || name == "refquota" }
func isGuarantee(name string) bool { return name == "reservation" || name == "refreservation" }

// fixed says that the dataset is made with a property and keeps it.
func (d Dataset) fixed(name string) bool {
	s, _ := zfs.FindSetting(d.Kind, name)
	return s.CreateOnly
}

// cleared is the value that stands for a property which is not set, for those that cannot be inherited.
func (d Dataset) cleared(name string) (string, bool) {
	if name == "refreservation" && d.Kind == zfs.Volume && !d.Sparse {
		return "auto", true
	}
	s, _ := zfs.FindSetting(d.Kind, name)
	return s.Cleared, s.Cleared != ""
}

// canonical is a value as it is listed once it is set.
func (d Dataset) canonical(name, value string) string { return zfs.ShownValue(d.Kind, name, value) }

// number reads a size; what is none of them counts as without end for limits, and as nothing for guarantees.
func number(name, value string) uint64 {
	n, _ := strconv.ParseUint(value, 10, 64)
	if n == 0 && isLimit(name) {
		return 1<<64 - 1
	}
	return n
}

// shown is a value for a person.
func shown(name, value string) string {
	if isLimit(name) || isGuarantee(name) || name == "volsize" || strings.HasSuffix(name, "size") {
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			return size.Text(n)
		}
	}
	return value
}

func parentOf(name string) string {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)]
}

func isBelow(name, parent string) bool {
	rest, ok := strings.CutPrefix(name, parent)
	return ok && strings.HasPrefix(rest, "/")
}
