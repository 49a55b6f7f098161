package snapshots

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// stamp is the form of the time in a name. Names of one prefix are in the order of their times.
const stamp = "20060102T150405Z"

// maxPrefix bounds prefixes, so that they leave room for the names of datasets: both together have 255 bytes (zfsconcepts(7)).
const maxPrefix = 40

// prefixForm has the characters that ZFS takes in the name of a snapshot (module/zcommon/zfs_namecheck.c, valid_char), but the space.
var prefixForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,` + strconv.Itoa(maxPrefix-1) + `}$`)

// Name returns the name of a snapshot that is made at a time, without the dataset's. Taken says of a name whether one of the datasets has it already, as after
// the clock went back; then a number is put behind it.
func Name(prefix string, t time.Time, taken func(string) bool) string {
	base := prefix + t.UTC().Format(stamp)
	name := base
	for n := 2; taken(name); n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return name
}

// isOf says that a name has the form of Name with the prefix.
func isOf(prefix, name string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok || len(rest) < len(stamp) {
		return false
	}
	if _, err := time.Parse(stamp, rest[:len(stamp)]); err != nil {
		return false
	}
	number := rest[len(stamp):]
	if number == "" {
		return true
	}
	digits, ok := strings.CutPrefix(number, "-")
	n, err := strconv.ParseUint(digits, 10, 32)
	return ok && err == nil && n >= 2 && digits == strconv.FormatUint(n, 10)
}
