package pool

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// ErrSpec is a declaration that cannot be understood, or that zpool would not take.
var ErrSpec = errors.New("the declaration of a pool is not valid")

// maxNameBytes is how long a pool's name may be, so that datasets have room below it (ZFS_MAX_DATASET_NAME_LEN of include/sys/fs/zfs.h is 256).
const maxNameBytes = 64

// Check returns every mistake of a specification, each as ErrSpec with the pool's name.
func (s Spec) Check() error {
	var errs []error
	seen := map[string]bool{}
	for _, p := range s.Pools {
		wrong := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%w: pool %.80q: %s", ErrSpec, p.Name, fmt.Sprintf(format, args...)))
		}
		if seen[p.Name] {
			wrong("it is declared twice")
		}
		seen[p.Name] = true
		if why := nameProblem(p.Name); why != "" {
			wrong("%s", why)
		}
		p.check(wrong)
	}
	return errors.Join(errs...)
}

// nameProblem says why a pool cannot be called so; empty if it can. Spaces, which ZFS takes, too much that people use cannot cope with.
func nameProblem(name string) string {
	if err := zfs.CheckNewPool(name); err != nil {
		return err.Error()
	}
	switch i := strings.IndexByte(name, ' '); {
	case i >= 0:
		return fmt.Sprintf("its name has a space at byte %d, expected letters, digits and -_.:", i+1)
	case len(name) > maxNameBytes:
		return fmt.Sprintf("its name has %d bytes, expected %d at most", len(name), maxNameBytes)
	}
	return ""
}

func (p PoolSpec) check(wrong func(string, ...any)) {
	if p.Presence != Imported && p.Presence != Exported && p.Presence != Destroyed {
		wrong("presence %.40q is none of exported and destroyed", p.Presence)
	}
	normal := 0
	selectors := append(slices.Clone(p.Cache), p.Spares...)
	for i, v := range p.Vdevs {
		if v.Class == Normal {
			normal++
		}
		selectors = append(selectors, v.Disks...)
		if why := v.problem(); why != "" {
			wrong("vdev %d: %s", i+1, why)
		}
	}
	if normal == 0 && p.Presence == Imported && p.GUID == 0 {
		wrong("it has no vdev for data, and no GUID by which one that exists is meant")
	}
	for _, s := range selectors {
		if err := s.Check(); err != nil {
			wrong("%s: %s", orNothing(s), err)
		}
	}
	for name, value := range p.Properties {
		if !slices.Contains(Settable(), name) {
			wrong("property %.40q cannot be set here, expected one of %s", name, strings.Join(Settable(), ", "))
		}
		if strings.ContainsAny(value, "\x00\n") || len(value) > 1024 {
			wrong("property %s has a value that cannot be written in a line", name)
		}
	}
}

func orNothing(s disk.Selector) string {
	if text := s.String(); text != "" {
		return text
	}
	return "a disk"
}

// problem says what is wrong with a vdev; empty if nothing is.
func (v VdevSpec) problem() string {
	n := len(v.Disks)
	switch {
	case v.Class == Cache || v.Class == Spare:
		return fmt.Sprintf("class %s is no vdev: name its disks beside the vdevs", v.Class)
	case !slices.Contains([]Class{Normal, Special, Dedup, Log}, v.Class):
		return fmt.Sprintf("class %.40q is none of special, dedup and log", v.Class)
	case n == 0:
		return "it has no disks"
	case v.Layout == Single, v.Layout == Mirror && n >= 2:
		return ""
	case v.Layout == Mirror:
		return "a mirror of one disk; expected two or more, or no layout"
	case v.Layout.parity() == 0:
		return fmt.Sprintf("layout %.40q is none of mirror, raidz1, raidz2 and raidz3", v.Layout)
	case v.Class == Log:
		return "a log is a single disk or a mirror (zpoolconcepts(7), \"log\")"
	case n < v.Layout.parity()+1:
		return fmt.Sprintf("%s of %d disks; expected %d or more", v.Layout, n, v.Layout.parity()+1)
	case n > 255:
		return fmt.Sprintf("%s of %d disks; expected 255 at most (VDEV_RAIDZ_MAXPARITY and the 8-bit column count of vdev_raidz.c)", v.Layout, n)
	}
	return ""
}
