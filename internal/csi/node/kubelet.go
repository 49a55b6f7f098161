package node

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/csi/registrar"
)

// listen makes the driver's socket for kubelet.
func (r *Runner) listen() (net.Listener, error) {
	for _, dir := range []string{pluginsDir, driverDir, registrar.Directory} { // kubelet makes the first and the last, when it first starts
		if err := r.Kubelet.MakeDirectory(dir); err != nil {
			return nil, err
		}
	}
	return r.Kubelet.Listen(driverSocket)
}

// serveKubelet answers kubelet, on another socket when the one is gone: others than the node can remove it, and who listens on it does not notice. Nothing else ends
// for that, since they could have it so all the time.
func (r *Runner) serveKubelet(ctx context.Context, d *csi.Driver, t *teller, listener net.Listener) error {
	for {
		serving, stop := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() {
			defer stop()
			r.awaitGone(serving)
		})
		err := d.Serve(serving, r.Guard(listener), csi.Kubelet)
		stop()
		watch.Wait()
		if err != nil || ctx.Err() != nil {
			return err
		}
		r.Logger.Warn("the CSI driver's socket for kubelet is gone, and is made again", "socket", driverSocket)
		if listener, err = r.listenAgain(ctx, t); err != nil {
			return err
		}
	}
}

// awaitGone returns when the driver's socket for kubelet is gone, or ctx ends.
func (r *Runner) awaitGone(ctx context.Context) {
	look := time.NewTicker(r.Look)
	defer look.Stop()
	for r.Kubelet.Present(driverSocket) {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// listenAgain tries until there is a socket, and says why there is none. The error is that of ctx.
func (r *Runner) listenAgain(ctx context.Context, t *teller) (net.Listener, error) {
	for {
		listener, err := r.listen()
		if err == nil {
			t.hinder("")
			return listener, nil
		}
		t.hinder("make the CSI driver's socket for kubelet again: " + err.Error())
		select {
		case <-time.After(r.Pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// registrar makes what registers a driver with kubelet.
func (r *Runner) registrar(d *csi.Driver, t *teller) *registrar.Registrar {
	return registrar.New(registrar.Config{
		Driver: csi.Name, Endpoint: r.Driver.KubeletDir + "/" + driverSocket, Socket: registry{r.Kubelet, r.Guard}, Topology: d.NodeTopology,
		Look: r.Look, Pause: r.Pause, Logger: r.Logger,
		Told: func(why error) {
			if why == nil {
				t.tell(Status{Ready: true})
				return
			}
			t.tell(Status{Reason: "waiting for kubelet to take the CSI driver: " + why.Error()})
		},
	})
}

// registry is the socket in kubelet's registry.
type registry struct {
	dir   Directory
	guard func(net.Listener) net.Listener
}

// Listen implements registrar.Socket.
func (r registry) Listen() (net.Listener, error) {
	l, err := r.dir.Listen(registrySocket)
	if err != nil {
		return nil, err
	}
	return r.guard(l), nil
}

// Present implements registrar.Socket.
func (r registry) Present() bool { return r.dir.Present(registrySocket) }

// Remove implements registrar.Socket.
func (r registry) Remove() error { return r.dir.Remove(context.Background(), registrySocket) }
