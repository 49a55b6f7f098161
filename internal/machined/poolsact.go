package machined

import (
	"context"
	"fmt"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Scrub implements server.Pools.
func (v poolsAPI) Scrub(ctx context.Context, name string, action poolv1.ScrubAction) error {
	p, err := v.acting(ctx, name)
	if err != nil {
		return err
	}
	control, scan := v.a.cfg.Pools.Control, p.Scan
	goes := scan.Active() && scan.Function == pool.Scrub
	no := func(why string) error { return fmt.Errorf("scrub pool %s: %w: %s", name, server.ErrPrecondition, why) }
	switch {
	case p.State == pool.Suspended: // the kernel would have the program wait, and not let it be ended (ZFS_IOC_POOL_SCRUB in module/zfs/zfs_ioctl.c, OpenZFS 2.3.9: POOL_CHECK_NONE)
		return no("all its I/O has stopped; bring its devices back, then clear its errors")
	case scan.Resilvers():
		return no("its redundancy is being restored, which reads all of it too; wait until that is done")
	case action == poolv1.ScrubAction_SCRUB_ACTION_START && goes && scan.Paused.IsZero():
		return no("it is being scrubbed already")
	case action != poolv1.ScrubAction_SCRUB_ACTION_START && !goes:
		return no("it is not being scrubbed")
	case action == poolv1.ScrubAction_SCRUB_ACTION_PAUSE && !scan.Paused.IsZero():
		return no("its scrub is paused already")
	}
	do := map[poolv1.ScrubAction]func(context.Context, string) error{
		poolv1.ScrubAction_SCRUB_ACTION_START: control.Scrub, poolv1.ScrubAction_SCRUB_ACTION_PAUSE: control.PauseScrub,
		poolv1.ScrubAction_SCRUB_ACTION_STOP: control.StopScrub,
	}[action]
	if do == nil {
		return fmt.Errorf("scrub pool %s: %w: action %s", name, server.ErrInvalid, action)
	}
	return v.acted(name, action.String(), do(ctx, name))
}

// Trim implements server.Pools.
func (v poolsAPI) Trim(ctx context.Context, name string, action poolv1.TrimAction) error {
	p, err := v.acting(ctx, name)
	if err != nil {
		return err
	}
	var able, runs, paused bool
	for _, leaf := range p.Leaves() {
		able = able || !leaf.TrimUnsupported
		runs = runs || leaf.Trim.Progress == pool.Running
		paused = paused || leaf.Trim.Progress == pool.Halted
	}
	no := func(why string) error { return fmt.Errorf("trim pool %s: %w: %s", name, server.ErrPrecondition, why) }
	switch {
	case !able:
		return no("none of its disks can be told what is free")
	case action == poolv1.TrimAction_TRIM_ACTION_START && runs:
		return no("it is being trimmed already")
	case action == poolv1.TrimAction_TRIM_ACTION_PAUSE && !runs, action == poolv1.TrimAction_TRIM_ACTION_STOP && !runs && !paused:
		return no("it is not being trimmed")
	}
	control := v.a.cfg.Pools.Control
	do := map[poolv1.TrimAction]func(context.Context, string) error{
		poolv1.TrimAction_TRIM_ACTION_START: control.Trim, poolv1.TrimAction_TRIM_ACTION_PAUSE: control.SuspendTrim,
		poolv1.TrimAction_TRIM_ACTION_STOP: control.CancelTrim,
	}[action]
	if do == nil {
		return fmt.Errorf("trim pool %s: %w: action %s", name, server.ErrInvalid, action)
	}
	return v.acted(name, action.String(), do(ctx, name))
}

// Clear implements server.Pools.
func (v poolsAPI) Clear(ctx context.Context, name, device string) error {
	p, err := v.acting(ctx, name)
	if err != nil {
		return err
	}
	vdev := ""
	if device != "" {
		leaf, err := p.Device(device)
		if err != nil {
			return poolClassed(err)
		}
		vdev = leaf.GUID.String()
	}
	return v.acted(name, "errors cleared", v.a.cfg.Pools.Control.Clear(ctx, name, vdev))
}

// Offline implements server.Pools. What ZFS would refuse itself is refused before, with the reason.
func (v poolsAPI) Offline(ctx context.Context, name, device, confirm string) (int, error) {
	p, err := v.acting(ctx, name)
	if err != nil {
		return 0, err
	}
	leaf, err := p.Device(device)
	if err != nil {
		return 0, poolClassed(err)
	}
	left, err := p.Without(leaf)
	switch {
	case err != nil:
		return 0, poolClassed(err)
	case left == 0 && confirm != name:
		return 0, fmt.Errorf("take %s out of pool %s: %w: its vdev has no redundancy left then, and an error of another device loses data; "+
			"have the pool's name confirm it, %q", leaf.Name, name, server.ErrPrecondition, name)
	}
	return left, v.acted(name, "offline "+leaf.Name, v.a.cfg.Pools.Control.Offline(ctx, name, leaf.GUID.String(), false))
}

// Online implements server.Pools. One that was taken out as faulty is cleared first: zpool online alone leaves it so (zpool_do_online in
// cmd/zpool/zpool_main.c, 2.3.9). One whose disk was written to without the pool is refused: what it has would be lost, and somebody has to give that up first.
func (v poolsAPI) Online(ctx context.Context, name, device string) error {
	p, err := v.acting(ctx, name)
	if err != nil {
		return err
	}
	leaf, err := p.Device(device)
	if err != nil {
		return poolClassed(err)
	}
	if own := v.keptOut(name, leaf.GUID); own != "" {
		return fmt.Errorf("bring %s of pool %s online: %w: %s; it is kept out of the pool until that is confirmed", leaf.Name, name, server.ErrPrecondition, own)
	}
	control := v.a.cfg.Pools.Control
	if leaf.State == pool.Faulted {
		if err := control.Clear(ctx, name, leaf.GUID.String()); err != nil {
			return poolClassed(err)
		}
	}
	return v.acted(name, "online "+leaf.Name, control.Online(ctx, name, leaf.GUID.String(), false))
}

// keptOut says what is lost of a device that is kept out of a pool, as it was looked at last; empty if it is not.
func (v poolsAPI) keptOut(name string, device zfs.GUID) string {
	for _, p := range v.a.snapshot().pools.Status.Pools {
		for _, o := range p.Waiting {
			if p.Name == name && o.Verb == pool.WipeDisk && o.VdevGUID == device {
				return o.Loss()
			}
		}
	}
	return ""
}
