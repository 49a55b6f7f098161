package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/size"
)

// Names of ZFS (zfsconcepts(7); module/zcommon/zfs_namecheck.c of OpenZFS 2.3). Spaces, which ZFS takes, are not taken here: too much that people use to
// look at names does not cope with them.
const (
	component    = `[A-Za-z0-9_.:-]+`
	datasetRules = "a dataset by its whole name, such as tank/data: letters, digits and -_.: between slashes"
	poolRules    = "the name of a pool: a letter, then letters, digits and -_.:"
	// maxNameBytes is ZFS_MAX_DATASET_NAME_LEN without its final NUL; maxPoolBytes is what a pool leaves of it for /$ORIGIN@$ORIGIN (pool_namecheck).
	maxNameBytes = 255
	maxPoolBytes = 239
	// maxDepth is one less than zfs_max_dataset_nesting.
	maxDepth = 49
	// maxSnapshotBytes is what has to be left for the @ and the name of a snapshot: a prefix, a time and a number.
	maxSnapshotBytes = 64
)

var (
	poolForm    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.:-]*$`)
	datasetForm = regexp.MustCompile(`^` + component + `(?:/` + component + `)*$`)
	prefixForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,39}$`)
	// uuidForm is that of RFC 9562, section 4, in lower case.
	uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// isPoolName refuses names that zpool has other uses for (pool_namecheck, and zpool_name_valid in lib/libzfs/libzfs_pool.c).
func isPoolName(s string) bool {
	if len(s) > maxPoolBytes || !poolForm.MatchString(s) || s == "log" || len(s) > 1 && s[0] == 'c' && s[1] >= '0' && s[1] <= '9' {
		return false
	}
	for _, reserved := range []string{"mirror", "raidz", "draid", "spare"} {
		if strings.HasPrefix(s, reserved) {
			return false
		}
	}
	return true
}

// isDatasetName leaves room for the names of snapshots.
func isDatasetName(s string) bool {
	if len(s) > maxNameBytes-maxSnapshotBytes || !datasetForm.MatchString(s) || strings.Count(s, "/") >= maxDepth {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "." || part == ".." {
			return false
		}
	}
	return isPoolName(poolOf(s))
}

func poolOf(dataset string) string {
	pool, _, _ := strings.Cut(dataset, "/")
	return pool
}

// isWithin says that a dataset is the other one, or lies below it.
func isWithin(dataset, other string) bool {
	rest, ok := strings.CutPrefix(dataset, other)
	return ok && (rest == "" || rest[0] == '/')
}

func overlap(a, b string) bool { return isWithin(a, b) || isWithin(b, a) }

// sizePattern is the form of a size in documents, for the schema: what size.Binary takes, but for nothing at all and zeros in front.
const sizePattern = `^[1-9][0-9]{0,18}(?:KiB|MiB|GiB|TiB|PiB)?$`

var sizeForm = regexp.MustCompile(sizePattern)

func parseSize(s string) (uint64, bool) {
	n, err := size.Binary().Parse(s)
	return n, err == nil && sizeForm.MatchString(s)
}

// size reads a field that may be left out.
func (o *object) size(name, expected string, check func(uint64) bool) (n uint64) {
	o.text(name, expected, sizeCheck(&n, check))
	return n
}

func (o *object) requiredSize(name, expected string, check func(uint64) bool) (n uint64) {
	o.requiredText(name, expected, sizeCheck(&n, check))
	return n
}

func sizeCheck(to *uint64, check func(uint64) bool) func(string) bool {
	return func(s string) bool {
		n, ok := parseSize(s)
		if ok = ok && check(n); ok {
			*to = n
		}
		return ok
	}
}

// count reads a whole number that may be left out.
func (o *object) count(name string, least, most int) (n int) {
	o.text(name, fmt.Sprintf("a whole number from %d to %d", least, most), func(s string) bool {
		v, err := strconv.Atoi(s)
		ok := err == nil && v >= least && v <= most && s == strconv.Itoa(v)
		if ok {
			n = v
		}
		return ok
	})
	return n
}

// booleanOr is boolean with a default of its own.
func (o *object) booleanOr(name string, fallback bool) bool {
	v := o.boolean(name)
	if node := o.values[name]; node == nil || isNull(node) {
		return fallback
	}
	return v
}

// choice reads one of some values, or the first if it is left out.
func choice[T ~string](o *object, name string, values ...T) T {
	words := wordsOf(values)
	if text := o.text(name, oneOf(words), isOneOf(words)); text != "" {
		return T(text)
	}
	return values[0]
}

func wordsOf[T ~string](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

func isOneOf(words []string) func(string) bool {
	return func(s string) bool {
		for _, w := range words {
			if w == s {
				return true
			}
		}
		return false
	}
}

// oneOf joins words: "a, b or c".
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
