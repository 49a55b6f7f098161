package zfs

import (
	"errors"
	"strings"
	"testing"
)

func FuzzName(f *testing.F) {
	f.Add("tank/a@s")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if (err == nil) != entityNamecheck(s) {
			t.Errorf("%q: %v, and entity_namecheck says otherwise", s, err)
		}
		_, newErr := ParseNew(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || newErr == nil {
				t.Errorf("%q: %v, %v", s, err, newErr)
			}
			return
		}
		if n.String() != s || s[0] == '-' {
			t.Errorf("%q comes back as %q", s, n)
		}
		parsers := 0
		for _, parse := range []func(string) (Name, error){ParseDataset, ParseSnapshot, ParseBookmark} {
			if _, err := parse(s); err == nil {
				parsers++
			}
		}
		if newErr == nil && parsers != 1 || newErr != nil && parsers != 0 {
			t.Errorf("%q is of %d kinds, and ParseNew says %v", s, parsers, newErr)
		}
		if _, err := ParseName(n.Dataset()); err != nil {
			t.Errorf("dataset of %q: %v", s, err)
		}
	})
}

// entityNamecheck is written after the rules that zfsconcepts(7) and zfs_namecheck.c give, in another way than ParseName: what it does with the first part is
// pool_namecheck's, and a component '.' is refused before a delimiter too, where there can be no dataset of that name.
func entityNamecheck(s string) bool {
	const valid = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.: "
	if len(s) >= 256 || strings.Count(s, "@")+strings.Count(s, "#") > 1 {
		return false
	}
	components := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("/@#", r) })
	if len(components) != 1+strings.Count(s, "/")+strings.Count(s, "@")+strings.Count(s, "#") {
		return false // one is empty
	}
	if i := strings.IndexAny(s, "@#"); i >= 0 && strings.Contains(s[i:], "/") {
		return false
	}
	for i, c := range components {
		more := "%"
		if i == 0 {
			more = ""
		}
		if c == "." || c == ".." || strings.Trim(c, valid+more) != "" {
			return false
		}
		for _, r := range []byte(c) {
			if strings.IndexByte(valid+more, r) < 0 {
				return false
			}
		}
	}
	pool := components[0]
	letter := pool[0]|0x20 >= 'a' && pool[0]|0x20 <= 'z'
	return letter && len(pool) < 240 && pool != "mirror" && pool != "raidz" && pool != "draid"
}

func FuzzSize(f *testing.F) {
	f.Add("10G")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseSize(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if strings.Trim(s, "0123456789.bkmgtpeBKMGTPEiI") != "" || s[0] != '.' && (s[0] < '0' || s[0] > '9') {
			t.Errorf("%q passes as %d", s, n)
		}
		if digits := strings.TrimLeft(s, "0123456789"); digits == "" && len(s) < 19 {
			var want uint64
			for _, c := range []byte(s) {
				want = want*10 + uint64(c-'0')
			}
			if n != want {
				t.Errorf("%q: got %d", s, n)
			}
		}
	})
}

func FuzzProperty(f *testing.F) {
	f.Add("filesystem", "quota", "10G")
	f.Fuzz(func(t *testing.T, kind, name, value string) {
		created, set := CheckProperty(Kind(kind), name, value, true), CheckProperty(Kind(kind), name, value, false)
		if created != nil && set == nil {
			t.Errorf("%s=%q can be set, and not made: %v", name, value, created)
		}
		if created != nil {
			if !errors.Is(created, ErrInvalid) || len(created.Error()) > 2000 {
				t.Errorf("%s=%q: %v", name, value, created)
			}
			return
		}
		if strings.HasPrefix(name, "-") || strings.ContainsAny(name+value, "\x00\n\t") || strings.Contains(name, "=") {
			t.Errorf("%q=%q passes", name, value)
		}
		// What is shown is the same value: it is shown as itself.
		shown := ShownValue(Kind(kind), name, value)
		if again := ShownValue(Kind(kind), name, shown); again != shown {
			t.Errorf("%s=%q is shown as %q, and that as %q", name, value, shown, again)
		}
	})
}
