package node

import (
	"context"
	"net"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/csi/registrar"
)

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
