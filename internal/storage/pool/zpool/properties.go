package zpool

import (
	"context"
	"fmt"
	"strconv"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// listed is a pool of zpool get and zpool list (fill_pool_info, collect_pool).
type listed struct {
	Name       string              `json:"name"`
	GUID       number              `json:"pool_guid"`
	State      string              `json:"state"`
	Properties map[string]property `json:"properties"`
}

// parseProperties reads zpool get -j or zpool list -j: the properties by the pools' GUIDs.
func parseProperties(data []byte, command string) (map[zfs.GUID]map[string]zfs.Property, error) {
	var doc struct {
		Pools named[listed] `json:"pools"`
	}
	if err := decode(data, command, &doc); err != nil {
		return nil, err
	}
	out := map[zfs.GUID]map[string]zfs.Property{}
	for _, e := range doc.Pools {
		properties := map[string]zfs.Property{}
		for name, p := range e.value.Properties {
			properties[name] = p.typed()
		}
		out[zfs.GUID(e.value.GUID)] = properties
	}
	return out, nil
}

// setProperties gives a pool its properties, and what is read from them. Of one that cannot be used zpool tells "-" for most.
func setProperties(p *pool.Pool, properties map[string]zfs.Property) {
	p.Properties = properties
	size := func(name string) uint64 {
		n, _ := strconv.ParseUint(properties[name].Value, 10, 64) // "-" is 0
		return n
	}
	percent := func(name string) int {
		n, err := strconv.ParseUint(properties[name].Value, 10, 31)
		if err != nil {
			return -1
		}
		return int(n)
	}
	p.SizeBytes, p.AllocatedBytes, p.FreeBytes = size("size"), size("allocated"), size("free")
	p.ExpandableBytes = size("expandsize")
	p.CapacityPercent, p.FragmentationPercent = percent("capacity"), percent("fragmentation")
	p.ReadOnly = properties["readonly"].Value == "on"
}

// Size is a line of zpool list.
type Size struct {
	Name                                  string
	GUID                                  zfs.GUID
	State                                 pool.State
	SizeBytes, AllocatedBytes, FreeBytes  uint64
	CapacityPercent, FragmentationPercent int
}

// Sizes is zpool list: less than Pools, and cheap enough to be asked for often.
func (z *Zpool) Sizes(ctx context.Context) ([]Size, error) {
	out, err := z.run(ctx, []string{"list", "-j", "--json-int", "-p", "-o", "name,size,allocated,free,capacity,fragmentation,health"})
	if err != nil {
		return nil, fmt.Errorf("list pools: %w", err)
	}
	return parseList(out)
}

// parseList reads zpool list -j.
func parseList(data []byte) ([]Size, error) {
	var doc struct {
		Pools named[listed] `json:"pools"`
	}
	if err := decode(data, "list", &doc); err != nil {
		return nil, err
	}
	all, err := parseProperties(data, "list")
	if err != nil {
		return nil, err
	}
	var sizes []Size
	for _, e := range doc.Pools {
		var p pool.Pool
		setProperties(&p, all[zfs.GUID(e.value.GUID)])
		sizes = append(sizes, Size{
			Name: e.value.Name, GUID: zfs.GUID(e.value.GUID), State: pool.State(e.value.State), SizeBytes: p.SizeBytes,
			AllocatedBytes: p.AllocatedBytes, FreeBytes: p.FreeBytes, CapacityPercent: p.CapacityPercent, FragmentationPercent: p.FragmentationPercent,
		})
	}
	return sizes, nil
}
