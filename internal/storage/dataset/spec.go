package dataset

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Spec is the whole desired state.
type Spec struct {
	// Roots are the datasets, mostly pools, below which everything is looked at. Each declared one lies below a root or is one.
	Roots []string
	// Datasets have different names.
	Datasets []Dataset
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

// fixed are properties that a dataset is made with and keeps (zfsprops(7)).
func fixed(name string) bool {
	switch name {
	case "volblocksize", "casesensitivity", "normalization", "utf8only", "encryption":
		return true
	}
	return false
}

// limits say how much a dataset may have, guarantees how much it has.
func isLimit(name string) bool     { return name == "quota" || name == "refquota" }
func isGuarantee(name string) bool { return name == "reservation" || name == "refreservation" }

// cleared is the value that stands for a property which is not set, for those that cannot be inherited (cmd/zfs/zfs_main.c, zfs_do_inherit, and
// module/zcommon/zfs_prop.c, PROP_DEFAULT, of OpenZFS 2.3).
func (d Dataset) cleared(name string) (string, bool) {
	switch {
	case name == "refreservation" && d.Kind == zfs.Volume && !d.Sparse:
		return "auto", true
	case isLimit(name), isGuarantee(name):
		return "none", true
	case name == "filesystem_limit", name == "snapshot_limit":
		return "none", true
	case name == "canmount":
		return "on", true
	}
	return "", false
}

// canonical is a value as zfs get -p has it: of several names for one value it is the first in its table (module/zcommon/zfs_prop.c of OpenZFS 2.3).
func canonical(name, value string) string {
	if value == "none" && (isLimit(name) || isGuarantee(name)) {
		return "0"
	}
	switch name + "=" + value {
	case "xattr=sa":
		return "on"
	case "compression=gzip-6":
		return "gzip"
	case "compression=zstd-fast-1":
		return "zstd-fast"
	case "acltype=posixacl":
		return "posix"
	case "acltype=noacl", "acltype=disabled":
		return "off"
	case "aclinherit=secure":
		return "restricted"
	case "volmode=geom":
		return "full"
	}
	return value
}

// number reads a size; what is none counts as without end for limits, and as nothing for guarantees.
func number(name, value string) uint64 {
	n, _ := strconv.ParseUint(canonical(name, value), 10, 64)
	if n == 0 && isLimit(name) {
		return 1<<64 - 1
	}
	return n
}

// shown is a value for a person.
func shown(name, value string) string {
	if isLimit(name) || isGuarantee(name) || name == "volsize" || strings.HasSuffix(name, "size") {
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			return sizeText(n)
		}
	}
	return value
}

// sizeText is exact, in the largest unit that it is a multiple of.
func sizeText(n uint64) string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for ; n != 0 && n%1024 == 0 && i < len(units)-1; i++ {
		n /= 1024
	}
	return strconv.FormatUint(n, 10) + units[i]
}

func parentOf(name string) string {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)]
}

func isBelow(name, parent string) bool {
	rest, ok := strings.CutPrefix(name, parent)
	return ok && strings.HasPrefix(rest, "/")
}
