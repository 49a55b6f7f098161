package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mdlayher/vsock"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
)

// target is the nodes a command works on, and how to reach them.
type target struct {
	context string // empty with --insecure and --maintenance
	nodes   []string
	tls     *tls.Config
	// maintenance: the node is taken for one without a configuration.
	maintenance bool
}

// target reads the context and the flags.
func (a *app) target() (*target, error) {
	switch {
	case a.insecure && a.maintenance:
		return nil, usagef("--insecure verifies no node, and --maintenance does: choose one")
	case a.insecure:
		return a.insecureTarget()
	case a.maintenance:
		return a.maintenanceTarget()
	}
	file, path, err := a.loadContexts()
	if err != nil {
		return nil, err
	}
	name, c, err := file.Select(a.context)
	if errors.Is(err, contexts.ErrNoContext) {
		return nil, fmt.Errorf("%w: choose one with --context or `nodectl context use`, or take one in with `nodectl context merge FILE` (they are in %s)", err, path)
	}
	if err != nil {
		return nil, err
	}
	t := &target{context: name, nodes: c.Nodes}
	if t.tls, err = c.ClientTLS(); err != nil {
		return nil, fmt.Errorf("read context %q: %w", name, err)
	}
	return t.override(a.nodes)
}

func (t *target) override(nodes []string) (*target, error) {
	if len(nodes) > 0 {
		t.nodes = nodes
	}
	for i, node := range t.nodes {
		address, err := contexts.Address(node)
		if err != nil {
			return nil, usageError{err}
		}
		t.nodes[i] = address
	}
	return t, nil
}

// insecureTarget neither verifies the node nor shows a certificate: only what
// a node that has neither configuration nor owner tells everyone can be asked so.
func (a *app) insecureTarget() (*target, error) {
	t := &target{tls: &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}}
	if len(a.nodes) == 0 {
		file, _, err := a.loadContexts()
		if err != nil {
			return nil, err
		}
		_, c, err := file.Select(a.context)
		if err != nil {
			return nil, fmt.Errorf("%w: name the node with --nodes", err)
		}
		t.nodes = c.Nodes
	}
	return t.override(a.nodes)
}

// connection is a client connection that remembers why it could not be made:
// gRPC keeps the text of the cause only.
type connection struct {
	*grpc.ClientConn
	node string // as the context names it

	mu    sync.Mutex
	cause error
}

func (c *connection) remember(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cause = err
}

func (c *connection) lastCause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// maxAnswerBytes is more than any answer has: a snapshot takes some hundred bytes of a list, and a node may have hundreds of thousands.
const maxAnswerBytes = 128 << 20

// dial prepares a connection; it is made with the first call.
func (t *target) dial(node string) (*connection, error) {
	c, name := &connection{node: node}, node
	if _, _, ok := contexts.Vsock(node); ok {
		name = "localhost" // the certificate of every node has it, and none has a context ID
	}
	creds := &rememberingCredentials{TransportCredentials: credentials.NewTLS(t.tls), conn: c}
	cc, err := grpc.NewClient("passthrough:///"+name,
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := dialAddress(ctx, node)
			c.remember(err)
			return conn, err
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", node, err)
	}
	c.ClientConn = cc
	return c, nil
}

// dialAddress connects to an address, over a network or to a virtual machine of this host.
func dialAddress(ctx context.Context, address string) (net.Conn, error) {
	cid, port, ok := contexts.Vsock(address)
	if !ok {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	conn, err := vsock.Dial(cid, port, nil) // for two seconds at most (VSOCK_DEFAULT_CONNECT_TIMEOUT of net/vmw_vsock/af_vsock.c)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// rememberingCredentials keeps the error of the TLS handshake.
type rememberingCredentials struct {
	credentials.TransportCredentials
	conn *connection
}

// ClientHandshake implements credentials.TransportCredentials.
func (r *rememberingCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := r.TransportCredentials.ClientHandshake(ctx, authority, raw)
	r.conn.remember(err)
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (r *rememberingCredentials) Clone() credentials.TransportCredentials {
	return &rememberingCredentials{TransportCredentials: r.TransportCredentials.Clone(), conn: r.conn}
}
