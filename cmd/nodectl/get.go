package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	containerv1 "github.com/cyvive/cyvive/api/proto/container/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

func (a *app) getCommand() *cobra.Command {
	return group("get", "Show the state of nodes, once or with each change (--watch)",
		a.getNodesCommand(), a.getHealthCommand(), a.getServicesCommand(), a.getContainersCommand(),
		a.getProcessesCommand(), a.getMountsCommand(), a.getCgroupsCommand(), a.getStatsCommand())
}

// kind is something that can be got and watched. L is the response of the call
// that lists it, W that of its watch.
type kind[L, W proto.Message] struct {
	use, alias, short string
	columns           columns[L]
	// keys is how many of the first cells name a row.
	keys   int
	list   func(context.Context, *connection) (L, error)
	watch  func(context.Context, *connection) (receiver[W], error)
	unwrap func(W) L
}

// kindCommand makes the verb of a kind.
func kindCommand[L, W proto.Message](a *app, k kind[L, W]) *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: k.use, Aliases: []string{k.alias}, Short: k.short, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return watching(cmd.Context(), a, k)
			}
			return unary(cmd.Context(), a, k.list, k.columns, nil)
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "go on with what changes until interrupted")
	return c
}

// watching writes all rows, and then those that are new, have changed or are gone.
func watching[L, W proto.Message](ctx context.Context, a *app, k kind[L, W]) error {
	if a.format != output.FormatTable {
		return streaming(ctx, a, k.watch, func(W) string { return "" })
	}
	t, err := a.target()
	if err != nil {
		return err
	}
	w := &watchWriter{out: a.stdout, several: len(t.nodes) > 1, header: k.columns.header}
	results := each(ctx, t, func(ctx context.Context, node string, conn *connection) (struct{}, error) {
		known := changes{keys: k.keys}
		return struct{}{}, receive(ctx, conn, k.watch, func(m W) error { return w.write(node, known.next(k.columns.rows(k.unwrap(m)))) })
	})
	return a.report(errorsOf(results))
}

func (a *app) getNodesCommand() *cobra.Command {
	return kindCommand(a, kind[*machinev1.GetNodeResponse, *machinev1.WatchNodeResponse]{
		use: "nodes", alias: "node", short: "List the nodes with their state", keys: 1,
		columns: columns[*machinev1.GetNodeResponse]{
			[]string{"NAME", "ROLE", "READY", "VERSION", "KERNEL", "ADDRESSES", "UPTIME", "REASON"},
			func(n *machinev1.GetNodeResponse) [][]string { return nodeRows(n, a.now()) },
		},
		list: getNode,
		watch: func(ctx context.Context, conn *connection) (receiver[*machinev1.WatchNodeResponse], error) {
			return machinev1.NewMachineServiceClient(conn).WatchNode(ctx, &machinev1.WatchNodeRequest{})
		},
		unwrap: (*machinev1.WatchNodeResponse).GetNode,
	})
}

func getNode(ctx context.Context, conn *connection) (*machinev1.GetNodeResponse, error) {
	return machinev1.NewMachineServiceClient(conn).GetNode(ctx, &machinev1.GetNodeRequest{})
}

func nodeRows(n *machinev1.GetNodeResponse, now time.Time) [][]string {
	var uptime string
	if n.GetBootedAt() != nil {
		uptime = now.Sub(n.GetBootedAt().AsTime()).Round(time.Second).String()
	}
	return [][]string{{
		n.GetHostname(), enumName(n.GetRole().String(), "NODE_ROLE_"), yesNo(n.GetReady()), n.GetVersion(),
		n.GetKernelRelease(), strings.Join(n.GetAddresses(), ","), uptime, n.GetReason(),
	}}
}

func (a *app) getHealthCommand() *cobra.Command {
	return kindCommand(a, kind[*machinev1.GetHealthResponse, *machinev1.WatchHealthResponse]{
		use: "health", alias: "checks", short: "Show what is in order, and what the rest waits for", keys: 1,
		columns: columns[*machinev1.GetHealthResponse]{[]string{"CHECK", "HEALTHY", "SINCE", "REASON"}, healthRows},
		list:    getHealth,
		watch: func(ctx context.Context, conn *connection) (receiver[*machinev1.WatchHealthResponse], error) {
			return machinev1.NewMachineServiceClient(conn).WatchHealth(ctx, &machinev1.WatchHealthRequest{})
		},
		unwrap: (*machinev1.WatchHealthResponse).GetHealth,
	})
}

func (a *app) getServicesCommand() *cobra.Command {
	return kindCommand(a, kind[*servicev1.ListServicesResponse, *servicev1.WatchServicesResponse]{
		use: "services", alias: "service", short: "List the services", keys: 1,
		columns: serviceColumns(),
		list:    listServices,
		watch:   watchServices,
		unwrap: func(w *servicev1.WatchServicesResponse) *servicev1.ListServicesResponse {
			return &servicev1.ListServicesResponse{Services: w.GetServices()}
		},
	})
}

func (a *app) getContainersCommand() *cobra.Command {
	return kindCommand(a, kind[*containerv1.ListContainersResponse, *containerv1.WatchContainersResponse]{
		use: "containers", alias: "container", short: "List the containers of both planes", keys: 3,
		columns: containerColumns(),
		list:    listContainers,
		watch: func(ctx context.Context, conn *connection) (receiver[*containerv1.WatchContainersResponse], error) {
			return containerv1.NewContainerServiceClient(conn).WatchContainers(ctx, &containerv1.WatchContainersRequest{})
		},
		unwrap: func(w *containerv1.WatchContainersResponse) *containerv1.ListContainersResponse {
			return &containerv1.ListContainersResponse{Containers: w.GetContainers()}
		},
	})
}

func (a *app) getProcessesCommand() *cobra.Command {
	return kindCommand(a, kind[*kernelv1.ListProcessesResponse, *kernelv1.WatchProcessesResponse]{
		use: "processes", alias: "process", short: "List the processes of both planes (needs node:operator)", keys: 1,
		columns: columns[*kernelv1.ListProcessesResponse]{
			[]string{"PID", "PARENT", "USER", "STATE", "THREADS", "CPU", "MEMORY", "STARTED", "CGROUP", "COMMAND"}, processRows,
		},
		list: func(ctx context.Context, conn *connection) (*kernelv1.ListProcessesResponse, error) {
			return kernelv1.NewKernelServiceClient(conn).ListProcesses(ctx, &kernelv1.ListProcessesRequest{})
		},
		watch: func(ctx context.Context, conn *connection) (receiver[*kernelv1.WatchProcessesResponse], error) {
			return kernelv1.NewKernelServiceClient(conn).WatchProcesses(ctx, &kernelv1.WatchProcessesRequest{})
		},
		unwrap: func(w *kernelv1.WatchProcessesResponse) *kernelv1.ListProcessesResponse {
			return &kernelv1.ListProcessesResponse{Processes: w.GetProcesses()}
		},
	})
}

func processRows(l *kernelv1.ListProcessesResponse) [][]string {
	var rows [][]string
	for _, p := range l.GetProcesses() {
		command := p.GetCommandLine()
		if command == "" {
			command = "[" + p.GetName() + "]"
		}
		rows = append(rows, []string{
			number(p.GetPid(), true), number(p.GetParentPid(), true), number(p.GetUid(), true), p.GetState(), number(p.GetThreads(), true),
			seconds(p.GetCpuTime()), bytesText(p.GetResidentBytes()), stamp(p.GetStartedAt()), p.GetCgroup(), command,
		})
	}
	return rows
}

func (a *app) getMountsCommand() *cobra.Command {
	return kindCommand(a, kind[*kernelv1.ListMountsResponse, *kernelv1.WatchMountsResponse]{
		use: "mounts", alias: "mount", short: "List the mounts, with what is used of them", keys: 1,
		columns: columns[*kernelv1.ListMountsResponse]{[]string{"TARGET", "TYPE", "SIZE", "USED", "AVAILABLE", "INODES USED", "SOURCE", "OPTIONS"}, mountRows},
		list: func(ctx context.Context, conn *connection) (*kernelv1.ListMountsResponse, error) {
			return kernelv1.NewKernelServiceClient(conn).ListMounts(ctx, &kernelv1.ListMountsRequest{})
		},
		watch: func(ctx context.Context, conn *connection) (receiver[*kernelv1.WatchMountsResponse], error) {
			return kernelv1.NewKernelServiceClient(conn).WatchMounts(ctx, &kernelv1.WatchMountsRequest{})
		},
		unwrap: func(w *kernelv1.WatchMountsResponse) *kernelv1.ListMountsResponse {
			return &kernelv1.ListMountsResponse{Mounts: w.GetMounts()}
		},
	})
}

func mountRows(l *kernelv1.ListMountsResponse) [][]string {
	var rows [][]string
	for _, m := range l.GetMounts() {
		row := []string{m.GetTarget(), m.GetType(), "", "", "", "", m.GetSource(), m.GetOptions()}
		if m.GetSizeBytes() > 0 {
			row[2], row[3], row[4] = bytesText(m.GetSizeBytes()), bytesText(m.GetUsedBytes()), bytesText(m.GetAvailableBytes())
		}
		if m.GetInodes() > 0 {
			row[5] = fmt.Sprintf("%d%%", m.GetInodesUsed()*100/m.GetInodes())
		}
		rows = append(rows, row)
	}
	return rows
}

func (a *app) getCgroupsCommand() *cobra.Command {
	return kindCommand(a, kind[*kernelv1.ListCgroupsResponse, *kernelv1.WatchCgroupsResponse]{
		use: "cgroups", alias: "cgroup", short: "List the control groups, with what each uses", keys: 1,
		columns: columns[*kernelv1.ListCgroupsResponse]{[]string{"CGROUP", "TASKS", "MEMORY", "PEAK", "MIN", "MAX", "CPU", "READ", "WRITTEN", "OOM KILLS"}, cgroupRows},
		list: func(ctx context.Context, conn *connection) (*kernelv1.ListCgroupsResponse, error) {
			return kernelv1.NewKernelServiceClient(conn).ListCgroups(ctx, &kernelv1.ListCgroupsRequest{})
		},
		watch: func(ctx context.Context, conn *connection) (receiver[*kernelv1.WatchCgroupsResponse], error) {
			return kernelv1.NewKernelServiceClient(conn).WatchCgroups(ctx, &kernelv1.WatchCgroupsRequest{})
		},
		unwrap: func(w *kernelv1.WatchCgroupsResponse) *kernelv1.ListCgroupsResponse {
			return &kernelv1.ListCgroupsResponse{Cgroups: w.GetCgroups(), Truncated: w.GetTruncated()}
		},
	})
}

func cgroupRows(l *kernelv1.ListCgroupsResponse) [][]string {
	var rows [][]string
	for _, g := range l.GetCgroups() {
		most := "none"
		if g.MemoryMaxBytes != nil {
			most = bytesText(g.GetMemoryMaxBytes())
		}
		rows = append(rows, []string{
			g.GetPath(), fmt.Sprint(g.GetTasks()), bytesText(g.GetMemoryBytes()), bytesText(g.GetMemoryPeakBytes()), bytesText(g.GetMemoryMinBytes()), most,
			seconds(g.GetCpuTime()), bytesText(g.GetReadBytes()), bytesText(g.GetWrittenBytes()), fmt.Sprint(g.GetOomKills()),
		})
	}
	if l.GetTruncated() {
		rows = append(rows, []string{"… and more", "", "", "", "", "", "", "", "", ""})
	}
	return rows
}

func (a *app) getStatsCommand() *cobra.Command {
	return kindCommand(a, kind[*kernelv1.GetStatsResponse, *kernelv1.WatchStatsResponse]{
		use: "stats", alias: "stat", short: "Show the use of processors, memory, disks and network since the boot", keys: 2,
		columns: columns[*kernelv1.GetStatsResponse]{[]string{"RESOURCE", "NAME", "USE"}, statsRows},
		list: func(ctx context.Context, conn *connection) (*kernelv1.GetStatsResponse, error) {
			return kernelv1.NewKernelServiceClient(conn).GetStats(ctx, &kernelv1.GetStatsRequest{})
		},
		watch: watchStats,
		unwrap: func(w *kernelv1.WatchStatsResponse) *kernelv1.GetStatsResponse {
			return &kernelv1.GetStatsResponse{Stats: w.GetStats()}
		},
	})
}

func watchStats(ctx context.Context, conn *connection) (receiver[*kernelv1.WatchStatsResponse], error) {
	return kernelv1.NewKernelServiceClient(conn).WatchStats(ctx, &kernelv1.WatchStatsRequest{})
}

func statsRows(r *kernelv1.GetStatsResponse) [][]string {
	s := r.GetStats()
	cpu, memory := s.GetCpu(), s.GetMemory()
	rows := [][]string{
		{"cpu", fmt.Sprintf("%d processors", cpu.GetProcessors()), fmt.Sprintf("load %.2f %.2f %.2f, user %s, system %s, idle %s, waiting %s, stolen %s",
			cpu.GetLoad1(), cpu.GetLoad5(), cpu.GetLoad15(), seconds(cpu.GetUser()), seconds(cpu.GetSystem()), seconds(cpu.GetIdle()), seconds(cpu.GetIowait()), seconds(cpu.GetSteal()))},
		{"memory", bytesText(memory.GetTotalBytes()), fmt.Sprintf("available %s, free %s, cached %s, slab %s",
			bytesText(memory.GetAvailableBytes()), bytesText(memory.GetFreeBytes()), bytesText(memory.GetCachedBytes()), bytesText(memory.GetSlabBytes()))},
	}
	for _, d := range s.GetDisks() {
		rows = append(rows, []string{"disk", d.GetName(), fmt.Sprintf("size %s, read %s in %d, written %s in %d, busy %s",
			bytesText(d.GetSizeBytes()), bytesText(d.GetReadBytes()), d.GetReads(), bytesText(d.GetWrittenBytes()), d.GetWrites(), seconds(d.GetBusy()))})
	}
	for _, i := range s.GetInterfaces() {
		rows = append(rows, []string{"network", i.GetName(), fmt.Sprintf("received %s in %d, sent %s in %d, errors %d, dropped %d",
			bytesText(i.GetReceivedBytes()), i.GetReceivedPackets(), bytesText(i.GetSentBytes()), i.GetSentPackets(), i.GetReceiveErrors()+i.GetSendErrors(), i.GetReceiveDrops()+i.GetSendDrops())})
	}
	for _, p := range s.GetPressures() {
		rows = append(rows, []string{"pressure", p.GetResource(), fmt.Sprintf("some waited %.2f%% of 10 s, %.2f%% of 60 s, %s in all; all waited %.2f%% of 10 s, %s in all",
			p.GetSomePercent10(), p.GetSomePercent60(), seconds(p.GetSomeTotal()), p.GetFullPercent10(), seconds(p.GetFullTotal()))})
	}
	return rows
}
