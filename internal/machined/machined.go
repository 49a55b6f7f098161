package machined

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cyvive/cyvive/internal/container"
	csi "github.com/cyvive/cyvive/internal/csi/node"
	"github.com/cyvive/cyvive/internal/etcd"
	extservice "github.com/cyvive/cyvive/internal/extension/service"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/hold"
	"github.com/cyvive/cyvive/internal/machined/keptlog"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/peer"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/reconcile"
	"github.com/cyvive/cyvive/internal/machined/replicate"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/eventlog"
	"github.com/cyvive/cyvive/internal/machined/state"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
	"github.com/cyvive/cyvive/internal/machined/timesync"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/service"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
)

// Init is PID 1, as the agent needs it. *control.Client implements it.
type Init interface {
	Start(ctx context.Context, service string) error
	Restart(ctx context.Context, service string) error
	Status(ctx context.Context) ([]control.Service, error)
	Shutdown(ctx context.Context, action control.Action) error
	Trial(ctx context.Context, on bool) error
	OnTrial(ctx context.Context) (bool, error)
}

// Audit is the audit log, as the agent needs it. *auditlog.Log implements it.
type Audit interface {
	server.Audit
	// Move takes the log to another folder, once; later calls with the same folder do nothing.
	Move(ctx context.Context, dir string) error
}

// Services follows the services of a cluster. *kube.ServiceWatch implements it.
type Services interface {
	// Run calls publish with the whole table whenever that changed, until ctx ends.
	Run(ctx context.Context, spec kube.Spec, publish func(*service.Table))
}

// CSI is the node's CSI driver. *node.Runner of package csi/node implements it.
type CSI interface {
	// Run runs the driver until ctx ends, and calls publish with each change of its status. What is mounted stays. Now returns the spec as it is at
	// present: Away may be another, and Parents more.
	Run(ctx context.Context, spec csi.Spec, now func() csi.Spec, publish func(csi.Status))
}

// Config is what an agent is made of. All fields are needed but Log, Audit, Console, Now, Clock, AskTime, Cluster, CSI, Kept, SBOM, More, Vault, Extensions, Pools,
// NoPools, Sums, Upgrades, Installs, Resets, Crash, Pace and Watchers.
type Config struct {
	Log *slog.Logger
	// Audit is the log of the API's calls; nil keeps none. It moves to the state volume when that is there.
	Audit Audit
	// Console is told, a line a write, what a person in front of a node in maintenance mode needs to know.
	Console io.Writer
	// Now is the clock; nil is time.Now.
	Now  func() time.Time
	Boot Boot
	// StateDir is where the state volume gets mounted. MachineID is the file for the machine ID of the running system.
	StateDir, MachineID string

	Source  Source
	Network reconcile.Domain[network.Spec, network.Observed, network.Op, network.Status]
	Storage reconcile.Domain[storage.Spec, storage.Observed, storage.Op, storage.Status]
	Etcd    reconcile.Domain[etcd.Spec, etcd.Observed, etcd.Op, etcd.Status]
	Kube    reconcile.Domain[kube.Spec, kube.Observed, kube.Op, kube.Status]
	// ExtensionServices is the domain of what extensions bring.
	ExtensionServices reconcile.Domain[extservice.Spec, extservice.Observed, extservice.Op, extservice.Status]
	Services          Services
	// Clock is the kernel's; nil leaves it alone. AskTime asks a time server; nil is [timesync.SNTP].
	Clock   timesync.Clock
	AskTime timesync.Query
	// Cluster is nil in an agent that is to have nothing to do with its cluster besides Kube.
	Cluster  Cluster
	Timeline Timeline
	Init     Init
	// Confine puts the kernel's walls of a profile around the workload plane, or says why it cannot. It is called again until it succeeds,
	// and when the profile changes; walls that an earlier agent put up stay.
	Confine func(config.Profile) error
	// System, Plane and Pods are the runtimes of the namespaces system, kubelet and k8s.io. The agent itself only lists them, and stops
	// containers of the first two when the machine goes down.
	System, Plane, Pods container.Runtime
	// Programs lists the workload plane's own programs; nil lists none.
	Programs func() ([]server.Service, error)
	// Terminate asks a process of the workload plane to end.
	Terminate func(pid uint32) error
	// Held are the containers that the domains' runtimes do not start.
	Held  *hold.Hold
	Dmesg server.Dmesg
	// Crashes are the logs of boots that ended badly, and Inventory what the machine is made of.
	Crashes   server.Crashes
	Inventory server.Inventory
	Logs      server.Logs
	// Kept keeps the logs, the kernel's too, over the end of a boot. It is nil in an agent that keeps none.
	Kept   *keptlog.Store
	Kernel server.Kernel
	Files  server.Files
	// Vault is nil in an agent whose volumes are not encrypted.
	Vault Vault
	// Extensions is nil on a node that keeps none.
	Extensions Extensions
	// Pools is nil on a node without OpenZFS; NoPools then says why, after "this node has no OpenZFS: ", if that is known.
	Pools   *Pools
	NoPools string
	// Sums reads the contents of snapshots, to compare those of two nodes; nil has none compared.
	Sums endpoint.Summer
	// CSI is nil on a node that makes no volumes for pods.
	CSI CSI
	// Upgrades is nil on a node that was not started from a slot.
	Upgrades *Upgrades
	// Installs is nil on such a node too, unless it was started from an installation medium.
	Installs *Installs
	// Resets is nil on a node whose disk keeps no notes.
	Resets *Resets
	// Crash is what is known of a bad end of the boot before, empty if nothing is. It needs the state volume, and finds what it knows once.
	// Nil knows nothing.
	Crash func() (string, error)
	// SBOM opens the bill of materials of the image.
	SBOM func() (io.ReadCloser, error)
	// Listen opens the API's socket.
	Listen func() (net.Listener, error)
	// More opens another, without which the API serves too; an error is not tried again.
	More func() (net.Listener, error)
	// Pace is how long the agent waits; the zero value is DefaultPace.
	Pace Pace
	// NetworkWake is the waker that the network's adapters call.
	NetworkWake reconcile.Waker
	// Watchers are event sources that run beside the loops, such as one that calls NetworkWake.
	Watchers []func(ctx context.Context) error
}

// Boot is what is known of the running system from the start.
type Boot struct {
	// ID is the kernel's boot_id.
	ID        string
	StartedAt time.Time
	Version   server.Version
	// BuiltAt is a time that has certainly passed; the zero Time is none that is known.
	BuiltAt time.Time
	// Disk is the device of the system disk.
	Disk string
	// Medium says that it is that of an installation medium, in memory.
	Medium bool
	// TPM says that the machine has a TPM 2.0, and Config.Storage uses it.
	TPM bool
	// Encrypts says that Config.Storage can encrypt volumes in some way, so that they are made when the configuration says how. It goes without saying
	// with a TPM.
	Encrypts bool
}

// Agent is the machine agent. Its exported methods may be called concurrently.
type Agent struct {
	cfg    Config
	log    *slog.Logger
	now    func() time.Time
	store  *state.Store[snapshot]
	wakers map[string]reconcile.Waker
	// containersChanged asks for events of services.
	containersChanged reconcile.Waker
	identity          atomic.Pointer[server.Identity]
	// server is nil until the agent serves.
	server atomic.Pointer[server.Server]
	// key, toldMode and shown belong to the certificate's task, once that runs: the node's own key, and what was told of the mode and shown on the console.
	key      nodeKey
	toldMode maintenance.Mode
	shown    []string
	opening  opening
	history  history
	// crashTaken says that Config.Crash was called.
	crashTaken atomic.Bool
	// keeper is nil until the node knows its slots.
	keeper  atomic.Pointer[upgrade.Keeper]
	events  *eventlog.Log
	ending  ending
	configs configs
	// resetting is held by who leads a reset, looking by who looks at the gates of the configuration, draining by who moves the pods away.
	resetting, looking, draining sync.Mutex
	// views are the domains, for who wants to know what they would do, and asks what their loops call between two passes.
	views   map[string]view
	asks    map[string]chan<- func(context.Context)
	domains []task
	// confirmed are operations on pools that a person has allowed; poolEvents is what the kernel reports of pools, and others are the tasks for them.
	confirmed  confirmations
	poolEvents *poolLog
	others     []task
	// jobs are those that replicate, nil on a node without OpenZFS; peers are the nodes that they name.
	jobs  *replicate.Manager
	guard *peer.Guard
	peers atomic.Pointer[[]server.Peer]
	// snapshotted is called when a schedule has made snapshots, for the jobs that send them.
	snapshotted reconcile.Waker
	// lists has one for each call that lists datasets now (listturn.go).
	lists chan struct{}
	// loops ends the loops of the domains when a teardown begins.
	loops     context.CancelFunc
	loopsCtx  context.Context
	loopsDone sync.WaitGroup
}

// New returns an agent that does nothing yet.
func New(cfg Config) (*Agent, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Pace = cfg.Pace.withDefaults()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &Agent{
		cfg: cfg, log: cfg.Log, now: cfg.Now, events: eventlog.New(cfg.Now),
		wakers: map[string]reconcile.Waker{
			plan.Network: cfg.NetworkWake, plan.Storage: reconcile.NewWaker(),
			plan.Pools: reconcile.NewWaker(), plan.Datasets: reconcile.NewWaker(), plan.Snapshots: reconcile.NewWaker(),
			plan.Etcd: reconcile.NewWaker(), plan.Kubernetes: reconcile.NewWaker(), plan.Extensions: reconcile.NewWaker(),
		},
		containersChanged: reconcile.NewWaker(), views: map[string]view{}, asks: map[string]chan<- func(context.Context){}, poolEvents: newPoolLog(),
		snapshotted: reconcile.NewWaker(), lists: make(chan struct{}, maxLists),
	}
	a.configs.changed = reconcile.NewWaker()
	pools, others := a.poolTasks()
	a.domains, a.others = append(a.loopTasks(), pools...), others
	a.loopsCtx, a.loops = context.WithCancel(context.Background())
	a.domains = append(a.domains, a.replicationTasks()...)
	a.events.Add(server.EventAgent, "agent", "started", "version "+cfg.Boot.Version.OS)
	input := plan.Input{Disk: cfg.Boot.Disk, Medium: cfg.Boot.Medium, TPM: cfg.Boot.TPM, Encrypts: cfg.Boot.Encrypts, Version: cfg.Boot.Version.OS}
	a.store = state.New(snapshot{
		input: input, held: cfg.Held.Names(), upgradable: cfg.Upgrades != nil, extensible: cfg.Extensions != nil, pooled: cfg.Pools != nil, noPools: noPools(cfg),
	}.planned(cfg.Now()))
	a.tellHealth(nil, a.snapshot().checks)
	var err error
	if a.key, err = newNodeKey(); err != nil {
		return nil, err
	}
	if a.opening.key, err = config.NewSealingKey(); err != nil {
		return nil, err
	}
	a.configs.open = a.unseal
	if err := a.certify(snapshot{}, nil); err != nil {
		return nil, err
	}
	return a, nil
}

// Run runs all tasks until ctx ends, and then returns nil. If a task ends by itself, which none should, it ends the others and returns why.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, a.loops)
	defer stop()

	tasks := []task{
		{"server", a.serve}, {"configuration", a.configure}, {"identity", a.identify}, {"certificate", a.keepCertificate},
		{"confinement", a.confine}, {"runtime", a.runContainerd}, {"milestones", a.keepMilestones},
		{"services", a.watchServices}, {"upgrades", a.keepUpgrades}, {"reset", a.keepReset}, {"extensions", a.keepExtensions},
		{"clock", a.keepClock}, {"gates", a.watchGates}, {"cordon", a.keepUncordoned},
		{"service events", a.tellServices}, {"logs", a.keepLogs}, {"volumes", a.serveVolumes},
	}
	tasks = append(append(tasks, a.containerWatchers()...), a.others...)
	for i, watch := range a.cfg.Watchers {
		tasks = append(tasks, task{fmt.Sprintf("watcher %d", i), watch})
	}
	var all sync.WaitGroup
	for _, t := range tasks {
		all.Go(func() { a.finish(ctx, t.name, t.run(ctx), cancel) })
	}
	for _, t := range a.domains {
		a.loopsDone.Go(func() { a.finish(a.loopsCtx, t.name, t.run(a.loopsCtx), cancel) })
	}
	all.Wait()
	a.loops()
	a.loopsDone.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// containerWatchers wake the loops that have to do with containers, and whoever
// tells of them.
func (a *Agent) containerWatchers() []task {
	var tasks []task
	for _, w := range []struct {
		name    string
		runtime container.Runtime
		loops   []string
	}{
		{"system containers", a.cfg.System, []string{plan.Etcd, plan.Kubernetes, plan.Extensions}},
		{"plane", a.cfg.Plane, []string{plan.Kubernetes}},
		{"pods", a.cfg.Pods, []string{plan.Kubernetes}},
	} {
		tasks = append(tasks, task{"watcher of " + w.name, func(ctx context.Context) error {
			return w.runtime.Watch(ctx, func() {
				a.containersChanged.Wake()
				for _, loop := range w.loops {
					a.wakers[loop].Wake()
				}
			})
		}})
	}
	return tasks
}

// task is one goroutine of the agent.
type task struct {
	name string
	run  func(context.Context) error
}

// finish ends the agent if a task ended before its context did.
func (a *Agent) finish(ctx context.Context, name string, err error, cancel context.CancelCauseFunc) {
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("it ended by itself")
	}
	cancel(fmt.Errorf("task %s: %w", name, err))
}

// confine puts up the walls before any workload starts: the plan waits for them.
func (a *Agent) confine(ctx context.Context) error {
	return a.whenever(ctx, func(s snapshot) bool { return !s.isConfined() }, func(s snapshot) {
		profile := s.profile()
		err := a.cfg.Confine(profile)
		if err != nil {
			a.log.Error("confine the workload plane", "error", err)
			sleep(ctx, a.cfg.Pace.Retry)
		}
		a.update(func(s *snapshot) {
			if err != nil {
				s.confineProblem = err.Error()
				return
			}
			s.confined, s.confineProblem = profile, ""
		})
	})
}

// changed waits for a snapshot newer than a version, and returns the newest version.
func (a *Agent) changed(ctx context.Context, after uint64) uint64 {
	_, version, _ := a.store.Watch(ctx, after) // the end of the context is one way to return
	return version
}

// runContainerd asks init for the system containerd as soon as a container is wanted.
func (a *Agent) runContainerd(ctx context.Context) error {
	return a.whenever(ctx, func(s snapshot) bool { return s.wantsContainers() && !s.runtime }, func(snapshot) {
		err := a.cfg.Init.Start(ctx, "containerd")
		if err != nil {
			a.log.Warn("start the system containerd", "error", err)
			sleep(ctx, time.Second)
		}
		a.update(func(s *snapshot) { s.runtime = err == nil })
		a.wakers[plan.Etcd].Wake()
		a.wakers[plan.Extensions].Wake()
	})
}

// watchServices follows the cluster's services from when Kubernetes is wanted for the first time. What it is wanted with stays, as far as
// the watch needs it: names and authorities change with a boot only.
func (a *Agent) watchServices(ctx context.Context) error {
	return a.whenever(ctx, func(s snapshot) bool { return s.desired.Kube != nil }, func(s snapshot) {
		a.cfg.Services.Run(ctx, *s.desired.Kube, func(t *service.Table) {
			a.update(func(s *snapshot) { s.services = t })
		})
	})
}

// whenever calls do, one call at a time, for each snapshot that fulfils the condition, until ctx ends.
func (a *Agent) whenever(ctx context.Context, condition func(snapshot) bool, do func(snapshot)) error {
	var version uint64
	for {
		s, v, err := a.store.Watch(ctx, version)
		if err != nil {
			return err
		}
		version = v
		if condition(s) {
			do(s)
		}
		// A newer version is there at once if do has made it, and Watch does not look at ctx then.
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// sleep waits; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
