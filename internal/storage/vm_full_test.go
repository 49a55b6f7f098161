package storage_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/mount"
)

// checkFull fills what logs, and then images, may take: logs leave room to images, and both leave etcd its own, in which what is synced is on the disk. Whoever asks
// what is left is told of that: logs of services are kept only while there is room for logs (package keptlog).
func checkFull(t *testing.T, spec storage.Spec) {
	t.Helper()
	const least, database = 4 << 20, 8 << 20
	noise := rand.NewChaCha8([32]byte{1}) // does not compress
	logs, full := fill(t, noise, filepath.Join(poolTarget(t, spec, "log"), "filler"), 1<<30, false)
	images, also := fill(t, noise, filepath.Join(poolTarget(t, spec, "plane/containerd"), "filler"), 1<<30, false)
	if !full || !also || images < least {
		t.Errorf("logs took %d bytes and have no more: %t, images %d: %t; want both full, and %d bytes for images", logs, full, images, also, least)
	}
	for name, fits := range map[string]func(left int64) bool{
		"log": func(left int64) bool { return left < least }, "etcd": func(left int64) bool { return left >= database },
	} {
		if left, err := (mount.Mounts{}).FreeBytes(poolTarget(t, spec, name)); err != nil || !fits(left) {
			t.Errorf("in a pool that is full %s has %d bytes left, %v; want less than %d for log, and %d or more for etcd", name, left, err, least, database)
		}
	}
	if took, full := fill(t, noise, filepath.Join(poolTarget(t, spec, "etcd"), "filler"), database, true); full {
		t.Errorf("in a pool that is full etcd could write %d bytes, want %d", took, database)
	}
	for _, name := range []string{"log", "plane/containerd", "etcd"} {
		if err := os.Remove(filepath.Join(poolTarget(t, spec, name), "filler")); err != nil {
			t.Errorf("in a pool that is full nothing can be removed: %v", err)
		}
	}
}

// poolTarget is where a dataset of the pool is mounted.
func poolTarget(t *testing.T, spec storage.Spec, name string) string {
	t.Helper()
	for _, d := range spec.Volumes[1].Pool.Datasets {
		if d.Name == name {
			return d.Target
		}
	}
	t.Fatalf("the pool has no dataset %s", name)
	return ""
}

// fill writes a file until it has so many bytes, or there is no room. With synced, each part is on the disk before the next.
func fill(t *testing.T, noise *rand.ChaCha8, path string, most int, synced bool) (bytes int, full bool) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 256<<10)
	for bytes < most {
		_, _ = noise.Read(part) // it never fails
		if _, err = f.Write(part); err == nil && synced {
			err = f.Sync()
		}
		if err != nil {
			break
		}
		bytes += len(part)
	}
	if full = errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT); err != nil && !full {
		t.Fatalf("fill %s: %v", path, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatalf("end of %s: %v", path, err)
	}
	return bytes, full
}
