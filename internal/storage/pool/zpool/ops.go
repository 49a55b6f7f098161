package zpool

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/pool"
)

// assignments are properties as options, in the order of their names.
func assignments(option string, properties map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		out = append(out, option, name+"="+properties[name])
	}
	return out
}

// vdevs are groups as zpool takes them. The word of a class comes once, before all of it (construct_spec in cmd/zpool/zpool_vdev.c refuses a second "log"), and
// single disks before the rest: what follows a mirror or RAIDZ is taken for one more disk of it.
func vdevs(groups []pool.Group) []string {
	var out []string
	for _, class := range []pool.Class{pool.Normal, pool.Special, pool.Dedup, pool.Log, pool.Cache, pool.Spare} {
		var single, others []string
		for _, g := range groups {
			switch {
			case g.Class != class:
			case g.Layout == pool.Single:
				single = append(single, g.Devices...)
			default:
				others = append(append(others, string(g.Layout)), g.Devices...)
			}
		}
		if class != pool.Normal && len(single)+len(others) > 0 {
			out = append(out, string(class))
		}
		out = append(append(out, single...), others...)
	}
	return out
}

// Create implements pool.Pools. It forces (-f), since zpool takes vdevs of different redundancy for a mistake, and here they were declared; that its devices hold
// nothing was seen to by whoever prepared them, and the kernel opens none that is in use.
func (z *Zpool) Create(ctx context.Context, c pool.Creation) error {
	options := append([]string{"create", "-f", "-o", "cachefile=none"}, assignments("-o", c.Properties)...)
	options = append(options, assignments("-O", c.FileSystem)...)
	return z.do(ctx, options, append([]string{c.Pool}, vdevs(c.Groups)...)...)
}

// Import implements pool.Pools.
func (z *Zpool) Import(ctx context.Context, i pool.Import) error {
	places, err := where(i.Devices)
	if err != nil {
		return err
	}
	options := []string{"import", "-N", "-o", "cachefile=none"}
	if i.ReadOnly {
		options = append(options, "-o", "readonly=on")
	}
	if i.Force {
		options = append(options, "-f")
	}
	if i.WithoutLog {
		options = append(options, "-m")
	}
	if i.Rewind {
		options = append(options, "-F")
	}
	operands := []string{i.GUID.String()}
	if i.Name != "" {
		operands = append(operands, i.Name)
	}
	return z.do(ctx, append(options, places...), operands...)
}

// Export implements pool.Pools.
func (z *Zpool) Export(ctx context.Context, name string) error {
	return z.do(ctx, []string{"export"}, name)
}

// Destroy implements pool.Pools.
func (z *Zpool) Destroy(ctx context.Context, name string) error {
	return z.do(ctx, []string{"destroy"}, name)
}

// Set implements pool.Pools.
func (z *Zpool) Set(ctx context.Context, name, property, value string) error {
	return z.do(ctx, []string{"set"}, property+"="+value, name)
}

// SetPath implements pool.Pools: vdevprops(7), "path", which has to begin with /dev/ (vdev_prop_set in module/zfs/vdev.c).
func (z *Zpool) SetPath(ctx context.Context, name, vdev, device string) error {
	return z.do(ctx, []string{"set"}, "path="+device, name, vdev)
}

// Add implements pool.Pools. That the redundancy is another than that of the other vdevs is no mistake here either.
func (z *Zpool) Add(ctx context.Context, name string, groups []pool.Group) error {
	return z.do(ctx, []string{"add", "--allow-replication-mismatch"}, append([]string{name}, vdevs(groups)...)...)
}

// Attach implements pool.Pools.
func (z *Zpool) Attach(ctx context.Context, name, vdev, device string) error {
	return z.do(ctx, []string{"attach"}, name, vdev, device)
}

// Detach implements pool.Pools.
func (z *Zpool) Detach(ctx context.Context, name, vdev string) error {
	return z.do(ctx, []string{"detach"}, name, vdev)
}

// Replace implements pool.Pools.
func (z *Zpool) Replace(ctx context.Context, name, vdev, device string) error {
	return z.do(ctx, []string{"replace"}, name, vdev, device)
}

// Remove implements pool.Pools.
func (z *Zpool) Remove(ctx context.Context, name, vdev string) error {
	return z.do(ctx, []string{"remove"}, name, vdev)
}

// Offline implements pool.Pools. A fault that is set so (-f) stays through imports until it is cleared (zpool-offline(8)).
func (z *Zpool) Offline(ctx context.Context, name, vdev string, fault bool) error {
	options := []string{"offline"}
	if fault {
		options = append(options, "-f")
	}
	return z.do(ctx, options, name, vdev)
}

// OfflineForNow implements pool.Pools.
func (z *Zpool) OfflineForNow(ctx context.Context, name, vdev string) error {
	return z.do(ctx, []string{"offline", "-t"}, name, vdev)
}

// staysOut is what zpool_do_online (cmd/zpool/zpool_main.c, 2.3.9) says on its standard output of a device that is not well behind it. It ends well.
const staysOut = "onlined, but remains in faulted state"

// Online implements pool.Pools.
func (z *Zpool) Online(ctx context.Context, name, vdev string, expand bool) error {
	options := []string{"online"}
	if expand {
		options = append(options, "-e")
	}
	out, err := z.run(ctx, options, name, vdev)
	if strings.Contains(string(out), staysOut) {
		return fmt.Errorf("bring %s of pool %s online: it %w", vdev, name, pool.ErrStaysOut)
	}
	return err
}

// Clear implements pool.Pools.
func (z *Zpool) Clear(ctx context.Context, name, vdev string) error {
	operands := []string{name}
	if vdev != "" {
		operands = append(operands, vdev)
	}
	return z.do(ctx, []string{"clear"}, operands...)
}
