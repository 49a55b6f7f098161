package zfs

import (
	"fmt"
	"math"
	"slices"
)

// maxBlockBytes is SPA_MAXBLOCKSIZE of include/sys/fs/zfs.h; more than 128 KiB needs the pool's feature large_blocks.
const maxBlockBytes = 16 << 20

// Settings returns the native properties that people may set, by kind and name, from zfs_prop_init in module/zcommon/zfs_prop.c of OpenZFS 2.3.9.
// Left out are
//
//   - those of native encryption: disks are encrypted below the pool (docs/architecture.md);
//   - those without effect on Linux (aclmode, aclinherit, acltype=nfsv4, nbmand, vscan), of zones, labels and shares, for which a node has no program, and
//     version;
//   - checksum=off, by which ZFS could no longer tell good data from bad.
//
// What their fields point to belongs to all callers, and is not to be changed.
func Settings() []Setting { return slices.Clone(settings) }

var settings = slices.Concat(filesystemSettings(), commonSettings(), volumeSettings())

var onOff = []string{"on", "off"}

func filesystemSettings() []Setting {
	kinds := []Kind{Filesystem}
	flag := func(name string) Setting { return Setting{Name: name, Kinds: kinds, Inherited: true, Words: onOff} }
	return []Setting{
		{Name: "acltype", Kinds: kinds, Inherited: true, Words: []string{"off", "posix", "posixacl"}, shown: map[string]string{"posixacl": "posix"}},
		flag("atime"),
		{Name: "canmount", Kinds: kinds, Cleared: "on", Words: []string{"on", "off", "noauto"}},
		{Name: "casesensitivity", Kinds: kinds, CreateOnly: true, Inherited: true, Words: []string{"sensitive", "insensitive", "mixed"}},
		flag("devices"),
		{Name: "direct", Kinds: kinds, Inherited: true, Words: []string{"disabled", "standard", "always"}},
		{Name: "dnodesize", Kinds: kinds, Inherited: true, Words: []string{"legacy", "auto", "1k", "2k", "4k", "8k", "16k"}},
		flag("exec"),
		limit("filesystem_limit", kinds),
		{Name: "mountpoint", Kinds: kinds, Inherited: true, Words: []string{"none", "legacy"}, Path: true},
		{Name: "normalization", Kinds: kinds, CreateOnly: true, Inherited: true, Words: []string{"none", "formC", "formD", "formKC", "formKD"}},
		flag("overlay"),
		quota("quota", kinds, 1),
		{Name: "recordsize", Kinds: kinds, Inherited: true, Sizes: &Range{512, maxBlockBytes, true}},
		quota("refquota", kinds, 1),
		flag("relatime"),
		flag("setuid"),
		{Name: "snapdir", Kinds: kinds, Inherited: true, Words: []string{"disabled", "hidden", "visible"}},
		{Name: "special_small_blocks", Kinds: kinds, Inherited: true, Words: []string{"0"}, Sizes: &Range{512, maxBlockBytes, true}},
		{Name: "utf8only", Kinds: kinds, CreateOnly: true, Inherited: true, Words: onOff},
		{Name: "xattr", Kinds: kinds, Inherited: true, Words: []string{"on", "off", "dir", "sa"}, shown: map[string]string{"sa": "on"}},
	}
}

func commonSettings() []Setting {
	kinds := []Kind{Filesystem, Volume}
	words := func(name string, words ...string) Setting {
		return Setting{Name: name, Kinds: kinds, Inherited: true, Words: words}
	}
	compression := words("compression", compressions()...)
	compression.shown = map[string]string{"gzip-6": "gzip", "zstd-fast-1": "zstd-fast"}
	volmode := words("volmode", "default", "full", "geom", "dev", "none")
	volmode.shown = map[string]string{"geom": "full"}
	return []Setting{
		words("checksum", "on", "fletcher2", "fletcher4", "sha256", "sha512", "skein", "edonr", "blake3"),
		compression,
		words("copies", "1", "2", "3"),
		words("dedup", "on", "off", "verify", "sha256", "sha256,verify", "sha512", "sha512,verify", "skein", "skein,verify", "edonr,verify",
			"blake3", "blake3,verify"),
		words("logbias", "latency", "throughput"),
		words("prefetch", "none", "metadata", "all"),
		words("primarycache", "all", "none", "metadata"),
		words("readonly", onOff...),
		words("redundant_metadata", "all", "most", "some", "none"),
		quota("refreservation", []Kind{Filesystem}, 0),
		quota("reservation", kinds, 0),
		words("secondarycache", "all", "none", "metadata"),
		words("snapdev", "hidden", "visible"),
		limit("snapshot_limit", kinds),
		words("sync", "standard", "always", "disabled"),
		volmode,
	}
}

func volumeSettings() []Setting {
	kinds := []Kind{Volume}
	reservation := quota("refreservation", kinds, 0)
	reservation.Words = append(reservation.Words, "auto")
	return []Setting{
		reservation,
		{Name: "volblocksize", Kinds: kinds, CreateOnly: true, Sizes: &Range{512, maxBlockBytes, true}},
		{Name: "volsize", Kinds: kinds, Sizes: &Range{512, math.MaxInt64, false}},
		{Name: "volthreading", Kinds: kinds, Cleared: "on", Words: onOff},
	}
}

// quota is a size or none, which is shown as 0. ZFS refuses to be told 0 for a quota, so as not to be taken for "no room at all".
func quota(name string, kinds []Kind, least uint64) Setting {
	return Setting{
		Name: name, Kinds: kinds, Cleared: "none", Words: []string{"none"}, Sizes: &Range{least, math.MaxUint64, false},
		shown: map[string]string{"none": "0"},
	}
}

// limit is a number of datasets or none. ZFS keeps none as 2^64-1.
func limit(name string, kinds []Kind) Setting {
	return Setting{Name: name, Kinds: kinds, Cleared: "none", Words: []string{"none"}, Numbers: &Range{0, math.MaxUint64 - 1, false}}
}

// compressions are those of compress_table. The levels of zstd-fast are not all there.
func compressions() []string {
	all := []string{"on", "off", "lz4", "zstd", "zstd-fast", "gzip", "lzjb", "zle"}
	for level := 1; level <= 9; level++ {
		all = append(all, fmt.Sprint("gzip-", level))
	}
	for level := 1; level <= 19; level++ {
		all = append(all, fmt.Sprint("zstd-", level))
	}
	for _, level := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 500, 1000} {
		all = append(all, fmt.Sprint("zstd-fast-", level))
	}
	return all
}
