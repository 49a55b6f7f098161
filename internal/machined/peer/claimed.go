package peer

import (
	"context"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// claimed is the system for a request of a job. What changes a dataset is under way as a stream is: it ends when this node needs its datasets for itself,
// and does not begin then, though the request was let through before. Holds and bookmarks are in nobody's way, and what has just arrived is still held.
type claimed struct {
	zfs.System
	guard *Guard
	id    string
}

func (c claimed) change(ctx context.Context, do func(context.Context) error) error {
	ctx, end := c.guard.stream(ctx, c.id)
	defer end()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return do(ctx)
}

// Create implements zfs.System.
func (c claimed) Create(ctx context.Context, name string, o zfs.CreateOptions) error {
	return c.change(ctx, func(ctx context.Context) error { return c.System.Create(ctx, name, o) })
}

// Set implements zfs.System.
func (c claimed) Set(ctx context.Context, name string, properties map[string]string) error {
	return c.change(ctx, func(ctx context.Context) error { return c.System.Set(ctx, name, properties) })
}

// Inherit implements zfs.System.
func (c claimed) Inherit(ctx context.Context, name, property string) error {
	return c.change(ctx, func(ctx context.Context) error { return c.System.Inherit(ctx, name, property) })
}

// Rename implements zfs.System.
func (c claimed) Rename(ctx context.Context, from, to string) error {
	return c.change(ctx, func(ctx context.Context) error { return c.System.Rename(ctx, from, to) })
}

// Rollback implements zfs.System.
func (c claimed) Rollback(ctx context.Context, snapshot string) error {
	return c.change(ctx, func(ctx context.Context) error { return c.System.Rollback(ctx, snapshot) })
}

// DestroySnapshots implements zfs.System.
func (c claimed) DestroySnapshots(ctx context.Context, names []string) error {
	return c.change(ctx, func(ctx context.Context) error { return c.System.DestroySnapshots(ctx, names) })
}

// Snapshot implements zfs.System.
func (c claimed) Snapshot(ctx context.Context, names []string, userProperties map[string]string) error {
	return c.change(ctx, func(ctx context.Context) error { return c.System.Snapshot(ctx, names, userProperties) })
}

// AbortReceive implements zfs.System.
func (c claimed) AbortReceive(ctx context.Context, name string) error {
	return c.change(ctx, func(ctx context.Context) error { return c.System.AbortReceive(ctx, name) })
}
