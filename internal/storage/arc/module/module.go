// Package module is the kernel's side of package arc: statistics and pressure in /proc, limits in /sys/module/zfs/parameters.
package module

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cyvive/cyvive/internal/storage/arc"
	"github.com/cyvive/cyvive/internal/storage/zfs/kstat"
)

// Files implements arc.Module on /proc and /sys, which may be folders for tests.
type Files struct{ Proc, Sys string }

var _ arc.Module = Files{}

// Stats reads those of the ARC. Without the module it is fs.ErrNotExist.
func (f Files) Stats() (arc.Stats, error) {
	text, err := os.ReadFile(filepath.Join(kstat.Dir(f.Proc), "arcstats"))
	if err != nil {
		return arc.Stats{}, fmt.Errorf("read statistics of the ARC: %w", err)
	}
	return arc.ParseStats(text)
}

// Pressure reads that on memory. While plenty is available there is none: what waits then waits for what the ARC cannot give it.
func (f Files) Pressure() (arc.Pressure, error) {
	text, err := os.ReadFile(filepath.Join(f.Proc, "pressure/memory"))
	if errors.Is(err, fs.ErrNotExist) {
		return arc.Pressure{}, arc.ErrNoPressure
	}
	if err != nil {
		return arc.Pressure{}, fmt.Errorf("read pressure on memory: %w", err)
	}
	p, err := arc.ParsePressure(text)
	if err != nil {
		return p, err
	}
	if text, err = os.ReadFile(filepath.Join(f.Proc, "meminfo")); err != nil {
		return arc.Pressure{}, fmt.Errorf("read use of memory: %w", err)
	}
	if scarce, err := arc.Scarce(text); !scarce || err != nil {
		return arc.Pressure{}, err
	}
	return p, nil
}

// SetLimits writes both parameters, and looks whether the module has taken them: one that is out of its range it keeps and ignores (arc_tuning_update in
// module/zfs/arc.c). The order is that in which each is in range when it is written.
func (f Files) SetLimits(l arc.Limits) error {
	for _, p := range []struct {
		name  string
		value uint64
	}{{"zfs_arc_min", l.MinBytes}, {"zfs_arc_max", l.MaxBytes}} {
		path := filepath.Join(f.Sys, "module/zfs/parameters", p.name)
		if err := os.WriteFile(path, []byte(strconv.FormatUint(p.value, 10)+"\n"), 0o644); err != nil {
			return fmt.Errorf("set %s: %w", p.name, err)
		}
	}
	s, err := f.Stats()
	if err != nil {
		return err
	}
	if s.MinBytes != l.MinBytes || s.MaxBytes != l.MaxBytes {
		return fmt.Errorf("set limits of the ARC: the module was told %d and %d bytes, and has %d and %d", l.MinBytes, l.MaxBytes, s.MinBytes, s.MaxBytes)
	}
	return nil
}
