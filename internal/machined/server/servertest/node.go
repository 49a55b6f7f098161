// Package servertest runs the node API in a test: the real server and TLS on a
// loopback port, over a node that is a value.
package servertest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// Node is a node made of what its fields say. It implements everything the
// server needs; calls are counted. Set the fields before it serves.
type Node struct {
	VersionValue    server.Version
	Checks          []server.Check
	NodeValue       server.Node
	Records         []server.Record
	ServiceList     []server.Service
	Lines           map[string][]string
	ContainerList   []server.Container
	BootList        []server.Boot
	KubeconfigValue server.Kubeconfig
	// Err is returned by every call, if it is set.
	Err error
	// OnPower is called by Reboot and Shutdown, if it is set.
	OnPower func(n *Node)

	mu    sync.Mutex
	calls []string
}

var (
	_ server.Machine    = (*Node)(nil)
	_ server.Services   = (*Node)(nil)
	_ server.Containers = (*Node)(nil)
	_ server.Boots      = (*Node)(nil)
	_ server.Logs       = Logs{}
	_ server.Dmesg      = Dmesg{}
	_ server.Kube       = (*Node)(nil)
)

func (n *Node) called(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, name)
	return n.Err
}

// Calls returns the calls that reached the node so far, in order.
func (n *Node) Calls() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.calls)
}

// Change runs f while no call looks at the node.
func (n *Node) Change(f func(n *Node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

// Version implements server.Machine.
func (n *Node) Version(context.Context) (server.Version, error) {
	err := n.called("version")
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.VersionValue, err
}

// Health implements server.Machine.
func (n *Node) Health(context.Context) ([]server.Check, error) {
	err := n.called("health")
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.Checks), err
}

// Node implements server.Machine.
func (n *Node) Node(context.Context) (server.Node, error) {
	err := n.called("node")
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.NodeValue, err
}

// Reboot implements server.Machine.
func (n *Node) Reboot(context.Context) error { return n.power("reboot") }

// Shutdown implements server.Machine.
func (n *Node) Shutdown(context.Context) error { return n.power("shutdown") }

func (n *Node) power(name string) error {
	if err := n.called(name); err != nil {
		return err
	}
	if n.OnPower != nil {
		n.OnPower(n)
	}
	return nil
}

// Services implements server.Services.
func (n *Node) Services(context.Context) ([]server.Service, error) {
	return n.ServiceList, n.called("services")
}

// Containers implements server.Containers.
func (n *Node) Containers(context.Context) ([]server.Container, error) {
	return n.ContainerList, n.called("containers")
}

// Boots implements server.Boots.
func (n *Node) Boots(context.Context) ([]server.Boot, error) {
	return n.BootList, n.called("boots")
}

// Kubeconfig implements server.Kube.
func (n *Node) Kubeconfig(context.Context) (server.Kubeconfig, error) {
	return n.KubeconfigValue, n.called("kubeconfig")
}

// Logs is a node's Lines as logs. A followed log never brings more.
type Logs struct{ *Node }

// Stream implements server.Logs.
func (l Logs) Stream(ctx context.Context, service string, o server.StreamOptions, send func([]byte) error) error {
	if err := l.called("logs " + service); err != nil {
		return err
	}
	lines, ok := l.Lines[service]
	if !ok {
		return fmt.Errorf("service %q %w", service, server.ErrNotFound)
	}
	return stream(ctx, lines, o, func(line string) error { return send([]byte(line)) })
}

// Dmesg is a node's Records as the kernel's log. A followed log never brings
// more.
type Dmesg struct{ *Node }

// Stream implements server.Dmesg.
func (d Dmesg) Stream(ctx context.Context, o server.StreamOptions, send func(server.Record) error) error {
	if err := d.called("dmesg"); err != nil {
		return err
	}
	return stream(ctx, d.Records, o, send)
}

func stream[T any](ctx context.Context, all []T, o server.StreamOptions, send func(T) error) error {
	if o.Tail >= 0 {
		all = all[max(0, len(all)-o.Tail):]
	}
	for _, one := range all {
		if err := send(one); err != nil {
			return err
		}
	}
	if o.Follow {
		<-ctx.Done()
	}
	return nil
}
