package mount

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestNames: what is no clean path below the place for mounts is refused before anything is opened.
func TestNames(t *testing.T) {
	b := Below{Root: "/none", Seen: "/var", Within: "/var/mnt"}
	if got, err := b.names("/var/mnt/a/b"); err != nil || !slices.Equal(got, []string{"mnt", "a", "b"}) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, target := range []string{"", "/", "/var", "/var/mnt", "/var/mnt/", "/var/mntx/a", "/var/mnt/../a", "/var/mnt//a", "/var/mnt/./a", "var/mnt/a", "/etc/a"} {
		for what, err := range map[string]error{
			"seal": b.Seal(t.Context(), target), "mount": b.Mount(t.Context(), "tank/a", target, nil), "unmount": b.Unmount(t.Context(), target),
		} {
			if !errors.Is(err, zfs.ErrInvalid) {
				t.Errorf("%s %q: %v", what, target, err)
			}
		}
	}
	if err := b.Mount(t.Context(), "tank/a", "/var/mnt/a", []string{"suid"}); !errors.Is(err, zfs.ErrInvalid) {
		t.Errorf("an unknown option: %v", err)
	}
}

// memory are flags of no kernel.
type memory struct {
	flags int
	sets  int
}

func (m *memory) get() (int, error)   { return m.flags, nil }
func (m *memory) set(flags int) error { m.flags, m.sets = flags, m.sets+1; return nil }

// TestSealEmpty: only a directory that holds nothing is sealed, and one that is sealed already stays as it is.
func TestSealEmpty(t *testing.T) {
	for name, c := range map[string]struct {
		before, want, sets int
		file               bool
		err                error
	}{
		"empty":               {8, 8 | immutable, 1, false, nil},
		"written in":          {8, 8, 2, true, errHolds},
		"sealed":              {immutable, immutable, 0, false, nil},
		"sealed with remains": {immutable, immutable, 0, true, nil},
	} {
		dir, m := t.TempDir(), &memory{flags: c.before}
		if c.file {
			if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := sealEmpty(d, m); !errors.Is(err, c.err) || m.flags != c.want || m.sets != c.sets {
			t.Errorf("%s: got %v, flags %#x, set %d times", name, err, m.flags, m.sets)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// readOnlyFlags are those of a directory in a file system that is mounted read-only.
type readOnlyFlags struct{ memory }

func (*readOnlyFlags) set(int) error { return unix.EROFS }

// TestSealInReadOnly: in a file system that is mounted read-only an empty directory is taken as it is, for what is mounted in a dataset of a pool that is only read; one that
// holds something is not.
func TestSealInReadOnly(t *testing.T) {
	dir := t.TempDir()
	for _, want := range []error{nil, errHolds} {
		d, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := sealEmpty(d, &readOnlyFlags{}); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		if err := errors.Join(d.Close(), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOpenFollowsNoLink: directories are made in those that are there, and whoever puts a link in the way gets an error.
func TestOpenFollowsNoLink(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	b := Below{Root: root, Seen: "/var", Within: "/var/mnt"}
	if _, err := b.open([]string{"mnt", "a"}, false); !errors.Is(err, unix.ENOENT) {
		t.Errorf("what is not there: %v", err)
	}
	for range 2 {
		d, err := b.open([]string{"mnt", "a", "b"}, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(filepath.Join(root, "mnt/a/b")); err != nil || !info.IsDir() {
		t.Errorf("%v, %v", info, err)
	}
	for _, link := range []string{outside, "../..", "a"} {
		path := filepath.Join(root, "mnt/link")
		if err := os.Symlink(link, path); err != nil {
			t.Fatal(err)
		}
		for _, names := range [][]string{{"mnt", "link"}, {"mnt", "link", "x"}} {
			if _, err := b.open(names, true); !errors.Is(err, unix.ELOOP) {
				t.Errorf("through a link to %s: %v", link, err)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "mnt/file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.open([]string{"mnt", "file"}, true); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("made outside: %v, %v", entries, err)
	}
}
