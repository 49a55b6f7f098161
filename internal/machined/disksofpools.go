package machined

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/trust/recovery"
	"github.com/cyvive/cyvive/internal/trust/volumes"
)

const (
	// poolDiskPrefix begins the names of encrypted disks of pools (package storage/luks), which no volume of the node's own has.
	poolDiskPrefix = "pool-"
	// everyPoolDisk stands for all of them that a key opens.
	everyPoolDisk = "pools"
)

func isPoolDisk(name string) bool {
	return name == everyPoolDisk || strings.HasPrefix(name, poolDiskPrefix)
}

// containers are the encrypted volumes on disks of pools, as they were seen last, without those that are being made.
func (d disksAPI) containers() []pool.Container {
	var out []pool.Container
	for _, disk := range d.a.snapshot().pools.Status.Disks {
		if c := disk.Container; c != nil && !c.Begun && c.Name != "" {
			out = append(out, *c)
		}
	}
	return out
}

// poolDisks are those volumes for a person.
func (d disksAPI) poolDisks() []server.Volume {
	var out []server.Volume
	for _, disk := range d.a.snapshot().pools.Status.Disks {
		c := disk.Container
		if c == nil || c.Begun || c.Name == "" {
			continue
		}
		out = append(out, server.Volume{
			Name: c.Name, Device: c.Partition, SizeBytes: uint64(disk.SizeBytes), Mounted: c.Open, Encrypted: true, Recoverable: c.Keyed && c.Recoverable, Reason: diskReason(*c),
		})
	}
	return out
}

// diskReason is what an encrypted disk waits for; empty for nothing.
func diskReason(c pool.Container) string {
	switch {
	case c.Problem != "":
		return c.Problem
	case c.Stale:
		return "it was pulled, and is opened again when its pool lets go of it"
	case !c.Open && !c.Keyed:
		return pool.NoKey
	case !c.Open:
		return "it is not open yet"
	case !c.Keyed:
		return "it is open until the next boot: this node's own volumes are not encrypted, so it keeps no key of it"
	}
	return ""
}

// enrolledDisks are the partitions, by name, of those encrypted disks that are to have the recovery key: the devices of declared pools, but for those that are not
// written to. A pool that is not imported gives it to none, so that a disk of one which lacks it is an error.
func (d disksAPI) enrolledDisks() (map[string]string, error) {
	s := d.a.snapshot()
	if s.pooled && !s.poolsSeen {
		return nil, fmt.Errorf("%w: a disk of a pool may still need the recovery key: the pools were not looked at yet", server.ErrUnavailable)
	}
	used := map[string]bool{}
	for _, p := range s.pools.Status.Pools {
		if !p.Declared || p.Pool.ReadOnly || s.onlyRead(p.Name) {
			continue
		}
		if lack := unenrolled(p, s.pools.Status.Disks); len(lack) > 0 {
			return nil, fmt.Errorf("%w: pool %s is not imported, and these encrypted disks of it, or such as may be of it, still need the recovery key: %s; have it imported, or take its document out",
				server.ErrUnavailable, p.Name, strings.Join(lack, ", "))
		}
		for _, leaf := range p.Pool.Leaves() {
			used[leaf.Path] = true
		}
	}
	out := map[string]string{}
	for _, c := range d.containers() {
		if c.Open && c.Keyed && used[c.Device] {
			out[c.Name] = c.Partition
		}
	}
	return out, nil
}

// unenrolled are the encrypted disks of a pool that is not imported which only the key on the state volume opens. One that is shut does not say of what pool it is.
func unenrolled(p pool.PoolStatus, disks []pool.Disk) []string {
	var out []string
	for _, disk := range disks {
		c, l := disk.Container, disk.Label
		if p.Imported || c == nil || c.Begun || !c.Keyed || c.Recoverable {
			continue
		}
		shut := l == nil && !c.Open
		held := l != nil && !l.Former && l.State != pool.LabelDestroyed && (l.Pool == p.Name && p.GUID == 0 || l.PoolGUID == p.GUID && p.GUID != 0)
		if shut || held {
			out = append(out, c.Name)
		}
	}
	return out
}

// onlyRead says that a pool is declared to be read only, be it that it is imported for writing.
func (s snapshot) onlyRead(name string) bool {
	return s.input.Config != nil && slices.ContainsFunc(s.input.Config.Pools, func(p config.Pool) bool { return p.Name == name && p.ReadOnly })
}

// recoverDisks opens the encrypted disk of a name, or all that the key opens. The loop of the pools finds them open, and imports what is on them.
func (d disksAPI) recoverDisks(ctx context.Context, name string, k recovery.Key) error {
	if d.a.cfg.Vault == nil {
		return fmt.Errorf("%w: this node opens no encrypted disks", server.ErrPrecondition)
	}
	if err := d.a.since(inTime); err != nil {
		return err // keys are kept on the state volume
	}
	var opened int
	var others error
	var failed []error // of all that are meant, one that is damaged keeps no other shut
	for _, c := range d.containers() {
		open := c.Open || c.Stale || c.Double
		switch {
		case name != everyPoolDisk && name != c.Name, name == everyPoolDisk && open:
			continue
		case open:
			return fmt.Errorf("%w: disk %s is open, or another of its name is", server.ErrPrecondition, c.Name)
		}
		err := d.a.cfg.Vault.RecoverDisk(context.WithoutCancel(ctx), c.Name, c.Partition, k)
		switch {
		case errors.Is(err, volumes.ErrOtherRecoveryKey) && name == everyPoolDisk:
			others = err
			continue
		case err != nil && name == everyPoolDisk:
			failed = append(failed, diskClassed(err))
			continue
		case err != nil:
			return diskClassed(err)
		}
		opened++
		d.a.log.Warn("an encrypted disk was opened with a recovery key", "disk", c.Name)
		d.a.events.Add(server.EventAgent, "disk "+c.Name, "recovered", "opened with a recovery key")
		d.a.wakers[plan.Pools].Wake()
	}
	switch {
	case len(failed) > 0:
		return errors.Join(failed...)
	case opened > 0:
		return nil
	case others != nil:
		return diskClassed(others)
	}
	return fmt.Errorf("%w: the node sees no encrypted disk %.40q that is not open", server.ErrNotFound, name)
}
