package zpool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

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

// typed are the properties in the terms of package zfs.
func (l listed) typed() map[string]zfs.Property {
	out := map[string]zfs.Property{}
	for name, p := range l.Properties {
		out[name] = p.typed()
	}
	return out
}

// parseProperties reads zpool get -j: the properties by the pools' GUIDs.
func parseProperties(data []byte) (map[zfs.GUID]map[string]zfs.Property, error) {
	var doc struct {
		Pools named[listed] `json:"pools"`
	}
	if err := decode(data, "get", &doc); err != nil {
		return nil, err
	}
	out := map[zfs.GUID]map[string]zfs.Property{}
	for _, e := range doc.Pools {
		out[zfs.GUID(e.value.GUID)] = e.value.typed()
	}
	return out, nil
}

// properties are those of all pools, by their GUIDs.
func (z *Zpool) properties(ctx context.Context) (map[zfs.GUID]map[string]zfs.Property, error) {
	out, err := z.run(ctx, getOptions())
	if err != nil && !strings.Contains(err.Error(), "no pools available") {
		return nil, fmt.Errorf("list pools: %w", err)
	}
	all, err := parseProperties(out)
	if isCut(err) {
		return z.propertiesApart(ctx)
	}
	return all, err
}

// ownOptions have only those properties read that this package and package pool go by, of which none is a text of whoever made the pool: a user property, or the comment,
// may have any bytes.
func ownOptions() []string {
	return []string{
		"get", "-j", "--json-int", "-p", "size,allocated,free,expandsize,capacity,fragmentation,health,guid,readonly,ashift,autoexpand,autoreplace,autotrim,compatibility," +
			"dedup_table_quota,failmode,multihost,feature@raidz_expansion",
	}
}

// propertiesApart reads the properties of one pool after the other, so that a text which cuts those of one off hides no other.
func (z *Zpool) propertiesApart(ctx context.Context) (map[zfs.GUID]map[string]zfs.Property, error) {
	out, err := z.run(ctx, listOptions())
	if err != nil {
		return nil, fmt.Errorf("list pools: %w", err)
	}
	pools, err := parseList(out)
	if err != nil {
		return nil, err
	}
	all := map[zfs.GUID]map[string]zfs.Property{}
	for _, p := range pools {
		one, err := z.propertiesOf(ctx, p.Name, getOptions())
		if isCut(err) {
			one, err = z.propertiesOf(ctx, p.Name, ownOptions())
		}
		if err != nil && !errors.Is(err, zfs.ErrNotExist) { // it was exported meanwhile
			return nil, err
		}
		maps.Copy(all, one)
	}
	return all, nil
}

func (z *Zpool) propertiesOf(ctx context.Context, name string, options []string) (map[zfs.GUID]map[string]zfs.Property, error) {
	out, err := z.run(ctx, options, name)
	if err != nil {
		return nil, fmt.Errorf("read the properties of pool %s: %w", name, err)
	}
	return parseProperties(out)
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

// Size is how large a pool is and how full: a line of zpool list.
type Size struct {
	Name                                 string
	GUID                                 zfs.GUID
	State                                pool.State
	SizeBytes, AllocatedBytes, FreeBytes uint64
	// ExpandableBytes is what its disks have grown by.
	ExpandableBytes uint64
	// CapacityPercent and FragmentationPercent are -1 where zpool does not tell, as of a pool that cannot be used; its sizes are 0 then.
	CapacityPercent, FragmentationPercent int
}

func listOptions() []string {
	return []string{"list", "-j", "--json-int", "-p", "-o", "name,size,allocated,free,expandsize,capacity,fragmentation,health"}
}

// Size is that of one pool, whatever state the others are in: less than Pools, and cheap enough to be asked for often. One that is not imported is
// zfs.ErrNotExist.
func (z *Zpool) Size(ctx context.Context, name string) (Size, error) {
	out, err := z.run(ctx, listOptions(), name)
	if err != nil {
		return Size{}, fmt.Errorf("read the size of pool %s: %w", name, err)
	}
	sizes, err := parseList(out)
	if err != nil {
		return Size{}, err
	}
	if len(sizes) != 1 || sizes[0].Name != name {
		return Size{}, fmt.Errorf("read the size of pool %s: %w: zpool list has none of the name", name, zfs.ErrNotExist)
	}
	return sizes[0], nil
}

// parseList reads zpool list -j.
func parseList(data []byte) ([]Size, error) {
	var doc struct {
		Pools named[listed] `json:"pools"`
	}
	if err := decode(data, "list", &doc); err != nil {
		return nil, err
	}
	var sizes []Size
	for _, e := range doc.Pools {
		var p pool.Pool
		setProperties(&p, e.value.typed())
		sizes = append(sizes, Size{
			Name: e.value.Name, GUID: zfs.GUID(e.value.GUID), State: pool.State(e.value.State), SizeBytes: p.SizeBytes, AllocatedBytes: p.AllocatedBytes,
			FreeBytes: p.FreeBytes, ExpandableBytes: p.ExpandableBytes, CapacityPercent: p.CapacityPercent, FragmentationPercent: p.FragmentationPercent,
		})
	}
	return sizes, nil
}
