package registrar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Directory is kubelet's registry, below its directory.
const Directory = "plugins_registry"

// version is that of CSI which kubelet looks for: it takes 1.0 and above, below 2 (csi_plugin.go, ValidatePlugin, of Kubernetes 1.36).
const version = "1.0.0"

// stopTimeout is how long a call under way may take when the socket is given up.
const stopTimeout = 2 * time.Second

// Socket is a socket in kubelet's registry.
type Socket interface {
	// Listen makes it, in place of one that is there.
	Listen() (net.Listener, error)
	// Present says whether it is there.
	Present() bool
	// Remove removes it. None is no error.
	Remove() error
}

// Config is what a Registrar is made of.
type Config struct {
	// Driver is the driver's name, and Endpoint the path of its socket as kubelet sees it.
	Driver, Endpoint string
	Socket           Socket
	// Topology returns what the driver says of its node.
	Topology func(context.Context) (map[string]string, error)
	// Told is called when kubelet has answered, and when the socket is given up: with nil if kubelet has taken the driver, else with why it is not registered. It must
	// not wait. Nil is none.
	Told func(why error)
	// Look is how often the socket and the topology are looked at, and Pause how long to wait after a refusal. Zero is ten seconds, and five.
	Look, Pause time.Duration
	// Logger is told of what kubelet says. Nil discards.
	Logger *slog.Logger
}

// Registrar registers one driver.
type Registrar struct {
	registration.UnimplementedRegistrationServer
	Config

	mu         sync.Mutex
	registered bool
	// answers are what kubelet says, the latest only.
	answers chan error
}

// New returns a Registrar that does not listen yet.
func New(c Config) *Registrar {
	if c.Look == 0 {
		c.Look = 10 * time.Second
	}
	if c.Pause == 0 {
		c.Pause = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registrar{Config: c, answers: make(chan error, 1)}
}

// Registered says whether kubelet has taken the driver, and its socket is there.
func (r *Registrar) Registered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.registered
}

func (r *Registrar) setRegistered(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.registered = why == nil
	if r.Told != nil {
		r.Told(why)
	}
}

// GetInfo implements kubelet's Registration.
func (r *Registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: r.Driver, Endpoint: r.Endpoint, SupportedVersions: []string{version},
	}, nil
}

// NotifyRegistrationStatus implements kubelet's Registration.
func (r *Registrar) NotifyRegistrationStatus(
	_ context.Context, s *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	var answer error
	if !s.GetPluginRegistered() {
		answer = fmt.Errorf("kubelet does not take the driver: %s", s.GetError())
	}
	r.setRegistered(answer)
	select {
	case <-r.answers: // an answer that nobody looked at is old
	default:
	}
	select {
	case r.answers <- answer:
	default:
	}
	return &registration.RegistrationStatusResponse{}, nil
}

// Run registers the driver, and does it again whenever that is needed, until the context ends. Then the socket is removed, by which kubelet knows
// that the driver is gone.
func (r *Registrar) Run(ctx context.Context) error {
	last := ""
	for {
		again := r.register(ctx)
		r.setRegistered(again)
		if err := r.Socket.Remove(); err != nil {
			r.Logger.Warn("cannot remove the socket of the CSI driver's registration", "error", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if again.Error() != last {
			last = again.Error()
			r.Logger.Info("CSI driver registers again", "because", last)
		}
		select {
		case <-time.After(r.Pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// register serves one socket until another is needed, and returns why.
func (r *Registrar) register(ctx context.Context) error {
	topology, err := r.Topology(ctx)
	if err != nil {
		return fmt.Errorf("read the node's topology: %w", err)
	}
	listener, err := r.Socket.Listen()
	if err != nil {
		return err
	}
	select {
	case <-r.answers: // to the socket before
	default:
	}
	s := grpc.NewServer(grpc.WaitForHandlers(true))
	registration.RegisterRegistrationServer(s, r)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	defer func() {
		// kubelet gets the answer to what it is saying just now.
		late := time.AfterFunc(stopTimeout, s.Stop)
		s.GracefulStop()
		late.Stop()
		<-served
	}()
	look := time.NewTicker(r.Look)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-r.answers:
			if err != nil {
				return err
			}
			r.Logger.Info("kubelet has taken the CSI driver", "driver", r.Driver)
		case <-look.C:
			if !r.Socket.Present() {
				return errors.New("the socket is gone")
			}
			if now, err := r.Topology(ctx); err == nil && !maps.Equal(now, topology) {
				return errors.New("the node's topology has changed")
			}
		}
	}
}
