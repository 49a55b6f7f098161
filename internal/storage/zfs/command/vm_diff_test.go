package command

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestVMDiff: what zfs says of two snapshots is read as it is meant, names with anything in them too; of what is not mounted it says nothing.
func TestVMDiff(t *testing.T) {
	l := newLab(t)
	const odd = "ä b\tc\\d"
	err := mounted(l.base, 0, func(dir string) error {
		at := func(name string) string { return filepath.Join(dir, name) }
		for _, name := range []string{"kept", "gone", "old", "changed"} {
			if err := os.WriteFile(at(name), []byte(name), 0o600); err != nil {
				return err
			}
		}
		l.all("snapshot $@one")
		err := errors.Join(os.Remove(at("gone")), os.Rename(at("old"), at("new")), os.WriteFile(at("changed"), []byte("otherwise"), 0o600), os.WriteFile(at(odd), nil, 0o600))
		if err != nil {
			return err
		}
		l.all("snapshot $@two")
		got, more, err := l.Diff(l.ctx, l.base+"@one", l.base+"@two")
		if err != nil {
			return err
		}
		slices.SortFunc(got, func(a, b zfs.Change) int { return strings.Compare(a.Path, b.Path) })
		want := []zfs.Change{
			{Kind: zfs.Modified, Path: dir + "/"}, {Kind: zfs.Modified, Path: at("changed")}, {Kind: zfs.Removed, Path: at("gone")},
			{Kind: zfs.Renamed, Path: at("old"), NewPath: at("new")}, {Kind: zfs.Added, Path: at(odd)},
		}
		if d := cmp.Diff(want, got); d != "" || more {
			t.Errorf("more: %t (-want +got):\n%s", more, d)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := l.Diff(l.ctx, l.base+"@one", l.base+"@two"); err == nil || !strings.Contains(err.Error(), "unmounted") {
		t.Errorf("of what is not mounted: %v, %v", got, err)
	}
}
