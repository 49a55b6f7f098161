package server

import (
	"context"
	"time"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
)

// Pools are the node's ZFS pools, in the messages of the API. Safe for concurrent use.
// On a node without OpenZFS every method is ErrPrecondition. A pool that is not
// imported, or a device that it does not have, is ErrNotFound; what the state of a pool
// does not allow is ErrPrecondition.
type Pools interface {
	// List is ErrUnavailable until the node has looked at its pools once; Importable and
	// Plan are also while it is at work on them.
	List(ctx context.Context) (*poolv1.ListResponse, error)
	Importable(ctx context.Context) (*poolv1.ListImportableResponse, error)
	Plan(ctx context.Context) (*poolv1.PlanResponse, error)
	// Confirm allows one operation, by its text. By is the caller's common name.
	// ErrPrecondition where no such operation waits.
	Confirm(ctx context.Context, pool, operation, by string) error
	Scrub(ctx context.Context, pool string, action poolv1.ScrubAction) error
	Trim(ctx context.Context, pool string, action poolv1.TrimAction) error
	// Clear is for all of the pool where device is empty.
	Clear(ctx context.Context, pool, device string) error
	// Offline returns how many devices of the vdev can fail from then on without a loss
	// of data. Where that is none, it is ErrPrecondition unless confirm is the pool's
	// name; where data would be lost at once, it always is.
	Offline(ctx context.Context, pool, device, confirm string) (redundancy int, err error)
	Online(ctx context.Context, pool, device string) error
	// Cache is how the ARC is.
	Cache(ctx context.Context) (*poolv1.GetCacheResponse, error)
	// Events calls send for each event, oldest first, from one goroutine. The end of the
	// context and send's error are as in Dmesg.
	Events(ctx context.Context, o PoolEventOptions, send func(*poolv1.StreamEventsResponse) error) error
}

// PoolEventOptions says which events of pools are wanted.
type PoolEventOptions struct {
	StreamOptions
	// AfterID and AfterTime are those of the last event that the caller has; zero for
	// none.
	AfterID   uint64
	AfterTime time.Time
}
