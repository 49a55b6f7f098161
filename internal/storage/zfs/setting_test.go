package zfs

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for s, want := range map[string]uint64{
		"0": 0, "512": 512, "007": 7, "1b": 1, "1K": 1024, "1k": 1024, "1kb": 1024, "1KiB": 1024, "10G": 10 << 30, "1.5T": 3 << 39, ".5K": 512, "2.M": 2 << 20,
		"0.1K": 102, "15E": 15 << 60, "18446744073709551615": math.MaxUint64, "1.5": 1,
	} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", ".", "K", "-1", "+1", " 1", "1 ", "1 K", "0x10", "1e3", "1.5e3", "1BB", "1BiB", "1KK", "1Ki", "1KiBB", "1,5K", "1.2.3", "16E", "18446744073709551616",
		"0Z", "0.001Z", "1\u212a", "1K\u0131b", "16.0E", "99999999999999999999K", "1.5e3K", "1\x00",
	} {
		if got, err := parseSize(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %d, %v", s, got, err)
		}
	}
}

func TestCheckProperty(t *testing.T) {
	for _, c := range []struct {
		kind        Kind
		name, value string
		create      bool
		want        error
		says        string
	}{
		{Filesystem, "atime", "off", false, nil, ""},
		{Filesystem, "atime", "maybe", false, ErrInvalid, "expected on, off"},
		{Volume, "atime", "off", false, ErrInvalid, "expected one that a volume has"},
		{Snapshot, "atime", "off", false, ErrInvalid, "a snapshot has those of your own only"},
		{Filesystem, "used", "1", false, ErrInvalid, "expected one that a filesystem has"},
		{Filesystem, "quota", "10G", false, nil, ""},
		{Filesystem, "quota", "none", false, nil, ""},
		{Filesystem, "quota", "0", false, ErrInvalid, "expected one from 1 to"},
		{Filesystem, "quota", "10X", false, ErrInvalid, "expected one of K, M, G"},
		{Filesystem, "quota", "", false, ErrInvalid, "expected none, or a size"},
		{Filesystem, "reservation", "0", false, nil, ""},
		{Filesystem, "refreservation", "auto", false, ErrInvalid, "expected none, or a size"},
		{Volume, "refreservation", "auto", false, nil, ""},
		{Filesystem, "recordsize", "1M", false, nil, ""},
		{Filesystem, "recordsize", "256", false, ErrInvalid, "from 512 to 16777216, a power of two"},
		{Filesystem, "recordsize", "32M", false, ErrInvalid, "from 512 to 16777216"},
		{Filesystem, "recordsize", "3K", false, ErrInvalid, "a power of two"},
		{Filesystem, "special_small_blocks", "0", false, nil, ""},
		{Filesystem, "special_small_blocks", "1", false, ErrInvalid, "from 512"},
		{Filesystem, "filesystem_limit", "12", false, nil, ""},
		{Filesystem, "filesystem_limit", "1K", false, ErrInvalid, "expected none, or a number"},
		{Filesystem, "casesensitivity", "mixed", true, nil, ""},
		{Filesystem, "casesensitivity", "mixed", false, ErrReadOnly, "chosen when the filesystem is made"},
		{Volume, "volblocksize", "16K", true, nil, ""},
		{Volume, "volblocksize", "16K", false, ErrReadOnly, "chosen when the volume is made"},
		{Filesystem, "mountpoint", "legacy", false, nil, ""},
		{Filesystem, "mountpoint", "/", false, nil, ""},
		{Filesystem, "mountpoint", "/srv/a b", false, nil, ""},
		{Filesystem, "mountpoint", "srv", false, ErrInvalid, "an absolute path"},
		{Filesystem, "mountpoint", "/srv/../etc", false, ErrInvalid, `expected a clean path, such as "/etc"`},
		{Filesystem, "mountpoint", "/srv/", false, ErrInvalid, "clean path"},
		{Filesystem, "mountpoint", "/srv\n", false, ErrInvalid, "printable ASCII"},
		{Filesystem, "mountpoint", "/" + strings.Repeat("a", 256), false, ErrInvalid, "expected 255 at most"},
		{Filesystem, "mountpoint", strings.Repeat("/a", 2048), false, ErrInvalid, "expected 4095 at most"},
		{Filesystem, "checksum", "off", false, ErrInvalid, "expected on, fletcher2"},
		{Filesystem, "encryption", "on", true, ErrInvalid, "expected one that"},
		{Bookmark, "dev.cyvive:x", "1", false, nil, ""},
		{Filesystem, "x:y", "", false, nil, ""},
		{Filesystem, "x:Y", "", false, ErrInvalid, `it has "Y" at byte 3, expected small letters`},
		{Filesystem, "-x:y", "", false, ErrInvalid, "no '-' in front"},
		{Filesystem, strings.Repeat("x", 255) + ":", "", false, ErrInvalid, "expected 255 at most"},
		{Filesystem, "x:y", "ä", false, ErrInvalid, "expected printable ASCII"},
		{Filesystem, "x:y", strings.Repeat("x", 8192), false, ErrInvalid, "expected 8191 at most"},
	} {
		err := CheckProperty(c.kind, c.name, c.value, c.create)
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %.30s=%.30s: got %v, want %v and %q", c.kind, c.name, c.value, err, c.want, c.says)
		}
	}
}

func TestShownValue(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"quota", "none", "0"}, {"quota", "1.5G", "1610612736"}, {"filesystem_limit", "none", "none"}, {"filesystem_limit", "007", "7"},
		{"compression", "gzip-6", "gzip"}, {"compression", "zstd-fast-1", "zstd-fast"}, {"compression", "lz4", "lz4"}, {"xattr", "sa", "on"},
		{"acltype", "posixacl", "posix"}, {"volmode", "geom", "full"}, {"recordsize", "128K", "131072"}, {"special_small_blocks", "0", "0"},
		{"mountpoint", "/a", "/a"}, {"quota", "no size", "no size"}, {"x:y", "1K", "1K"}, {"unknown", "1K", "1K"},
	} {
		if got := ShownValue(Filesystem, c.name, c.value); got != c.want {
			t.Errorf("%s=%s: got %q, want %q", c.name, c.value, got, c.want)
		}
	}
}

// TestSettings: the table is one that can be relied on.
func TestSettings(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Settings() {
		for _, kind := range s.Kinds {
			if key := string(kind) + " " + s.Name; seen[key] {
				t.Errorf("%s is there twice", key)
			} else {
				seen[key] = true
			}
		}
		if len(s.Kinds) == 0 || len(s.Words) == 0 && s.Sizes == nil && s.Numbers == nil {
			t.Errorf("%s: of no kind, or without values", s.Name)
		}
		if cleared := s.Cleared != ""; cleared == (s.Inherited || s.CreateOnly || s.Name == "volsize") || cleared && s.Check(s.Cleared) != nil {
			t.Errorf("%s: it is cleared by %q: %+v", s.Name, s.Cleared, s)
		}
		for word, shown := range s.shown {
			if !slices.Contains(s.Words, word) || shown != "0" && !slices.Contains(s.Words, shown) {
				t.Errorf("%s: %s is shown as %s, and one of them is no value", s.Name, word, shown)
			}
		}
		for _, word := range s.Words {
			if err := s.Check(word); err != nil {
				t.Error(err)
			}
			if shown := s.Shown(word); s.Shown(shown) != shown {
				t.Errorf("%s=%s is shown as %s, and that as %s", s.Name, word, shown, s.Shown(shown))
			}
		}
	}
}
