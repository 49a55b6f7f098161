package diagnose

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Kind is what is done.
type Kind string

// The kinds.
const (
	// Fault takes a device out, so that ZFS does not come back to it by itself.
	Fault Kind = "fault"
	// Degrade marks a device; see the package's comment.
	Degrade Kind = "mark as degraded"
	// UseSpare has a spare stand in for a device.
	UseSpare Kind = "use a spare for"
	// DetachSpare lets a spare go, whose device is well again.
	DetachSpare Kind = "detach the spare of"
	// Notice does nothing: a person should know.
	Notice Kind = "notice"
)

// Action is something to be done now.
type Action struct {
	Kind     Kind
	Pool     string
	PoolGUID zfs.GUID
	// Vdev and VdevGUID are the device that it is about; empty for a Notice on a whole pool.
	Vdev     string
	VdevGUID zfs.GUID
	// Spares are those to be tried, in order; of DetachSpare the one to be detached.
	Spares []pool.Vdev
	// Why is the reason, for a person.
	Why string
}

// String is for logs and tests.
func (a Action) String() string {
	text := string(a.Kind)
	if a.Vdev != "" {
		text += " " + a.Vdev
	}
	text += " in pool " + a.Pool
	for i, s := range a.Spares {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		text += sep + s.Name
	}
	return text + " (" + a.Why + ")"
}

// Apply carries an action out. Of several spares the first that is large enough is taken.
func Apply(ctx context.Context, pools pool.Pools, a Action) error {
	switch a.Kind {
	case Fault:
		return a.failed(pools.Offline(ctx, a.Pool, a.VdevGUID.String(), true))
	case UseSpare:
		var errs []error
		for _, s := range a.Spares {
			err := pools.Replace(ctx, a.Pool, a.VdevGUID.String(), s.Path)
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		}
		return a.failed(errors.Join(errs...))
	case DetachSpare:
		for _, s := range a.Spares {
			if err := pools.Detach(ctx, a.Pool, s.GUID.String()); err != nil && !errors.Is(err, zfs.ErrNotExist) {
				return a.failed(err)
			}
		}
	}
	return nil
}

func (a Action) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", a, err)
}
