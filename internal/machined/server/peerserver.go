package server

import (
	"context"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Windows for what a node sends to this one. They are larger than those of clients, so that a stream gets on over a line with delay (2 MiB are 100 MB/s over
// 20 ms), and there are fewer streams: what a node can have this one hold is 4 MiB a connection, of which it may have [Limits].ConnectionsPerNode.
const (
	peerStreams     = 16
	peerWindowBytes = 2 << 20
	peerConnBytes   = 4 << 20
)

// peerServer answers nodes that a job names, on connections that the handshake hands over. All that is said of the API holds for it: the same gate stands
// before every method, and it has no others than those for nodes.
type peerServer struct {
	grpc    *grpc.Server
	conns   handedOver
	started sync.Once
}

func newPeerServer(options []grpc.ServerOption) *peerServer {
	return &peerServer{
		grpc: grpc.NewServer(append(options[:len(options):len(options)],
			grpc.Creds(shaken{}), grpc.MaxConcurrentStreams(peerStreams),
			grpc.StaticStreamWindowSize(peerWindowBytes), grpc.StaticConnWindowSize(peerConnBytes),
		)...),
		conns: handedOver{conns: make(chan net.Conn), closed: make(chan struct{})},
	}
}

// start serves what is taken until close. It may be called more than once.
func (p *peerServer) start() {
	p.started.Do(func() { go func() { _ = p.grpc.Serve(&p.conns) }() })
}

// take serves a connection.
func (p *peerServer) take(c handedConn) {
	select {
	case p.conns.conns <- c:
	case <-p.conns.closed:
		_ = c.Close() // the server is ending
	}
}

// close ends all connections. What they were at is gone on with later.
func (p *peerServer) close() {
	_ = p.conns.Close()
	p.grpc.Stop()
}

// shaken are the credentials of connections whose handshake has been.
type shaken struct{}

// ServerHandshake implements credentials.TransportCredentials.
func (shaken) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, ok := raw.(handedConn)
	if !ok {
		return nil, nil, errors.New("a connection that was not handed over")
	}
	return c.Conn, c.session, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (shaken) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a server's")
}

// Info implements credentials.TransportCredentials.
func (shaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (shaken) Clone() credentials.TransportCredentials { return shaken{} }

// OverrideServerName implements credentials.TransportCredentials.
func (shaken) OverrideServerName(string) error { return nil }
