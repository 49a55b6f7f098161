package zfstest

import (
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// maxName is ZFS_MAX_DATASET_NAME_LEN without its end (include/sys/fs/zfs.h).
const maxName = 255

// checkName says whether a name is one of a file system, or with a separator of a snapshot ('@') or bookmark ('#')
// (module/zcommon/zfs_namecheck.c, entity_namecheck).
func checkName(name string, separator byte) error {
	whole := name
	if len(name) > maxName {
		return fmt.Errorf("check name %.40s…: %w: longer than %d bytes", whole, zfs.ErrInvalid, maxName)
	}
	if separator != 0 {
		of, short, ok := strings.Cut(name, string(separator))
		if !ok || !component(short) {
			return fmt.Errorf("check name %s: %w: wants %q and a name behind it", whole, zfs.ErrInvalid, separator)
		}
		name = of
	}
	for part := range strings.SplitSeq(name, "/") {
		if !component(part) {
			return fmt.Errorf("check name %s: %w", whole, zfs.ErrInvalid)
		}
	}
	return nil
}

func component(s string) bool {
	for _, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && !strings.ContainsRune("-_.: ", rune(c)) {
			return false
		}
	}
	return s != "" && s != "." && s != ".."
}
