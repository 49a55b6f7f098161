package zpool

import "context"

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
