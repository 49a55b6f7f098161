package csi

import (
	"context"
	"fmt"
	"net"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/kubernetes-csi/csi-lib-utils/connection"
	"github.com/kubernetes-csi/csi-lib-utils/rpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"k8s.io/klog/v2"
)

const (
	// askTimeout is for a question that the driver answers out of its head.
	askTimeout = time.Minute
	// workTimeout is for one attempt of what may take: the driver goes on where an attempt ended.
	workTimeout = 2 * time.Minute
	// lookEvery and sayEvery are for a driver that is not there yet: how often it is looked for, and how often the log says so.
	lookEvery, sayEvery = 2 * time.Second, time.Minute
)

// driver is the CSI driver and what it said of itself.
type driver struct {
	socket, name string
	conn         *grpc.ClientConn
	plugin       rpc.PluginCapabilitySet
	controller   rpc.ControllerCapabilitySet
	// groups says that it makes snapshots of groups of volumes.
	groups bool
	// node is what it says of the node that it is on.
	node *spec.NodeGetInfoResponse
}

// connect waits for a driver to listen at a socket and to be ready, and asks what it can.
func connect(ctx context.Context, socket string) (*driver, error) {
	d := &driver{socket: socket}
	err := await(ctx, socket)
	if err == nil {
		d.conn, err = connection.Connect(ctx, socket, nil) // without metrics, which nobody could fetch
	}
	if err != nil {
		return nil, fmt.Errorf("connect to CSI driver at %s: %w", socket, err)
	}
	if err := rpc.ProbeForever(ctx, d.conn, askTimeout); err != nil {
		return nil, fmt.Errorf("wait for CSI driver at %s to be ready: %w", socket, err)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := d.ask(ctx); err != nil {
		return nil, fmt.Errorf("ask CSI driver at %s: %w", socket, err)
	}
	return d, nil
}

// await returns when somebody listens at a socket, or with the error of ctx. gRPC would wait, too, and write a line to the log with each attempt.
func await(ctx context.Context, socket string) error {
	for said := (time.Time{}); ; {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return conn.Close()
		}
		if time.Since(said) >= sayEvery {
			klog.InfoS("Waiting for the CSI driver", "socket", socket, "reason", err)
			said = time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// watch ends the process when the connection to the driver is lost; it returns when ctx ends. The library's way of telling (connection.OnConnectionLoss) is not
// enough: it is called when gRPC connects anew, which it does for the next call only.
func (d *driver) watch(ctx context.Context) {
	if d.conn.WaitForStateChange(ctx, connectivity.Ready) {
		klog.InfoS("The CSI driver ended the connection; ending, to begin anew with the next one", "socket", d.socket)
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
}

func (d *driver) ask(ctx context.Context) (err error) {
	if d.name, err = rpc.GetDriverName(ctx, d.conn); err != nil {
		return fmt.Errorf("for its name: %w", err)
	}
	if d.plugin, err = rpc.GetPluginCapabilities(ctx, d.conn); err != nil {
		return fmt.Errorf("for its services: %w", err)
	}
	if d.controller, err = rpc.GetControllerCapabilities(ctx, d.conn); err != nil {
		return fmt.Errorf("for what its controller can: %w", err)
	}
	if d.plugin[spec.PluginCapability_Service_GROUP_CONTROLLER_SERVICE] {
		set, err := rpc.GetGroupControllerCapabilities(ctx, d.conn)
		if err != nil {
			return fmt.Errorf("for what it can do with groups: %w", err)
		}
		d.groups = set[spec.GroupControllerServiceCapability_RPC_CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT]
	}
	if d.node, err = spec.NewNodeClient(d.conn).NodeGetInfo(ctx, &spec.NodeGetInfoRequest{}); err != nil {
		return fmt.Errorf("for its node: %w", err)
	}
	return nil
}

// can reports whether the driver's controller has a capability.
func (d *driver) can(capability spec.ControllerServiceCapability_RPC_Type) bool {
	return d.controller[capability]
}
