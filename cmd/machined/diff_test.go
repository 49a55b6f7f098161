package main

import (
	"context"
	"slices"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestPodDiff: paths are those of pods where they have them.
func TestPodDiff(t *testing.T) {
	diff := podDiff(func(_ context.Context, from, to string) ([]zfs.Change, bool, error) {
		if from != "tank/a@1" || to != "tank/a@2" {
			t.Errorf("compared %s with %s", from, to)
		}
		return []zfs.Change{
			{Kind: zfs.Renamed, Path: "/var/plane/mnt/a/old", NewPath: "/var/plane/mnt/a/new"}, {Kind: zfs.Added, Path: "/var/planes"}, {Kind: zfs.Removed, Path: "/var/etcd/x"},
		}, true, nil
	})
	got, more, err := diff(t.Context(), "tank/a@1", "tank/a@2")
	want := []zfs.Change{
		{Kind: zfs.Renamed, Path: "/var/mnt/a/old", NewPath: "/var/mnt/a/new"}, {Kind: zfs.Added, Path: "/var/planes"}, {Kind: zfs.Removed, Path: "/var/etcd/x"},
	}
	if !slices.Equal(got, want) || !more || err != nil {
		t.Errorf("got %v, %t, %v; want %v", got, more, err, want)
	}
}
