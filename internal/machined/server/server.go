package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	auditv1 "github.com/cyvive/cyvive/api/proto/audit/v1"
	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	containerv1 "github.com/cyvive/cyvive/api/proto/container/v1"
	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	diskv1 "github.com/cyvive/cyvive/api/proto/disk/v1"
	eventv1 "github.com/cyvive/cyvive/api/proto/event/v1"
	extensionv1 "github.com/cyvive/cyvive/api/proto/extension/v1"
	filev1 "github.com/cyvive/cyvive/api/proto/file/v1"
	installv1 "github.com/cyvive/cyvive/api/proto/install/v1"
	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	kubev1 "github.com/cyvive/cyvive/api/proto/kube/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	resetv1 "github.com/cyvive/cyvive/api/proto/reset/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
)

// Port is the TCP port of the node API.
const Port = 50000

// Limits of one connection. Requests are a few words each; a peer that is not
// verified can make the server hold no more than this. What a connection holds
// while nothing happens on it is small: gRPC shares its buffers of writes.
const (
	maxRequestBytes      = 64 << 10
	maxHeaderBytes       = 16 << 10
	maxConcurrentStreams = 64
	windowBytes          = 64 << 10
	readBufferBytes      = 4 << 10
	idleTimeout          = 10 * time.Minute
	keepaliveInterval    = 30 * time.Second
	keepaliveTimeout     = 20 * time.Second
	minPingInterval      = 10 * time.Second
	// stopTimeout is how long calls under way may take after Serve's context
	// has ended.
	stopTimeout = 2 * time.Second
)

// Config is what a Server is made of. Every interface must be set but Audit, and PeerCalls where Peers is nil.
type Config struct {
	// Identity returns the server's certificate and its clients' authority. It
	// is called for each handshake and each call, from many goroutines, must
	// be quick, and its Certificate is never nil.
	Identity func() Identity
	// Logger is told when the audit log cannot be written. Nil discards.
	Logger *slog.Logger
	// Audit gets every call. Nil keeps none.
	Audit Audit
	// Now is the node's clock; nil is time.Now.
	Now func() time.Time
	// Limits bound what clients can do. The zero value is DefaultLimits.
	Limits Limits

	// Changed waits until what the agent knows has a version greater than after,
	// or the context ends, and returns the version. Nil has watches of health and
	// node look every second instead.
	Changed func(ctx context.Context, after uint64) uint64
	// Acted is told of each call that was let in and acts on the node, when it
	// has ended. Nil tells nobody.
	Acted func(method, subject, code string)
	// SBOM opens the image's bill of materials; nil is an image without.
	SBOM func() (io.ReadCloser, error)
	// Recipient returns what secrets of the configuration are sealed for, empty if
	// there is nothing. It is called from many goroutines. Nil has nothing.
	Recipient func() string

	Machine    Machine
	Dmesg      Dmesg
	Services   Services
	Logs       Logs
	PastLogs   PastLogs
	Containers Containers
	Boots      Boots
	Crashes    Crashes
	Kube       Kube
	Kernel     Kernel
	Inventory  Inventory
	Events     Events
	Files      Files
	Upgrades   Upgrades
	Configs    Configs
	Installs   Installs
	Resets     Resets
	Disks      Disks
	Extensions Extensions
	Pools      Pools
	Datasets   Datasets
	Snapshots  Snapshots

	Replication Replication
	// Peers returns the nodes that jobs of the configuration name. It is called for calls of nodes, from many goroutines, and must be quick. Nil names
	// none.
	Peers func() []Peer
	// PeerCalls is asked by those nodes.
	PeerCalls PeerCalls
}

// Server is the node API. Its methods are safe for concurrent use.
type Server struct {
	grpc     *grpc.Server
	gate     *gate
	http     *httpServer
	nodes    *peerServer
	table    *connections
	recorder *recorder
}

// New returns a server that does not listen yet.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Audit == nil {
		c.Audit = noAudit{}
	}
	if c.Recipient == nil {
		c.Recipient = func() string { return "" }
	}
	if c.Peers == nil {
		c.Peers = func() []Peer { return nil }
	}
	c.Limits = c.Limits.withDefaults()
	r := newRecorder(c)
	g := &gate{identity: c.Identity, now: c.Now, rules: rules(), recorder: r, limits: c.Limits, peers: c.Peers, acted: c.Acted}
	arrivals := newArrivals(c.Limits, c.Now, r)
	table := newConnections(c.Limits)
	web := newHTTPServer(c, g, arrivals, table)
	secure := tlsConfig(c.Identity)
	options := []grpc.ServerOption{
		grpc.InTapHandle(arrivals.tap),
		grpc.StatsHandler(arrivals),
		grpc.UnaryInterceptor(g.unary),
		grpc.StreamInterceptor(g.stream),
		// Methods that do not exist go through the gate too.
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			return status.Error(codes.Unimplemented, "no such method")
		}),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(c.Limits.HandshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: idleTimeout,
			Time:              keepaliveInterval,
			Timeout:           keepaliveTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             minPingInterval,
			PermitWithoutStream: true,
		}),
	}
	nodes := newPeerServer(options)
	s := grpc.NewServer(append(options,
		grpc.Creds(handshakes{credentials.NewTLS(secure), secure, c.Identity, c.Now, r, table, web, c.Peers, nodes}),
		grpc.MaxConcurrentStreams(maxConcurrentStreams),
		grpc.StaticStreamWindowSize(windowBytes),
		grpc.StaticConnWindowSize(windowBytes),
		grpc.ReadBufferSize(readBufferBytes),
	)...)
	machinev1.RegisterMachineServiceServer(s, &machineService{config: c})
	servicev1.RegisterServiceServiceServer(s, &serviceService{services: c.Services, logs: c.Logs, past: c.PastLogs})
	containerv1.RegisterContainerServiceServer(s, &containerService{containers: c.Containers})
	kernelv1.RegisterKernelServiceServer(s, &kernelService{kernel: c.Kernel})
	inventoryv1.RegisterInventoryServiceServer(s, &inventoryService{inventory: c.Inventory})
	eventv1.RegisterEventServiceServer(s, &eventService{events: c.Events})
	filev1.RegisterFileServiceServer(s, &fileService{files: c.Files})
	kubev1.RegisterKubeServiceServer(s, &kubeService{kube: c.Kube})
	upgradev1.RegisterUpgradeServiceServer(s, &upgradeService{config: c})
	installv1.RegisterInstallServiceServer(s, &installService{installs: c.Installs})
	resetv1.RegisterResetServiceServer(s, &resetService{config: c})
	configv1.RegisterConfigServiceServer(s, &configService{configs: c.Configs})
	diskv1.RegisterDiskServiceServer(s, &diskService{disks: c.Disks})
	extensionv1.RegisterExtensionServiceServer(s, &extensionService{extensions: c.Extensions})
	poolv1.RegisterPoolServiceServer(s, &poolService{pools: c.Pools})
	datasetv1.RegisterDatasetServiceServer(s, &datasetService{datasets: c.Datasets})
	snapshotv1.RegisterSnapshotServiceServer(s, &snapshotService{snapshots: c.Snapshots})
	replicationv1.RegisterReplicationServiceServer(s, &replicationService{config: c})
	peer := &peerService{calls: c.PeerCalls, jobs: g.peerJobs}
	replicationv1.RegisterPeerServiceServer(s, peer)
	replicationv1.RegisterPeerServiceServer(nodes.grpc, peer)
	auditv1.RegisterAuditServiceServer(s, &auditService{log: c.Audit, recorder: r})
	return &Server{grpc: s, gate: g, http: web, nodes: nodes, table: table, recorder: r}
}

// goodbyeTime is for what a call ends with to get to the client before its
// connection is closed.
const goodbyeTime = time.Second

// AuthorityChanged is to be called when another authority than before vouches for
// clients, and Identity says so: a node has got its configuration, or that names
// another. Calls that began before are ended and told why, and then the connections
// made before: clients connect again, are judged anew, and see the node's new
// certificate. Until a connection is closed, all calls on it are refused. It is how
// clients are shut out before their certificates expire.
func (s *Server) AuthorityChanged() {
	s.gate.authorityChanged()
	time.AfterFunc(goodbyeTime, func() { s.table.endOthers(s.gate.identity) })
}

// Serve answers on the listener, which it closes, until the context ends; it
// then gives calls under way two seconds and returns nil. It may be called for
// several listeners at once, with one context: the first to end stops all.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.http.start()
	s.nodes.start()
	stopped := make(chan struct{})
	unregister := context.AfterFunc(ctx, func() {
		defer close(stopped)
		kill := time.AfterFunc(stopTimeout, s.grpc.Stop)
		defer kill.Stop()
		s.http.close()
		s.nodes.close()
		s.grpc.GracefulStop()
	})
	err := s.grpc.Serve(listener{l, s.table})
	if !unregister() {
		<-stopped
	}
	s.recorder.flushRepeats()
	s.recorder.flush()
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) && ctx.Err() == nil {
		return fmt.Errorf("serve node API on %v: %w", l.Addr(), err)
	}
	return nil
}
