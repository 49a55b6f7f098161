package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/csi/registrar"
)

// Where the sockets are below kubelet's directory. Kubelet names drivers' directories so by custom, and takes any name in its registry.
const (
	pluginsDir     = "plugins"
	driverDir      = pluginsDir + "/" + csi.Name
	driverSocket   = driverDir + "/csi.sock"
	registrySocket = registrar.Directory + "/" + csi.Name + "-reg.sock"
)

// Directory is kubelet's directory on the node. *mounter.Mounter implements it.
type Directory interface {
	MakeDirectory(target string) error
	Listen(target string) (net.Listener, error)
	Present(target string) bool
	Remove(ctx context.Context, target string) error
}

// Config is what a Runner is made of.
type Config struct {
	// Driver is the driver without what a [Spec] has. Its KubeletDir is the directory as kubelet sees it.
	Driver csi.Config
	// Kubelet is the same directory as the node sees it.
	Kubelet Directory
	// Guard leaves, of the connections to the driver's two sockets in that directory, those that are kubelet's. It may be called from several goroutines.
	Guard func(net.Listener) net.Listener
	// Controllers makes the socket for csi-controllers, in place of one that is there.
	Controllers func() (net.Listener, error)
	// Look is how often the topology is looked at, and Pause how long to wait after a failure. Zero is ten seconds, and two.
	Look, Pause time.Duration
	// Logger is told of what fails. Nil discards.
	Logger *slog.Logger
}

// Runner runs the driver.
type Runner struct{ Config }

// New returns a Runner that does nothing yet.
func New(c Config) *Runner {
	if c.Look == 0 {
		c.Look = 10 * time.Second
	}
	if c.Pause == 0 {
		c.Pause = 2 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Driver.KubeletDir == "" {
		c.Driver.KubeletDir = csi.KubeletDir
	}
	return &Runner{c}
}

// Run runs the driver as spec says until ctx ends, and then takes its sockets away: what is mounted stays. Now returns the spec as it is at present, from any goroutine:
// its Away may be another, and its Parents more than those of spec; nil is spec. It calls publish with each change of the status, from any goroutine and one call at a
// time. It must not be called twice at once.
func (r *Runner) Run(ctx context.Context, spec Spec, now func() Spec, publish func(Status)) {
	if now == nil {
		now = func() Spec { return spec }
	}
	t := teller{publish: publish}
	last := ""
	for {
		err := r.serve(ctx, spec, now, &t)
		if ctx.Err() != nil {
			return
		}
		t.tell(Status{Reason: err.Error()})
		if err.Error() != last {
			last = err.Error()
			r.Logger.Warn("CSI driver does not run, and is tried again", "because", err)
		}
		select {
		case <-time.After(r.Pause):
		case <-ctx.Done():
			return
		}
	}
}

// teller publishes a status when it is another.
type teller struct {
	mu sync.Mutex
	// told was published last. Own is how the driver is besides the trouble that there may be with its socket.
	told, own Status
	trouble   string
	publish   func(Status)
}

func (t *teller) tell(s Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own = s
	t.show()
}

// hinder says what keeps kubelet from the driver, or that nothing does any more.
func (t *teller) hinder(trouble string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trouble = trouble
	t.show()
}

// show is called with the lock.
func (t *teller) show() {
	s := t.own
	if t.trouble != "" {
		s = Status{Reason: t.trouble}
	}
	if s != t.told {
		t.told = s
		t.publish(s)
	}
}

// serve runs all parts of a driver until one of them fails, and returns why.
func (r *Runner) serve(ctx context.Context, spec Spec, now func() Spec, t *teller) error {
	c := r.Driver
	c.NodeName, c.Parents = spec.NodeName, spec.Parents
	c.More = func() []string {
		return slices.DeleteFunc(slices.Clone(now().Parents), func(parent string) bool { return slices.Contains(spec.Parents, parent) })
	}
	c.Away = func() []string { return now().Away }
	d, err := csi.New(c)
	if err != nil {
		return err
	}
	defer d.End()
	if err := c.Mounts.RestoreDevices(ctx); err != nil {
		return err
	}
	listener, err := r.listen()
	if err != nil {
		return err
	}
	defer func() {
		t.hinder("")
		if err := r.Kubelet.Remove(context.WithoutCancel(ctx), driverSocket); err != nil {
			r.Logger.Warn("cannot remove the CSI driver's socket", "error", err)
		}
	}()
	t.tell(Status{Reason: "waiting for kubelet to take the CSI driver"})
	return together(ctx, map[string]func(context.Context) error{
		"serve kubelet":         func(ctx context.Context) error { return r.serveKubelet(ctx, d, t, listener) },
		"serve csi-controllers": func(ctx context.Context) error { return r.serveControllers(ctx, d) },
		"register with kubelet": func(ctx context.Context) error { return r.registrar(d, t).Run(ctx) },
	})
}

// together runs parts until one ends or ctx does, then ends the others, and returns why.
func together(ctx context.Context, parts map[string]func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	for name, run := range parts {
		all.Go(func() {
			err := run(ctx)
			if err == nil {
				err = errors.New("it ended by itself")
			}
			stop(fmt.Errorf("%s: %w", name, err)) // which counts for nothing after another, or after ctx
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
