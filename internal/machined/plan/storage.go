package plan

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// SnapshotSpec is what the documents of kind SnapshotSchedule ask of the domain. An error means that config.Parse and the domain disagree.
func SnapshotSpec(cfg *config.Config) (*snapshots.Spec, error) {
	spec := &snapshots.Spec{ReadOnly: readOnlyPools(cfg)}
	for _, s := range cfg.SnapshotSchedules {
		p := snapshots.Policy{Name: s.Name, When: times(s.Schedule), Prefix: s.Prefix, Keep: snapshots.Retention{
			Last: s.Keep.Last, Hourly: s.Keep.Hourly, Daily: s.Keep.Daily, Weekly: s.Keep.Weekly, Monthly: s.Keep.Monthly, Yearly: s.Keep.Yearly,
			MinAge: s.Keep.MinAge,
		}}
		for _, t := range s.Datasets {
			p.Targets = append(p.Targets, snapshots.Target{Dataset: t.Name, Recursive: t.Recursive, Exclude: t.Exclude})
		}
		if s.Keep.Matching != "" {
			var err error
			if p.Keep.Matching, err = regexp.Compile(s.Keep.Matching); err != nil {
				return nil, fmt.Errorf("read SnapshotSchedule %s: %w", s.Name, err)
			}
		}
		if err := p.Check(); err != nil {
			return nil, fmt.Errorf("read SnapshotSchedule %s: %w", s.Name, err)
		}
		spec.Policies = append(spec.Policies, p)
	}
	return spec, nil
}

// times is a schedule in the terms of the domains.
func times(s config.Schedule) snapshots.Schedule {
	return snapshots.Schedule{
		Every: s.Every, Calendar: snapshots.Calendar(s.Unit), Hour: s.Hour, Minute: s.Minute, Weekday: s.Weekday, Day: s.Day, Month: s.Month,
	}
}

// DatasetSpec is what the documents of kind Dataset ask of the domain: in the pools that are declared, and in what of the system's own is for others.
func DatasetSpec(cfg *config.Config) *dataset.Spec {
	spec := &dataset.Spec{Roots: []string{config.SystemVolumes}, ReadOnly: readOnlyPools(cfg)}
	for _, p := range cfg.Pools {
		spec.Roots = append(spec.Roots, p.Name)
	}
	for _, d := range cfg.Datasets {
		out := dataset.Dataset{Name: d.Name, Kind: zfs.Filesystem, Properties: map[string]string{}}
		maps.Copy(out.Properties, d.Properties)
		maps.Copy(out.Properties, d.UserProperties)
		if v := d.Volume; v != nil {
			out.Kind, out.SizeBytes, out.Sparse = zfs.Volume, v.SizeBytes, v.Sparse
			if v.BlockBytes != 0 {
				out.Properties["volblocksize"] = fmt.Sprint(v.BlockBytes)
			}
		}
		out.Target, out.Options = mountOf(d)
		if pool, _, _ := strings.Cut(d.Name, "/"); out.Target != "" && slices.Contains(spec.ReadOnly, pool) {
			out.Options = append(out.Options, "ro") // as zfs mount does in a pool that is imported so (zfs_mount_at in lib/libzfs/libzfs_mount.c, OpenZFS 2.3.9)
		}
		spec.Datasets = append(spec.Datasets, out)
	}
	return spec
}

// readOnlyPools are the names of the pools that are declared to be read only.
func readOnlyPools(cfg *config.Config) []string {
	var out []string
	for _, p := range cfg.Pools {
		if p.ReadOnly {
			out = append(out, p.Name)
		}
	}
	return out
}

// mountOf is where a file system is mounted, and how. Of what ZFS has on by itself, devices and setuid are off unless they are declared: what is mounted is for pods.
func mountOf(d config.Dataset) (target string, options []string) {
	target = d.Properties["mountpoint"]
	if canmount := d.Properties["canmount"]; d.Volume != nil || target == "none" || canmount == "off" || canmount == "noauto" {
		target = ""
	}
	if target == "" {
		return "", nil
	}
	if d.Properties["devices"] != "on" {
		options = append(options, "nodev")
	}
	if d.Properties["setuid"] != "on" {
		options = append(options, "nosuid")
	}
	if d.Properties["exec"] == "off" {
		options = append(options, "noexec")
	}
	return target, options
}
