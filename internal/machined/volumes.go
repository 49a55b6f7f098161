package machined

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	csi "github.com/cyvive/cyvive/internal/csi/node"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// serveVolumes runs the CSI driver from when volumes are wanted for the first time, and begins it anew when it is to be another. That Kubernetes is held back for a
// while is no reason to end it: pods run on, and need their volumes.
func (a *Agent) serveVolumes(ctx context.Context) error {
	if a.cfg.CSI == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	a.update(func(s *snapshot) { s.drives = true })
	return a.whenever(ctx, func(s snapshot) bool { return s.desired.CSI != nil }, func(s snapshot) {
		serving, stop := context.WithCancel(ctx)
		defer stop()
		var now atomic.Pointer[csi.Spec]
		now.Store(s.desired.CSI)
		var watch sync.WaitGroup
		defer watch.Wait()
		watch.Go(func() {
			defer stop()
			a.awaitOtherVolumes(serving, &now)
		})
		a.cfg.CSI.Run(serving, *s.desired.CSI, func() csi.Spec { return *now.Load() }, func(status csi.Status) {
			a.update(func(s *snapshot) { s.csi = status })
		})
		stop()
	})
}

// awaitOtherVolumes returns when the driver is to be another, or ctx ends. Where volumes are made in one pool more, and where they may be besides, is handed over
// meanwhile: for that the driver is not begun anew, which would end the check of a file system that has gone on for hours.
func (a *Agent) awaitOtherVolumes(ctx context.Context, now *atomic.Pointer[csi.Spec]) {
	var version uint64
	for ctx.Err() == nil {
		s, v, err := a.store.Watch(ctx, version)
		if err != nil {
			return
		}
		if wanted := s.desired.CSI; wanted != nil {
			if !takesOver(*now.Load(), *wanted) {
				return // a pool is not taken from this driver while it runs: its calls, and what it checks, would keep that from being exported
			}
			now.Store(wanted)
		}
		version = v
	}
}

// takesOver says whether a driver can go over to another spec while it runs.
func takesOver(from, to csi.Spec) bool {
	for _, parent := range from.Parents {
		if !slices.Contains(to.Parents, parent) {
			return false
		}
	}
	from.Parents, from.Away = to.Parents, to.Away
	return reflect.DeepEqual(from, to)
}

// volumesHealth is in order when pods can have persistent volumes mounted. There is no such check where nobody of the node's makes any.
func volumesHealth(s snapshot) []server.Check {
	c := s.input.Config
	if c == nil || c.Cluster == nil || c.Cluster.Volumes != config.VolumesZFS {
		return nil
	}
	if !s.drives {
		return []server.Check{check("volumes", false, "volumes of ZFS are configured, and this node has no CSI driver")}
	}
	return []server.Check{check("volumes", s.csi.Ready, first(s.csi.Reason, "waiting for Kubernetes"))}
}
