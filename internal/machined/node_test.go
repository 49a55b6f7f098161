package machined

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/containertest"
	"github.com/cyvive/cyvive/internal/etcd"
	extservice "github.com/cyvive/cyvive/internal/extension/service"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/boot/timeline"
	"github.com/cyvive/cyvive/internal/machined/boot/trial"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/hold"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/reconcile"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/auditlog"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/networktest"
	"github.com/cyvive/cyvive/internal/service"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// node is an agent on fakes, and the fakes.
type node struct {
	*Agent
	t          *testing.T
	state      string
	source     *source
	host       *networktest.Host
	dhcp       *networktest.DHCP
	disk       *storagetest.Machine
	init       *fakeInit
	walls      *walls
	timeline   *memoryTimeline
	containers *containertest.Fake
	plane      *containertest.Fake
	etcd       *layer[etcd.Spec, etcd.Status]
	kube       *layer[kube.Spec, kube.Status]
	services   *networktest.Services
	cluster    tables
	listener   net.Listener
	more       net.Listener
	audit      *auditlog.Log
	held       *hold.Hold
	programs   []server.Service
	end        func()
}

type source struct {
	mu  sync.Mutex
	doc *Document
	err error
	// claims are what is said of the owner, and found what is said of it by places where Find looks.
	claims, found []maintenance.Claim
	// passphrase is what is given.
	passphrase Passphrase
}

func (s *source) Find(context.Context) (*Document, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims, s.found = append(s.claims, s.found...), nil
	return s.doc, s.err
}

func (s *source) Where() string { return "the hands of the test" }

func (s *source) Owners() []maintenance.Claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.claims)
}

func (s *source) Passphrase() Passphrase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.passphrase
}

// give has the place give a passphrase, or with an empty text none.
func (s *source) give(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passphrase = Passphrase{}
	if text != "" {
		s.passphrase = Passphrase{From: "user-data", Text: config.NewSecret(text)}
	}
}

func (s *source) own(claims ...maintenance.Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims = claims
}

func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *source) set(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doc, s.err = &Document{Name: "user-data", Data: data}, nil
}

type fakeInit struct {
	mu    sync.Mutex
	calls []string
	// guard is that of init; nil is of a boot that was not counted. Agents of the same boot share it.
	guard *trial.Guard
	// refuse are errors of Shutdown, one for each call.
	refuse []error
}

// walls are those of no kernel; problem keeps them from being put up.
type walls struct {
	mu      sync.Mutex
	problem error
	profile config.Profile
}

func (w *walls) confine(p config.Profile) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.problem == nil {
		w.profile = p
	}
	return w.problem
}

func (w *walls) set(problem error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problem = problem
}

func (w *walls) standing() config.Profile {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.profile
}

func (i *fakeInit) note(call string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls = append(i.calls, call)
}

func (i *fakeInit) asked() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.calls)
}

func (i *fakeInit) Start(_ context.Context, service string) error {
	i.note("start " + service)
	return nil
}

func (i *fakeInit) Restart(_ context.Context, service string) error {
	i.note("restart " + service)
	return nil
}

func (i *fakeInit) Shutdown(_ context.Context, action control.Action) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.refuse) > 0 {
		err := i.refuse[0]
		i.refuse = i.refuse[1:]
		return err
	}
	i.calls = append(i.calls, string(action))
	return nil
}

func (i *fakeInit) Status(context.Context) ([]control.Service, error) {
	return []control.Service{{Name: "machined", State: "running", PID: 2}, {Name: "containerd", State: "waiting", Restarts: 3}}, nil
}

func (i *fakeInit) Trial(_ context.Context, on bool) error {
	i.note(fmt.Sprint("trial ", on))
	if i.guard != nil && !on {
		i.guard.Settle()
	}
	return nil
}

func (i *fakeInit) OnTrial(context.Context) (bool, error) {
	return i.guard != nil && i.guard.OnTrial(), nil
}

type memoryTimeline struct {
	mu    sync.Mutex
	list  []timeline.Milestone
	since time.Duration // zero is a minute
}

func (m *memoryTimeline) Read() ([]timeline.Milestone, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.list), nil
}

func (m *memoryTimeline) Append(one timeline.Milestone) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, one)
	return nil
}

func (m *memoryTimeline) Now() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.since == 0 {
		return time.Minute
	}
	return m.since
}

func (m *memoryTimeline) set(since time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since = since
}

// tables are the services of a cluster, as a test sends them.
type tables chan *service.Table

func (c tables) Run(ctx context.Context, _ kube.Spec, publish func(*service.Table)) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-c:
			publish(t)
		}
	}
}

// layer is a domain whose status the test sets; it has no operations.
type layer[Spec, Status any] struct {
	mu     sync.Mutex
	status Status
	seen   *Spec
}

func (l *layer[Spec, Status]) set(s Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status = s
}

// as makes a domain of the observation and operation types that Config asks for.
func as[Observed any, Op fmt.Stringer, Spec, Status any](l *layer[Spec, Status]) reconcile.Domain[Spec, Observed, Op, Status] {
	return shaped[Spec, Observed, Op, Status]{l}
}

type shaped[Spec, Observed any, Op fmt.Stringer, Status any] struct{ l *layer[Spec, Status] }

func (s shaped[Spec, Observed, Op, Status]) Observe(_ context.Context, spec Spec) (Observed, error) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	s.l.seen = &spec
	var none Observed
	return none, nil
}

func (s shaped[Spec, Observed, Op, Status]) Diff(Spec, Observed) []Op { return nil }

func (s shaped[Spec, Observed, Op, Status]) Apply(context.Context, Spec, Op) error { return nil }

func (s shaped[Spec, Observed, Op, Status]) Status(Spec, Observed) Status {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	return s.l.status
}

// startNode starts an agent. The milestones are those that an earlier agent of the same boot left.
func startNode(t *testing.T, state string, disk *storagetest.Machine, left ...timeline.Milestone) *node {
	t.Helper()
	return startNodeWith(t, state, disk, func(*Config) {}, left...)
}

// startNodeWith is startNode with changes of the configuration.
func startNodeWith(t *testing.T, state string, disk *storagetest.Machine, change func(*Config), left ...timeline.Milestone) *node {
	t.Helper()
	n := &node{
		t: t, state: state, source: &source{}, host: &networktest.Host{}, dhcp: &networktest.DHCP{}, disk: disk, init: &fakeInit{}, walls: &walls{},
		timeline: &memoryTimeline{list: left}, containers: containertest.NewFake("system", time.Now), plane: containertest.NewFake("kubelet", time.Now),
		etcd: &layer[etcd.Spec, etcd.Status]{}, kube: &layer[kube.Spec, kube.Status]{},
		services: &networktest.Services{}, cluster: make(tables),
	}
	n.host.AddLink("eth0", "52:54:00:00:00:01", true)
	n.host.SetCarrier("eth0", true)
	n.dhcp.Grant("eth0", &network.Lease{Address: netip.MustParsePrefix("10.5.0.7/24")})
	var err error
	if n.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if n.more, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if n.held, err = hold.Open(filepath.Join(t.TempDir(), "stopped.json")); err != nil {
		t.Fatal(err)
	}
	if n.audit, err = auditlog.Open(t.TempDir(), t.Name(), 1<<20, time.Now); err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Audit:    n.audit,
		Boot:     Boot{ID: t.Name(), StartedAt: time.Unix(1000, 0), Version: server.Version{OS: "1.0", Slot: "a"}, Disk: "/dev/vda"},
		StateDir: state, MachineID: filepath.Join(t.TempDir(), "machine-id"), Source: n.source,
		Network: network.New(n.host, n.dhcp, n.services), Storage: storage.New(n.disk, n.disk, n.disk, nil),
		Etcd: as[etcd.Observed, etcd.Op](n.etcd), Kube: as[kube.Observed, kube.Op](n.kube),
		ExtensionServices: extservice.New(extservice.Config{
			Containers: n.held.Runtime(n.containers), Layout: extservice.Layout{Data: t.TempDir(), Cgroup: "/extensions"}, Held: n.held.Names,
		}),
		Held: n.held, Programs: n.listPrograms, Terminate: n.terminate,
		Services: n.cluster, Timeline: n.timeline, Confine: n.walls.confine, Init: n.init,
		System: n.containers, Plane: n.plane, Pods: containertest.NewFake("k8s.io", time.Now),
		Listen: func() (net.Listener, error) { return n.listener, nil }, NetworkWake: reconcile.NewWaker(),
		More: func() (net.Listener, error) { return n.more, nil },
		Pace: Pace{SlowSearch: 500 * time.Millisecond, StateGrace: 3 * time.Second, Retry: 500 * time.Millisecond, GateGrace: 100 * time.Millisecond},
	}
	change(&cfg)
	if n.Agent, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	n.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	t.Cleanup(n.end)
	return n
}

func (n *node) listPrograms() ([]server.Service, error) {
	n.init.mu.Lock()
	defer n.init.mu.Unlock()
	return slices.Clone(n.programs), nil
}

// terminate ends a program, which is started again at once.
func (n *node) terminate(pid uint32) error {
	n.init.note(fmt.Sprintf("terminate %d", pid))
	n.init.mu.Lock()
	defer n.init.mu.Unlock()
	for i := range n.programs {
		if n.programs[i].PID == pid {
			n.programs[i].PID += 100
		}
	}
	return nil
}

// await waits until the snapshot fulfils a condition.
func (n *node) await(what string, condition func(snapshot) bool) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 20*time.Second)
	defer cancel()
	var version uint64
	for {
		s, v, err := n.store.Watch(ctx, version)
		if err != nil {
			n.t.Fatalf("%s: not reached; checks %+v, waits %v", what, s.checks, s.desired.Waits)
		}
		if condition(s) {
			return
		}
		version = v
	}
}

// awaitOther waits for what is no part of the snapshot, and so may come without a change of it.
func (n *node) awaitOther(what string, condition func() bool) {
	n.t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("%s: not reached", what)
		}
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
