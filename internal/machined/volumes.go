package machined

import (
	"context"
	"reflect"
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
		spec := *s.desired.CSI
		var away atomic.Pointer[[]string]
		away.Store(&spec.Away)
		var watch sync.WaitGroup
		defer watch.Wait()
		watch.Go(func() {
			defer stop()
			a.awaitOtherVolumes(serving, spec, &away)
		})
		a.cfg.CSI.Run(serving, spec, func() []string { return *away.Load() }, func(status csi.Status) {
			a.update(func(s *snapshot) { s.csi = status })
		})
		stop()
	})
}

// awaitOtherVolumes returns when the driver is to be another, or ctx ends. Where volumes may be besides is handed over meanwhile: for a pool that has none, the driver is
// not begun anew, which would end the check of a file system that has gone on for hours.
func (a *Agent) awaitOtherVolumes(ctx context.Context, spec csi.Spec, away *atomic.Pointer[[]string]) {
	var version uint64
	for ctx.Err() == nil {
		s, v, err := a.store.Watch(ctx, version)
		if err != nil {
			return
		}
		if s.desired.CSI != nil {
			wanted := *s.desired.CSI
			if wanted.Away = spec.Away; !reflect.DeepEqual(wanted, spec) {
				return // this driver does not look in the pools of the next, and so keeps to where volumes may be for it
			}
			away.Store(&s.desired.CSI.Away)
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
