package containertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/container"
)

// Fake is a container.Runtime in memory. Its containers run until Exit or Stop.
// It is safe for concurrent use.
type Fake struct {
	mu          sync.Mutex
	namespace   string
	now         func() time.Time
	onStart     func(container.Spec) (exit bool, code uint32)
	unavailable bool
	nextPID     uint32
	containers  map[string]*fakeContainer
	// changes is closed and made anew with each change.
	changes chan struct{}
}

type fakeContainer struct {
	spec     container.Spec
	info     container.Info
	failures int
}

var _ container.Runtime = (*Fake)(nil)

// NewFake returns a runtime without containers; now is its clock.
func NewFake(namespace string, now func() time.Time) *Fake {
	return &Fake{namespace: namespace, now: now, nextPID: 100, containers: map[string]*fakeContainer{}, changes: make(chan struct{})}
}

// OnStart sets a function that decides whether a container exits at once.
func (f *Fake) OnStart(decide func(container.Spec) (exit bool, code uint32)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onStart = decide
}

// SetUnavailable makes every call fail with container.ErrUnavailable, or work
// again. The containers run on.
func (f *Fake) SetUnavailable(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unavailable = on
}

// Exit ends a running container with a code.
func (f *Fake) Exit(name string, code uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.containers[name]; c != nil && c.info.State == container.Running {
		f.exit(c, code)
	}
}

func (f *Fake) exit(c *fakeContainer, code uint32) {
	f.changed()
	now := f.now()
	if container.Settled(now.Sub(c.info.StartedAt)) {
		c.failures = 0
	} else {
		c.failures++
	}
	c.info.State, c.info.PID = container.Exited, 0
	c.info.ExitCode, c.info.ExitedAt = code, now
	c.info.NextStart = now.Add(container.BackOff(c.failures))
}

func (f *Fake) changed() {
	close(f.changes)
	f.changes = make(chan struct{})
}

// Watch implements container.Runtime.
func (f *Fake) Watch(ctx context.Context, changed func()) error {
	for {
		f.mu.Lock()
		next := f.changes
		f.mu.Unlock()
		changed()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next:
		}
	}
}

// List implements container.Runtime.
func (f *Fake) List(context.Context) ([]container.Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unavailable {
		return nil, f.down("list containers")
	}
	var infos []container.Info
	for _, c := range f.containers {
		infos = append(infos, c.info)
	}
	slices.SortFunc(infos, func(a, b container.Info) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

// Ensure implements container.Runtime.
func (f *Fake) Ensure(_ context.Context, spec container.Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unavailable {
		return f.down("ensure container " + spec.Name)
	}
	c := f.containers[spec.Name]
	switch {
	case c == nil || c.info.Hash != spec.Hash():
		c = &fakeContainer{spec: spec, info: container.Info{
			Namespace: f.namespace, Name: spec.Name, ID: spec.Name, Hash: spec.Hash(),
		}}
		f.containers[spec.Name] = c
	case c.info.State == container.Running, c.info.State == container.Exited && !c.info.NeedsStart(f.now()):
		return nil
	default:
		c.info.Restarts++
	}
	f.nextPID++
	f.changed()
	c.info.State, c.info.PID, c.info.StartedAt = container.Running, f.nextPID, f.now()
	c.info.ExitCode, c.info.ExitedAt, c.info.NextStart = 0, time.Time{}, time.Time{}
	if f.onStart != nil {
		if exit, code := f.onStart(spec); exit {
			f.exit(c, code)
		}
	}
	return nil
}

// Stop implements container.Runtime.
func (f *Fake) Stop(_ context.Context, name string, _ time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unavailable {
		return f.down("stop container " + name)
	}
	delete(f.containers, name)
	f.changed()
	return nil
}

// Spec returns what the container was made from.
func (f *Fake) Spec(name string) (container.Spec, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[name]
	if !ok {
		return container.Spec{}, false
	}
	return c.spec, true
}

// String prints one line for each container: name, state, restarts.
func (f *Fake) String() string {
	infos, err := f.List(context.Background())
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, i := range infos {
		fmt.Fprintf(&b, "%s %s", i.Name, i.State)
		if i.State == container.Exited {
			fmt.Fprintf(&b, " %d", i.ExitCode)
		}
		if i.Restarts > 0 {
			fmt.Fprintf(&b, " restarts=%d", i.Restarts)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (f *Fake) down(what string) error {
	return fmt.Errorf("%s: %w", what, container.ErrUnavailable)
}
