package node

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/csi"
)

// serveControllers answers csi-controllers, and cuts it off whenever the topology of the node has changed.
func (r *Runner) serveControllers(ctx context.Context, d *csi.Driver) error {
	for {
		topology, err := d.NodeTopology(ctx)
		if err != nil {
			return fmt.Errorf("read the node's topology: %w", err)
		}
		listener, err := r.Controllers()
		if err != nil {
			return err
		}
		serving, stop := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() {
			defer stop()
			r.awaitChange(serving, d, topology)
		})
		err = d.Serve(serving, listener, csi.Controllers)
		stop()
		watch.Wait()
		if err != nil || ctx.Err() != nil {
			return err
		}
		r.Logger.Info("csi-controllers has to ask the CSI driver again", "because", "the node's topology has changed")
	}
}

// awaitChange returns when the topology is another, or ctx ends.
func (r *Runner) awaitChange(ctx context.Context, d *csi.Driver, was map[string]string) {
	look := time.NewTicker(r.Look)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if now, err := d.NodeTopology(ctx); err == nil && !maps.Equal(now, was) {
			return
		}
	}
}
