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
	// stopTimeout is how long calls under way may take after the context has ended.
	stopTimeout = 10 * time.Second
)

// Serve answers on a listener, which it closes, until the context ends. Calls that are under way then get ten seconds, and are cancelled.
func (d *Driver) Serve(ctx context.Context, listener net.Listener) error {
	s := grpc.NewServer(grpc.UnaryInterceptor(d.intercept), grpc.MaxRecvMsgSize(maxRequestBytes), grpc.MaxConcurrentStreams(maxCalls))
	spec.RegisterIdentityServer(s, d)
	spec.RegisterControllerServer(s, d)
	spec.RegisterGroupControllerServer(s, d)
	spec.RegisterNodeServer(s, d)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve CSI on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	late := time.AfterFunc(stopTimeout, s.Stop)
	s.GracefulStop()
	late.Stop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve CSI on %s: %w", listener.Addr(), err)
	}
	return nil
}
