package plan

import (
	"strconv"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// planPools has pools, and what lies in them, reached as they are declared. What lies in them is looked at once pools were: one that is imported late is a condition
// of its datasets then, and not one of each boot. Only the places where datasets are to be mounted are made before, as soon as there is what they lie on: pods that are
// started meanwhile cannot write there.
func (d *Desired) planPools(in Input, facts Facts) {
	if wait := poolsWait(in, facts); wait != "" {
		d.Waits[Pools], d.Waits[Datasets], d.Waits[Snapshots] = wait, wait, wait
		return
	}
	spec := PoolSpec(in.Config)
	d.Pools = &spec
	if facts.PoolsSeen || facts.Storage.DataMounted {
		d.Datasets = DatasetSpec(in.Config)
		d.Datasets.Seal = facts.Storage.DataMounted
	}
	if !facts.PoolsSeen {
		wait := "waiting for the pools to be looked at"
		d.Waits[Snapshots] = wait
		if d.Datasets != nil {
			d.Datasets.Waits = wait
		} else {
			d.Waits[Datasets] = wait
		}
		return
	}
	var err error
	if d.Snapshots, err = SnapshotSpec(in.Config); err != nil {
		d.Snapshots, d.Waits[Snapshots] = nil, err.Error()
	}
}

// poolsWait says what the pools wait for; empty for nothing. Which were there before is remembered on the state volume: without that, one that is late would
// look like one that has to be made. On an installation medium there is none.
func poolsWait(in Input, facts Facts) string {
	if in.Medium {
		return OnMedium
	}
	if !in.Searched {
		return "looking for the configuration"
	}
	if in.Config == nil {
		return "waiting for a valid configuration"
	}
	if facts.Storage.StateMounted {
		return ""
	}
	return "waiting for the state volume: " + orUnknown(facts.Storage.Reason)
}

// PoolSpec returns the specification of the pools that a configuration declares; that may be nil.
func PoolSpec(cfg *config.Config) pool.Spec {
	var spec pool.Spec
	if cfg == nil {
		return spec
	}
	presences := map[config.Presence]pool.Presence{
		config.PoolImported: pool.Imported, config.PoolExported: pool.Exported, config.PoolDestroyed: pool.Destroyed,
	}
	encryptions := map[config.PoolEncryption]pool.Encryption{
		config.PoolEncryptionAuto: pool.EncryptAsFound, config.PoolEncryptionLUKS2: pool.EncryptAlways, config.PoolEncryptionNone: pool.EncryptNever,
	}
	for _, p := range cfg.Pools {
		one := pool.PoolSpec{
			Name: p.Name, Presence: presences[p.Presence], GUID: zfs.GUID(p.GUID), Cache: selectors(p.Cache), Spares: selectors(p.Spares),
			Properties: poolProperties(p), ReadOnly: p.ReadOnly, Rewind: p.Rewind, Encryption: encryptions[p.Encryption],
		}
		for _, c := range []struct {
			class  pool.Class
			groups []config.DiskGroup
		}{{pool.Normal, p.Data}, {pool.Special, p.Special}, {pool.Dedup, p.Dedup}, {pool.Log, p.Log}} {
			for _, g := range c.groups {
				one.Vdevs = append(one.Vdevs, pool.VdevSpec{Class: c.class, Layout: layout(g.Layout), Disks: selectors(g.Disks)})
			}
		}
		if p.Scrub != (config.Schedule{}) {
			one.Scrub = times(p.Scrub)
		}
		if p.Trim != (config.Schedule{}) {
			one.Trim = times(p.Trim)
		}
		spec.Pools = append(spec.Pools, one)
	}
	return spec
}

func layout(l config.Layout) pool.Layout {
	if l == config.LayoutSingle {
		return pool.Single
	}
	return pool.Layout(l)
}

func selectors(list []config.DiskSelector) []disk.Selector {
	var out []disk.Selector
	for _, s := range list {
		out = append(out, disk.Selector{Sizes: s.Sizes, Type: s.Type, Model: s.Model, Serial: s.Serial, WWN: s.WWN, Bus: s.Bus, Path: s.Path})
	}
	return out
}

// poolProperties are those of zpoolprops(7) that have fields of their own.
func poolProperties(p config.Pool) map[string]string {
	onOff := map[bool]string{true: "on", false: "off"}
	out := map[string]string{
		"autoexpand": onOff[p.Autoexpand], "autotrim": onOff[p.Autotrim], "compatibility": p.Compatibility, "failmode": p.Failmode,
	}
	if p.Multihost {
		// It is not turned off: it may be on for systems of which this node knows nothing, and without it two of them can import the pool at once.
		out["multihost"] = "on"
	}
	if p.Ashift != 0 {
		out["ashift"] = strconv.Itoa(p.Ashift)
	}
	return out
}
