// Package servertest runs the node API in a test: the real server and TLS on a
// loopback port, over a node that is a value.
package servertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	filev1 "github.com/cyvive/cyvive/api/proto/file/v1"
	installv1 "github.com/cyvive/cyvive/api/proto/install/v1"
	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// Node is a node made of what its fields say. It implements everything the
// server needs; calls are counted. Set the fields before it serves.
type Node struct {
	VersionValue server.Version
	Checks       []server.Check
	NodeValue    server.Node
	Records      []server.Record
	ServiceList  []server.Service
	Lines        map[string][]string
	// PastLines are what services wrote in the boot before, and PastLacks what is missing of it.
	PastLines     map[string][]string
	PastLacks     string
	ContainerList []server.Container
	BootList      []server.Boot
	CrashList     []server.Crash
	// CrashLines is the log of each crash, by the boot that found it.
	CrashLines      map[string][]server.CrashLine
	KubeconfigValue server.Kubeconfig
	ProcessList     []*kernelv1.Process
	MountList       []*kernelv1.Mount
	CgroupList      []*kernelv1.Cgroup
	StatsValue      *kernelv1.Stats
	InventoryValue  *inventoryv1.Inventory
	EventList       []server.Event
	// FileList is the entries of each folder, FileData what is in each file.
	FileList map[string][]*filev1.File
	FileData map[string]string
	SBOM     string
	Upgrades Upgrades
	Configs  ConfigList
	Disks    Disks

	Extensions Extensions
	Pools      Pools
	Datasets   Datasets

	Replication Replication
	// Targets are the machine's disks, for installations: the first one that has a serial number is installed on.
	Targets []*installv1.Disk
	// DiskData is what the disk of a serial number holds, and DiskFault is how an installation on it ends, if not well.
	DiskData  map[string]string
	DiskFault error
	// ResetFault is why the node cannot leave its cluster; nil if it can.
	ResetFault error
	// ContainersLack is why containers are missing in their list; nil if none are.
	ContainersLack error
	// DrainOutcome is how a drain ends, after DrainSteps were told; the zero outcome is that nothing was done.
	DrainOutcome server.DrainOutcome
	DrainSteps   []server.DrainProgress
	// Cordoned: Uncordon has something to do.
	Cordoned bool
	// InventoryFrom and FilesFrom answer in place of InventoryValue, FileList and
	// FileData, if they are set.
	InventoryFrom server.Inventory
	FilesFrom     server.Files
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
	_ server.Crashes    = (*Node)(nil)
	_ server.Inventory  = (*Node)(nil)
	_ server.Logs       = Logs{}
	_ server.PastLogs   = Logs{}
	_ server.Dmesg      = Dmesg{}
	_ server.Kube       = (*Node)(nil)
	_ server.Kernel     = (*Node)(nil)
	_ server.Events     = Events{}
	_ server.Files      = Files{}
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
	if name == "reboot" {
		n.booted()
	}
	return nil
}

// Services implements server.Services.
func (n *Node) Services(context.Context) ([]server.Service, error) {
	err := n.called("services")
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.ServiceList), err
}

// StartService implements server.Services.
func (n *Node) StartService(_ context.Context, name string) error {
	return n.turn("start", name, server.ServiceRunning)
}

// StopService implements server.Services.
func (n *Node) StopService(_ context.Context, name string) error {
	return n.turn("stop", name, server.ServiceStopped)
}

// RestartService implements server.Services.
func (n *Node) RestartService(_ context.Context, name string) error {
	return n.turn("restart", name, server.ServiceRunning)
}

// turn sets the state of a service.
func (n *Node) turn(verb, name string, state server.ServiceState) error {
	if err := n.called(verb + " " + name); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.ServiceList {
		if n.ServiceList[i].Name == name {
			n.ServiceList[i].State = state
			return nil
		}
	}
	return fmt.Errorf("service %q %w", name, server.ErrNotFound)
}

// Containers implements server.Containers.
func (n *Node) Containers(context.Context) ([]server.Container, error) {
	err := n.called("containers")
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil && n.ContainersLack != nil {
		err = fmt.Errorf("%w: %w", server.ErrIncomplete, n.ContainersLack)
	}
	return slices.Clone(n.ContainerList), err
}

// Processes implements server.Kernel.
func (n *Node) Processes(context.Context) ([]*kernelv1.Process, error) {
	return n.ProcessList, n.called("processes")
}

// Mounts implements server.Kernel.
func (n *Node) Mounts(context.Context) ([]*kernelv1.Mount, error) {
	return n.MountList, n.called("mounts")
}

// Cgroups implements server.Kernel.
func (n *Node) Cgroups(context.Context) ([]*kernelv1.Cgroup, bool, error) {
	return n.CgroupList, false, n.called("cgroups")
}

// Stats implements server.Kernel.
func (n *Node) Stats(context.Context) (*kernelv1.Stats, error) {
	err := n.called("stats")
	n.mu.Lock()
	defer n.mu.Unlock()
	return proto.CloneOf(n.StatsValue), err
}

// Boots implements server.Boots.
func (n *Node) Boots(context.Context) ([]server.Boot, error) {
	return n.BootList, n.called("boots")
}

// Crashes implements server.Crashes.
func (n *Node) Crashes(context.Context) ([]server.Crash, error) {
	return n.CrashList, n.called("crashes")
}

// CrashLog implements server.Crashes. The running boot is BootList's first.
func (n *Node) CrashLog(ctx context.Context, foundBy string, tail int, send func(server.CrashLine) error) error {
	if err := n.called("crash log " + foundBy); err != nil {
		return err
	}
	if foundBy == "" && len(n.BootList) > 0 {
		foundBy = n.BootList[0].ID
	}
	lines, ok := n.CrashLines[foundBy]
	if !ok {
		return fmt.Errorf("crash log of boot %q: %w", foundBy, server.ErrNotFound)
	}
	return stream(ctx, lines, server.StreamOptions{Tail: tail}, send)
}

// Inventory implements server.Inventory.
func (n *Node) Inventory(ctx context.Context, diskHealth bool) (*inventoryv1.Inventory, error) {
	if err := n.called("inventory"); err != nil || n.InventoryFrom == nil {
		return n.InventoryValue, err
	}
	return n.InventoryFrom.Inventory(ctx, diskHealth)
}

// Kubeconfig implements server.Kube.
func (n *Node) Kubeconfig(context.Context) (server.Kubeconfig, error) {
	return n.KubeconfigValue, n.called("kubeconfig")
}

// Drain implements server.Kube.
func (n *Node) Drain(_ context.Context, o server.DrainOptions, progress func(server.DrainProgress) error) (server.DrainOutcome, error) {
	if err := n.called(fmt.Sprintf("drain within %s, alone %t", o.Deadline, o.Alone)); err != nil {
		return server.DrainOutcome{}, err
	}
	n.mu.Lock()
	steps, out := n.DrainSteps, n.DrainOutcome
	n.Cordoned = out.Result == server.DrainComplete || out.Result == server.DrainPartial
	n.mu.Unlock()
	for _, p := range steps {
		if err := progress(p); err != nil {
			return server.DrainOutcome{}, err
		}
	}
	if out == (server.DrainOutcome{}) {
		out = server.DrainOutcome{Result: server.DrainSkipped, Reason: "no other node of the cluster takes pods"}
	}
	return out, nil
}

// Uncordon implements server.Kube.
func (n *Node) Uncordon(context.Context) (bool, error) {
	err := n.called("uncordon")
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.Cordoned
	n.Cordoned = false
	return was, err
}

// Events is a node's EventList. A followed log never brings more.
type Events struct{ *Node }

// Stream implements server.Events.
func (e Events) Stream(ctx context.Context, o server.StreamOptions, send func(server.Event) error) error {
	if err := e.called("events"); err != nil {
		return err
	}
	return stream(ctx, e.EventList, o, send)
}

// Files is a node's FileList and FileData.
type Files struct{ *Node }

// List implements server.Files.
func (f Files) List(ctx context.Context, path string) ([]*filev1.File, bool, error) {
	if err := f.called("list " + path); err != nil {
		return nil, false, err
	}
	if f.FilesFrom != nil {
		return f.FilesFrom.List(ctx, path)
	}
	files, ok := f.FileList[path]
	if !ok {
		return nil, false, fmt.Errorf("open %q: %w", path, server.ErrNotFound)
	}
	return files, false, nil
}

// Read implements server.Files.
func (f Files) Read(ctx context.Context, path string, offset, limit uint64, send func([]byte) error) error {
	if err := f.called("read " + path); err != nil {
		return err
	}
	if f.FilesFrom != nil {
		return f.FilesFrom.Read(ctx, path, offset, limit, send)
	}
	data, ok := f.FileData[path]
	if !ok {
		return fmt.Errorf("open %q: %w", path, server.ErrNotFound)
	}
	data = data[min(offset, uint64(len(data))):]
	return send([]byte(data[:min(limit, uint64(len(data)))]))
}

// Logs is a node's Lines and PastLines as logs. A followed log never brings more.
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

// PastServices implements server.PastLogs.
func (l Logs) PastServices(context.Context) ([]string, error) {
	if err := l.called("past services"); err != nil {
		return nil, err
	}
	if len(l.PastLines) == 0 {
		return nil, fmt.Errorf("logs of the boot before: %w", server.ErrNotFound)
	}
	return slices.Sorted(maps.Keys(l.PastLines)), nil
}

// PastLog implements server.PastLogs.
func (l Logs) PastLog(ctx context.Context, service string, tail int, lacks func(string), send func([]byte) error) error {
	if err := l.called("past log " + service); err != nil {
		return err
	}
	lines, ok := l.PastLines[service]
	if !ok {
		return fmt.Errorf("service %q %w", service, server.ErrNotFound)
	}
	if l.PastLacks != "" {
		lacks(l.PastLacks)
	}
	return stream(ctx, lines, server.StreamOptions{Tail: tail}, func(line string) error { return send([]byte(line)) })
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
