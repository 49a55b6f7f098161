package zfs

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Setting is a native property that people may set: what the table of settings says about it.
type Setting struct {
	Name  string
	Kinds []Kind
	// CreateOnly says that it is chosen when the dataset is made, and never again.
	CreateOnly bool
	// Inherited says that children take it over.
	Inherited bool
	// Cleared is the value that stands for one that is set nowhere, of a property that is not inherited: zfs inherit refuses those (zfs_do_inherit in
	// cmd/zfs/zfs_main.c; PROP_DEFAULT in zfs_prop.c). It is empty where there is none. A volume that is not sparse has refreservation=auto, and not this.
	Cleared string
	// Words are the values that are no number and no path.
	Words []string
	// Numbers, Sizes and Path say which other values there are, and are nil and false for none. Sizes may have a suffix, such as 10G.
	Numbers, Sizes *Range
	// Path is an absolute path.
	Path bool
	// shown has the words that List returns in another form.
	shown map[string]string
}

// Range bounds numbers, both ends included.
type Range struct {
	Min, Max   uint64
	PowerOfTwo bool
}

// FindSetting returns what the table says about a property of datasets of that kind.
func FindSetting(kind Kind, name string) (Setting, bool) {
	for _, s := range settings {
		if s.Name == name && slices.Contains(s.Kinds, kind) {
			return s, true
		}
	}
	return Setting{}, false
}

// CheckProperty returns an error unless people may set a property, native or of their own, to that value on a dataset of that kind. With create the
// dataset is being made. What depends on other properties, or on the features of the pool, ZFS says. Errors are [ErrInvalid], and [ErrReadOnly] for
// what has to be chosen when the dataset is made.
func CheckProperty(kind Kind, name, value string, create bool) error {
	if IsUserProperty(name) {
		if err := CheckUserName(name); err != nil {
			return err
		}
		return CheckUserValue(name, value)
	}
	s, ok := FindSetting(kind, name)
	switch all := names(kind); {
	case !ok && len(all) == 0:
		return fmt.Errorf("property %.40q %w: a %s has those of your own only, with a colon in their names", name, ErrInvalid, kind)
	case !ok:
		return fmt.Errorf("property %.40q %w: expected one that a %s has and that may be set (%s), or a name of your own with a colon",
			name, ErrInvalid, kind, strings.Join(all, ", "))
	case s.CreateOnly && !create:
		return fmt.Errorf("property %s %w: it is chosen when the %s is made", name, ErrReadOnly, kind)
	}
	return s.Check(value)
}

// names are the settings of a kind.
func names(kind Kind) []string {
	var all []string
	for _, s := range settings {
		if slices.Contains(s.Kinds, kind) {
			all = append(all, s.Name)
		}
	}
	return all
}

// Check returns an error unless the property can have that value.
func (s Setting) Check(value string) error {
	_, err := s.parse(value)
	return err
}

// Shown is the form in which [System] returns a value once it is set: sizes in bytes, the first of words that mean the same, and 0 for no quota. A
// value that Check refuses is returned as it is, and so is refreservation=auto, for which ZFS computes a size.
func (s Setting) Shown(value string) string {
	shown, err := s.parse(value)
	if err != nil {
		return value
	}
	return shown
}

// ShownValue is [Setting.Shown] of a property by its name; what is not in the table is shown as it is.
func ShownValue(kind Kind, name, value string) string {
	if s, ok := FindSetting(kind, name); ok {
		return s.Shown(value)
	}
	return value
}

// parse returns the form of value that is shown.
func (s Setting) parse(value string) (string, error) {
	if slices.Contains(s.Words, value) {
		if other, ok := s.shown[value]; ok {
			return other, nil
		}
		return value, nil
	}
	switch {
	case s.Path && strings.HasPrefix(value, "/"):
		return value, checkMountpoint(value)
	case s.Sizes != nil && value != "" && value[0] >= '0' && value[0] <= '9':
		n, err := parseSize(value)
		if err != nil {
			return "", fmt.Errorf("value of %s: %w", s.Name, err)
		}
		return strconv.FormatUint(n, 10), s.Sizes.check(s.Name, value, n)
	case s.Numbers != nil:
		n, err := strconv.ParseUint(value, 10, 64)
		if err == nil {
			return strconv.FormatUint(n, 10), s.Numbers.check(s.Name, value, n)
		}
	}
	return "", fmt.Errorf("value %.40q of %s %w: expected %s", value, s.Name, ErrInvalid, s.Expected())
}

// Expected says which values the property has, for people.
func (s Setting) Expected() string {
	var what []string
	if len(s.Words) > 0 {
		what = append(what, strings.Join(s.Words, ", "))
	}
	switch {
	case s.Sizes != nil:
		what = append(what, "a size "+s.Sizes.String())
	case s.Numbers != nil:
		what = append(what, "a number "+s.Numbers.String())
	case s.Path:
		what = append(what, "an absolute path")
	}
	return strings.Join(what, ", or ")
}

// String is such as "from 512 to 16777216, a power of two".
func (r Range) String() string {
	s := fmt.Sprintf("from %d to %d", r.Min, r.Max)
	if r.PowerOfTwo {
		s += ", a power of two"
	}
	return s
}

func (r Range) check(name, value string, n uint64) error {
	if n < r.Min || n > r.Max || r.PowerOfTwo && n&(n-1) != 0 {
		return fmt.Errorf("value %.40q of %s %w: expected one %s", value, name, ErrInvalid, r)
	}
	return nil
}

// maxMountpointBytes is below PATH_MAX of linux/limits.h.
const maxMountpointBytes = 4095

// checkMountpoint checks a path (mountpoint_namecheck, by which no component reaches ZFS_MAX_DATASET_NAME_LEN). It has to be clean, so that two that
// differ are two places, and printable ASCII for the reason that [CheckUserValue] gives.
func checkMountpoint(value string) error {
	const what = "value of mountpoint"
	if len(value) > maxMountpointBytes {
		return tooLong(what, value, maxMountpointBytes)
	}
	if i := notPrintable(value); i >= 0 {
		return invalid(what, value, i, "printable ASCII")
	}
	if clean := path.Clean(value); clean != value {
		return fmt.Errorf("%s %.300q %w: expected a clean path, such as %.300q", what, value, ErrInvalid, clean)
	}
	for component := range strings.SplitSeq(value[1:], "/") {
		if len(component) > MaxNameBytes {
			return tooLong("component of mountpoint", component, MaxNameBytes)
		}
	}
	return nil
}
