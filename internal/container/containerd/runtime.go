package containerd

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"

	"github.com/cyvive/cyvive/internal/container"
)

// dialTimeout bounds one attempt to connect, and the pause between two.
const dialTimeout = 2 * time.Second

// LogOpener says where the output of a container goes: the path of a FIFO that
// has a reader for as long as the node runs.
type LogOpener interface {
	OpenLog(ctx context.Context, name string) (fifo string, err error)
}

// Config is what a Runtime is made of.
type Config struct {
	// Socket is containerd's.
	Socket string
	// Within is a folder above Socket in which others than the node write, so that no
	// link in it is followed; empty if there is none.
	Within string
	// Namespace is the containerd namespace of all its containers.
	Namespace string
	// Logs is needed by Ensure only.
	Logs LogOpener
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Logger is told of starts and stops; nil discards.
	Logger *slog.Logger
}

// Runtime is one containerd namespace. It is safe for concurrent use.
type Runtime struct {
	client    *client.Client
	namespace string
	logs      LogOpener
	now       func() time.Time
	log       *slog.Logger
}

var _ container.Runtime = (*Runtime)(nil)

// New returns a Runtime. It does not connect: containerd need not run yet.
func New(c Config) (*Runtime, error) {
	options := []client.Opt{
		client.WithTimeout(dialTimeout), client.WithDefaultRuntime(runtimeName),
		client.WithCallOpts([]grpc.CallOption{grpc.MaxCallRecvMsgSize(maxAnswerBytes)}),
	}
	if c.Within != "" {
		options = append(options, client.WithExtraDialOpts([]grpc.DialOption{grpc.WithContextDialer(dialWithin(c.Within, c.Socket))}))
	}
	cl, err := client.New(c.Socket, options...)
	if err != nil {
		return nil, fmt.Errorf("make client of %s: %w", c.Socket, err)
	}
	r := &Runtime{client: cl, namespace: c.Namespace, logs: c.Logs, now: c.Now, log: c.Logger}
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	return r, nil
}

// Close releases the connection; the containers run on.
func (r *Runtime) Close() error { return r.client.Close() }

// in puts the call into the runtime's namespace.
func (r *Runtime) in(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, r.namespace)
}
