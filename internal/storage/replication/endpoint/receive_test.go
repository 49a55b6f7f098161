package endpoint

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// silent is a system whose pool does not answer.
type silent struct{ zfs.System }

func (silent) List(ctx context.Context, _ zfs.Query) ([]zfs.Dataset, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestArrivedEnds: what has arrived is held though the request is over by now, and not for ever where the pool does not answer.
func TestArrivedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := New(silent{}, nil).arrived(ctx, replication.ReceiveRequest{FileSystem: "tank/r", To: 1}, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of its own time", err)
		}
	})
}
