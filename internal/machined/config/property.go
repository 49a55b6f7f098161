package config

import (
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// MountRoot is the directory below which file systems of documents are mounted: what else can be written is the node's own.
const MountRoot = "/var/mnt"

// property is a native property that a document may set: a selection of those of zfsprops(7) of OpenZFS 2.3, which package storage/zfs has all of. Left
// out are those of encryption, which is below the pool, of shares and zones, which a node has no programs for, and those that would let data be lost.
type property struct {
	name, doc string
	// values are all, or pattern is their form, or size says that it is one. Expects is for a mistake, where there are no values.
	values  []string
	pattern string
	size    func(uint64) bool
	expects string
	// volume and fileSystem say which have it.
	volume, fileSystem bool
}

// compressions are those of compress_table in module/zcommon/zfs_prop.c, but for lzjb, which is the past's.
const (
	compressionExpected = "on, off, lz4, zle, gzip-1 to 9, zstd-1 to 19, or zstd-fast-1 to 1000"
	compressionPattern  = `^(?:on|off|lz4|zle|gzip(?:-[1-9])?|zstd(?:-(?:[1-9]|1[0-9]))?|zstd-fast(?:-(?:[1-9]|[1-9]0|100|500|1000))?)$`
)

// mountPattern is the form of a mount point; isMountPoint says more.
const mountPattern = `^(?:none|` + MountRoot + `/[A-Za-z0-9_./-]+)$`

var mountForm = regexp.MustCompile(mountPattern)

// isMountPoint wants a clean path: two that differ are two places.
func isMountPoint(s string) bool {
	return len(s) < 1024 && mountForm.MatchString(s) && (s == "none" || path.Clean(s) == s)
}

const (
	sizeExpected  = "a size such as 512MiB or 10GiB"
	blockExpected = "a power of two from 512 to 16MiB, such as 16KiB"
)

func anySize(n uint64) bool { return n <= math.MaxInt64 }

// isBlock says that a size can be that of a block: SPA_MINBLOCKSIZE to SPA_MAXBLOCKSIZE of include/sys/fs/zfs.h.
func isBlock(n uint64) bool { return n >= 512 && n <= 16<<20 && n&(n-1) == 0 }

func properties() []property {
	onOff := []string{"on", "off"}
	fs := func(name, doc string, values ...string) property {
		return property{name: name, doc: doc, values: values, fileSystem: true}
	}
	both := func(name, doc string, values ...string) property {
		return property{name: name, doc: doc, values: values, fileSystem: true, volume: true}
	}
	return []property{
		fs("acltype", "Whether it has access control lists.", "off", "posix"),
		fs("atime", "Whether the time of each read is noted.", onOff...),
		fs("canmount", "Whether it is mounted by itself, or not at all.", "on", "off", "noauto"),
		fs("casesensitivity", "Whether names differ by case; fixed when it is made.", "sensitive", "insensitive", "mixed"),
		both("checksum", "How damaged data is known.", "on", "fletcher4", "sha256", "sha512", "skein", "edonr", "blake3"),
		{
			name: "compression", doc: "How data is compressed: " + compressionExpected + ".", expects: compressionExpected,
			pattern: compressionPattern, fileSystem: true, volume: true,
		},
		both("copies", "How often data is stored, beside what the pool does.", "1", "2", "3"),
		fs("devices", "Whether device files work.", onOff...),
		fs("dnodesize", "The size of what is noted of a file.", "legacy", "auto", "1k", "2k", "4k", "8k", "16k"),
		fs("exec", "Whether programs can be run.", onOff...),
		both("logbias", "Whether synchronous writes are to be fast, or to leave room for others.", "latency", "throughput"),
		{
			name: "mountpoint", doc: "Where it is mounted: none, or a path below " + MountRoot + ".", expects: "none, or a clean path below " + MountRoot,
			pattern: mountPattern, fileSystem: true,
		},
		fs("normalization", "How names in Unicode are compared; fixed when it is made.", "none", "formC", "formD", "formKC", "formKD"),
		both("primarycache", "What of it is kept in memory.", "all", "none", "metadata"),
		{name: "quota", expects: sizeExpected, doc: "How much it, with all below it and its snapshots, takes at most.", size: anySize, fileSystem: true},
		both("readonly", "Whether it cannot be written to.", onOff...),
		{name: "recordsize", expects: blockExpected, doc: "The largest block of a file: a power of two from 512 to 16MiB.", size: isBlock, fileSystem: true},
		both("redundant_metadata", "How much of what leads to data is stored once more.", "all", "most", "some", "none"),
		{name: "refquota", expects: sizeExpected, doc: "How much it takes at most by itself.", size: anySize, fileSystem: true},
		{name: "refreservation", expects: sizeExpected, doc: "How much room is kept for it by itself.", size: anySize, fileSystem: true, volume: true},
		fs("relatime", "Whether the time of a read is noted now and then only, where atime is on.", onOff...),
		{
			name: "reservation", expects: sizeExpected, doc: "How much room is kept for it with all below it and its snapshots.",
			size: anySize, fileSystem: true, volume: true,
		},
		both("secondarycache", "What of it is kept on the pool's cache disks.", "all", "none", "metadata"),
		fs("setuid", "Whether programs can take the rights of their owner.", onOff...),
		fs("snapdir", "Whether snapshots are seen in .zfs.", "hidden", "visible", "disabled"),
		{
			name: "special_small_blocks", expects: blockExpected, doc: "Blocks up to this size go to the pool's special disks: a power of two.",
			size: isBlock, fileSystem: true,
		},
		both("sync", "Whether synchronous writes are; disabled loses the last seconds in a power cut.", "standard", "always", "disabled"),
		fs("utf8only", "Whether names have to be UTF-8; fixed when it is made.", onOff...),
		fs("xattr", "How extended attributes are stored.", "sa", "dir", "off"),
	}
}

// field describes a property.
func (p property) field() Field {
	f := Field{Name: p.name, Doc: p.doc, Type: TypeText, Values: p.values, Pattern: p.pattern}
	if p.size != nil {
		f.Type = TypeSize
	}
	return f
}

// check says whether a value is one of the property, and returns it as Dataset.Properties has it.
func (p property) check(text string) (string, bool) {
	switch {
	case p.size != nil:
		n, ok := parseSize(text)
		return strconv.FormatUint(n, 10), ok && p.size(n)
	case p.name == "mountpoint":
		return text, isMountPoint(text)
	case p.pattern != "":
		return text, regexp.MustCompile(p.pattern).MatchString(text)
	}
	return text, isOneOf(p.values)(text)
}

// expected is what the property wants, for a mistake.
func (p property) expected() string {
	if p.expects != "" {
		return p.expects
	}
	return oneOf(p.values)
}

// User properties (zfsprops(7)). Values are printable ASCII here, since the JSON of zfs drops what is not.
const (
	userNamePattern = `^[a-z0-9][a-z0-9_.-]*:[a-z0-9_.:-]*$`
	ownNames        = "dev.cyvive:"
	maxUserName     = 255
	maxUserValue    = 1024
	// maxUserProperties bounds them together.
	maxUserProperties = 32
)

var userNameForm = regexp.MustCompile(userNamePattern)

func isUserName(s string) bool {
	return len(s) <= maxUserName && userNameForm.MatchString(s) && !strings.HasPrefix(s, ownNames)
}

func isUserValue(s string) bool {
	return len(s) <= maxUserValue && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}
