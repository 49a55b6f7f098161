package zfs

import (
	"fmt"
	"strings"
)

// CheckPool returns an error unless a pool of that name may exist (pool_namecheck).
func CheckPool(name string) error { return checkPool("pool name", name, name) }

// CheckNewPool returns an error unless a pool of that name may be made. More names are kept for parts of pools than were when old pools were made
// (zpool_name_valid in lib/libzfs/libzfs_pool.c).
func CheckNewPool(name string) error {
	if err := CheckPool(name); err != nil {
		return err
	}
	for _, prefix := range []string{"mirror", "raidz", "draid", "spare"} {
		if strings.HasPrefix(name, prefix) {
			return fmt.Errorf("pool name %q %w: expected none that begins with %s, which is kept for parts of pools", name, ErrInvalid, prefix)
		}
	}
	if name == "log" {
		return fmt.Errorf("pool name %q %w: expected another, since it is kept for a part of pools", name, ErrInvalid)
	}
	return nil
}

// CheckSnapshotName returns an error unless name can follow '@' or '#' in the name of a snapshot or bookmark that is made.
func CheckSnapshotName(name string) error {
	if len(name) > MaxNameBytes {
		return tooLong("snapshot name", name, MaxNameBytes)
	}
	return checkComponent("snapshot name", name, 0, name, "")
}

// CheckTag returns an error unless tag can name a hold. ZFS takes any bytes; those that would split a line of zfs-holds(8) are not taken here, nor a
// '-' in front, and a '.' is for holds that libzfs makes (zfs_do_hold_rele_impl).
func CheckTag(tag string) error {
	switch {
	case len(tag) > maxTagBytes:
		return tooLong("tag", tag, maxTagBytes)
	case tag == "":
		return fmt.Errorf("tag %q %w: expected a character at least", tag, ErrInvalid)
	case tag[0] == '.' || tag[0] == '-':
		return invalid("tag", tag, 0, "neither '.' nor '-' in front")
	}
	if i := notPrintable(tag); i >= 0 {
		return invalid("tag", tag, i, "printable ASCII")
	}
	return nil
}

// checkPool checks pool, with which the whole name s begins.
func checkPool(what, s, pool string) error {
	if pool == "" {
		return fmt.Errorf("%s %q %w: expected the name of a pool in front", what, s, ErrInvalid)
	}
	if c := pool[0]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
		return invalid(what, s, 0, "a letter, with which the names of pools begin")
	}
	if err := checkComponent(what, s, 0, pool, ""); err != nil {
		return err
	}
	if pool == "mirror" || pool == "raidz" || pool == "draid" {
		return fmt.Errorf("%s %q %w: no pool is called mirror, raidz or draid", what, s, ErrInvalid)
	}
	if len(pool) > MaxPoolBytes {
		return tooLong("pool name", pool, MaxPoolBytes)
	}
	return nil
}

// checkPath checks path, which begins at byte at of s.
func checkPath(s string, at int, path string) error {
	for component := range strings.SplitSeq(path, "/") {
		if err := checkComponent("name", s, at, component, "%"); err != nil {
			return err
		}
		at += len(component) + 1
	}
	return nil
}

// checkComponent checks what is between two slashes, or after '@' or '#', and begins at byte at of s (entity_namecheck). More are characters beside
// the usual.
func checkComponent(what, s string, at int, component, more string) error {
	switch component {
	case "":
		return invalid(what, s, at, "a component that is not empty")
	case ".", "..":
		return invalid(what, s, at, "neither '.' nor '..' as a component")
	}
	for i := range len(component) {
		if c := component[i]; !nameCharacter(c) && strings.IndexByte(more, c) < 0 {
			return invalid(what, s, at+i, "letters, digits and -_.: or a space")
		}
	}
	return nil
}

// nameCharacter is valid_char of zfs_namecheck.c.
func nameCharacter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.: ", c) >= 0
}

// notPrintable is where s has a byte that is not printable ASCII, or -1.
func notPrintable(s string) int {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// invalid says what is at byte at of s, and what was expected there.
func invalid(what, s string, at int, expected string) error {
	found := "nothing"
	if at < len(s) {
		found = fmt.Sprintf("%q", s[at:at+1])
	}
	return fmt.Errorf("%s %.300q %w: it has %s at byte %d, expected %s", what, s, ErrInvalid, found, at+1, expected)
}

func tooLong(what, s string, limit int) error {
	return fmt.Errorf("%s %.40q… %w: it has %d bytes, expected %d at most", what, s, ErrInvalid, len(s), limit)
}
