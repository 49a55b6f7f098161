package csi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
)

// Limits of a connection. Requests have a few fields of CSI's sizes, and volumes some.
const (
	maxRequestBytes = 256 << 10
	maxCalls        = 64
	// maxKubeletCalls is more than kubelet makes on one connection, which is one.
	maxKubeletCalls = 4
	// stopTimeout is how long calls under way may take after the context has ended.
	stopTimeout = 10 * time.Second
	// cancelTimeout is how long they may then take to end.
	cancelTimeout = 2 * time.Second
)

// Callers are who a socket is for, and so what can be asked there. They may be several.
type Callers uint

const (
	// Kubelet has the services Identity and Node.
	Kubelet Callers = 1 << iota
	// Controllers, which are external-provisioner and its like, have Identity, Controller and GroupController, and of Node what the node is.
	Controllers
)

// about is what of the Node service mounts nothing.
type about struct {
	spec.UnimplementedNodeServer
	driver *Driver
}

// NodeGetInfo implements the Node service.
func (a about) NodeGetInfo(ctx context.Context, r *spec.NodeGetInfoRequest) (*spec.NodeGetInfoResponse, error) {
	return a.driver.NodeGetInfo(ctx, r)
}

// NodeGetCapabilities implements the Node service.
func (a about) NodeGetCapabilities(ctx context.Context, r *spec.NodeGetCapabilitiesRequest) (*spec.NodeGetCapabilitiesResponse, error) {
	return a.driver.NodeGetCapabilities(ctx, r)
}

// mounting is the Node service for kubelet alone, which mounts what is there. By the time that kubelet asks for growth ControllerExpandVolume has been called by
// csi-controllers of this node, and the claim says what that has answered; more is asked for by somebody else who is root in the workload plane.
type mounting struct{ *Driver }

// NodeExpandVolume implements the Node service.
func (m mounting) NodeExpandVolume(ctx context.Context, r *spec.NodeExpandVolumeRequest) (*spec.NodeExpandVolumeResponse, error) {
	return m.expandAtNode(ctx, r, false)
}

// Serve answers callers on a listener, which it closes, until the context ends. Calls that are under way then get ten seconds, and are cancelled; one that goes on
// nevertheless, with a file system that is checked or made, is not waited for ([Driver.End]). It may be called for several listeners.
func (d *Driver) Serve(ctx context.Context, listener net.Listener, callers Callers) error {
	calls := uint32(maxCalls)
	if callers&Controllers == 0 {
		calls = maxKubeletCalls
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(d.intercept), grpc.MaxRecvMsgSize(maxRequestBytes), grpc.MaxConcurrentStreams(calls))
	spec.RegisterIdentityServer(s, d)
	if callers&Controllers != 0 {
		spec.RegisterControllerServer(s, d)
		spec.RegisterGroupControllerServer(s, d)
	}
	switch {
	case callers&Kubelet == 0:
		spec.RegisterNodeServer(s, about{driver: d})
	case callers&Controllers == 0:
		spec.RegisterNodeServer(s, mounting{d})
	default:
		spec.RegisterNodeServer(s, d)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve CSI on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	// Both wait for calls whose connection is closed (stop in server.go of grpc-go).
	late := time.AfterFunc(stopTimeout, s.Stop)
	defer late.Stop()
	go s.GracefulStop()
	select {
	case err := <-served:
		if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serve CSI on %s: %w", listener.Addr(), err)
		}
	case <-time.After(stopTimeout + cancelTimeout):
		d.Logger.Warn("a call goes on after the CSI driver has ended", "listener", listener.Addr())
	}
	return nil
}
