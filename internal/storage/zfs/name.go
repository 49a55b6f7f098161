package zfs

import (
	"fmt"
	"strings"
)

// Limits of names, in bytes: ZFS_MAX_DATASET_NAME_LEN of include/sys/fs/zfs.h is 256 with the final NUL; a pool's name leaves room for
// "/$ORIGIN@$ORIGIN" (pool_namecheck); and zfs_max_dataset_nesting is 50, of which a path has to stay below. A tag's limit is that of
// dsl_dataset_user_hold_check_one in module/zfs/dsl_userhold.c, of which one is left for other programs' arithmetic.
const (
	MaxNameBytes = 255
	MaxPoolBytes = 239
	MaxSlashes   = 49
	maxTagBytes  = 255
)

// Name is a name taken apart.
type Name struct {
	Pool string
	// Path is what is below the pool, without a slash in front; empty for the pool's own dataset.
	Path string
	// Snapshot or Bookmark is what follows '@' or '#'. One of them is empty, at least.
	Snapshot, Bookmark string
}

// String is the whole name.
func (n Name) String() string {
	s := n.Dataset()
	switch {
	case n.Snapshot != "":
		s += "@" + n.Snapshot
	case n.Bookmark != "":
		s += "#" + n.Bookmark
	}
	return s
}

// Dataset is the name of the file system or volume, without its snapshot or bookmark.
func (n Name) Dataset() string {
	if n.Path == "" {
		return n.Pool
	}
	return n.Pool + "/" + n.Path
}

// ParseName takes the whole name of something that may exist apart: a file system, volume, snapshot or bookmark, and the clones with '%' in their
// names that a receive makes. Its errors are [ErrInvalid].
func ParseName(s string) (Name, error) {
	if len(s) > MaxNameBytes {
		return Name{}, tooLong("name", s, MaxNameBytes)
	}
	dataset, rest := s, ""
	delimiter := strings.IndexAny(s, "@#")
	if delimiter >= 0 {
		dataset, rest = s[:delimiter], s[delimiter+1:]
	}
	pool, path, below := strings.Cut(dataset, "/")
	if err := checkPool("name", s, pool); err != nil {
		return Name{}, err
	}
	n := Name{Pool: pool, Path: path}
	if below {
		if err := checkPath(s, len(pool)+1, path); err != nil {
			return Name{}, err
		}
	}
	if delimiter < 0 {
		return n, nil
	}
	if err := checkComponent("name", s, delimiter+1, rest, "%"); err != nil {
		return Name{}, err
	}
	if s[delimiter] == '@' {
		n.Snapshot = rest
	} else {
		n.Bookmark = rest
	}
	return n, nil
}

// ParseNew takes the name of something that is to be made apart. It is stricter: '%' is for names that ZFS makes, and the depth has a limit.
func ParseNew(s string) (Name, error) {
	n, err := ParseName(s)
	if err != nil {
		return Name{}, err
	}
	if i := strings.IndexByte(s, '%'); i >= 0 {
		return Name{}, invalid("name", s, i, "no '%', which ZFS keeps for names of its own")
	}
	if slashes := strings.Count(n.Dataset(), "/"); slashes > MaxSlashes {
		return Name{}, fmt.Errorf("name %q %w: it has %d slashes, expected %d at most", s, ErrInvalid, slashes, MaxSlashes)
	}
	return n, nil
}

// ParseDataset takes the name of a file system or volume apart, which is to be made or exists.
func ParseDataset(s string) (Name, error) {
	n, err := ParseNew(s)
	if err == nil && (n.Snapshot != "" || n.Bookmark != "") {
		return Name{}, invalid("name", s, strings.IndexAny(s, "@#"), "a file system or volume, without '@' and '#'")
	}
	return n, err
}

// ParseSnapshot takes the name of a snapshot apart, which is to be made or exists.
func ParseSnapshot(s string) (Name, error) {
	n, err := ParseNew(s)
	if err == nil && n.Snapshot == "" {
		return Name{}, fmt.Errorf("name %q %w: expected a snapshot, such as %s@name", s, ErrInvalid, n.Dataset())
	}
	return n, err
}

// ParseBookmark takes the name of a bookmark apart, which is to be made or exists.
func ParseBookmark(s string) (Name, error) {
	n, err := ParseNew(s)
	if err == nil && n.Bookmark == "" {
		return Name{}, fmt.Errorf("name %q %w: expected a bookmark, such as %s#name", s, ErrInvalid, n.Dataset())
	}
	return n, err
}
