// Package kstat finds what the kernel modules of ZFS tell of themselves in proc(5). It runs no program, and is all that PID 1 links of ZFS.
package kstat

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Dir is the folder with the statistics, below the one on which proc(5) is mounted (module/os/linux/spl/spl-kstat.c, kstat_create_module, of OpenZFS 2.3.9).
// It is there while the module is loaded.
func Dir(proc string) string { return filepath.Join(proc, "spl/kstat/zfs") }

// Pools are the names of the pools that are imported, ordered. Each has a folder from when its import begins (spa_add in module/zfs/spa_misc.c), as has one
// that is looked at to be imported, under a name that no pool can have (TRYIMPORT_NAME in module/zfs/spa.c). All else is files. Without the module there are
// none.
func Pools(proc string) ([]string, error) {
	entries, err := os.ReadDir(Dir(proc))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list imported pools: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), "$") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Imported tells whether a pool of the name is imported.
func Imported(proc, pool string) (bool, error) {
	names, err := Pools(proc)
	return slices.Contains(names, pool), err
}
