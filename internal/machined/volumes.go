package machined

import (
	"context"
	"reflect"
	"sync"

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
		var watch sync.WaitGroup
		defer watch.Wait()
		watch.Go(func() {
			defer stop()
			a.awaitOtherVolumes(serving, *s.desired.CSI)
		})
		a.cfg.CSI.Run(serving, *s.desired.CSI, func(status csi.Status) {
			a.update(func(s *snapshot) { s.csi = status })
		})
		stop()
	})
}

// awaitOtherVolumes returns when the driver is to be another, or ctx ends.
func (a *Agent) awaitOtherVolumes(ctx context.Context, spec csi.Spec) {
	var version uint64
	for ctx.Err() == nil {
		s, v, err := a.store.Watch(ctx, version)
		if err != nil || s.desired.CSI != nil && !reflect.DeepEqual(*s.desired.CSI, spec) {
			return
		}
		version = v
	}
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
