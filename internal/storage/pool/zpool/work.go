package zpool

import (
	"context"
	"fmt"
)

// Scrub implements pool.Pools. One that is paused goes on.
func (z *Zpool) Scrub(ctx context.Context, name string) error {
	return z.do(ctx, []string{"scrub"}, name)
}

// PauseScrub and StopScrub act on a scrub that goes on.
func (z *Zpool) PauseScrub(ctx context.Context, name string) error {
	return z.do(ctx, []string{"scrub", "-p"}, name)
}

// StopScrub ends a scrub; the next begins at the beginning.
func (z *Zpool) StopScrub(ctx context.Context, name string) error {
	return z.do(ctx, []string{"scrub", "-s"}, name)
}

// Trim implements pool.Pools.
func (z *Zpool) Trim(ctx context.Context, name string) error {
	return z.do(ctx, []string{"trim"}, name)
}

// SuspendTrim stops a trim so that Trim goes on with it; CancelTrim ends it.
func (z *Zpool) SuspendTrim(ctx context.Context, name string) error {
	return z.do(ctx, []string{"trim", "-s"}, name)
}

// CancelTrim ends a trim.
func (z *Zpool) CancelTrim(ctx context.Context, name string) error {
	return z.do(ctx, []string{"trim", "-c"}, name)
}

// Initialize writes to all that is free of devices, or of all where none is named, so that a thin disk has its room and a bad one shows itself.
func (z *Zpool) Initialize(ctx context.Context, name string, vdevs ...string) error {
	return z.do(ctx, []string{"initialize"}, append([]string{name}, vdevs...)...)
}

// Activity is what Wait waits for (zpool-wait(8)).
type Activity string

// The activities.
const (
	Discarding   Activity = "discard"
	Freeing      Activity = "free"
	Initializing Activity = "initialize"
	Replacing    Activity = "replace"
	Removing     Activity = "remove"
	Resilvering  Activity = "resilver"
	Scrubbing    Activity = "scrub"
	Trimming     Activity = "trim"
	Expanding    Activity = "raidz_expand"
)

// Wait returns when an activity has ended, in whatever way.
func (z *Zpool) Wait(ctx context.Context, name string, a Activity) error {
	return z.do(ctx, []string{"wait", "-t", string(a)}, name)
}

// LabelClear takes the label of ZFS off a device that no imported pool has. What else is on it stays. It does not force: an exported pool's device is refused.
func (z *Zpool) LabelClear(ctx context.Context, device string) error {
	return z.do(ctx, []string{"labelclear"}, device)
}

// Upgrade enables all features that the pool's compatibility allows. An older OpenZFS may not open the pool afterwards.
func (z *Zpool) Upgrade(ctx context.Context, name string) error {
	return z.do(ctx, []string{"upgrade"}, name)
}

// Checkpoint keeps the state of a pool, to be rewound to; DiscardCheckpoint lets go of it.
func (z *Zpool) Checkpoint(ctx context.Context, name string) error {
	return z.do(ctx, []string{"checkpoint"}, name)
}

// DiscardCheckpoint frees what a checkpoint keeps, in the background.
func (z *Zpool) DiscardCheckpoint(ctx context.Context, name string) error {
	return z.do(ctx, []string{"checkpoint", "-d"}, name)
}

// History returns the commands that have changed a pool.
func (z *Zpool) History(ctx context.Context, name string) ([]Command, error) {
	out, err := z.run(ctx, []string{"history", "-l"}, name)
	if err != nil {
		return nil, fmt.Errorf("read the history of pool %s: %w", name, err)
	}
	return parseHistory(out), nil
}
