package server

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
)

// metrics writes the state of the node in Prometheus' text format 0.0.4.
type metrics struct {
	config Config
	table  *connections
}

// cgroupDepth is how deep the tree of control groups is shown: the planes and
// their parts, not every pod.
const cgroupDepth = 2

// text reads everything anew.
func (m *metrics) text(ctx context.Context) ([]byte, error) {
	v, err := m.config.Machine.Version(ctx)
	if err != nil {
		return nil, err
	}
	checks, err := m.config.Machine.Health(ctx)
	if err != nil {
		return nil, err
	}
	services, err := m.config.Services.Services(ctx)
	if err != nil {
		return nil, err
	}
	stats, err := m.config.Kernel.Stats(ctx)
	if err != nil {
		return nil, err
	}
	groups, _, err := m.config.Kernel.Cgroups(ctx)
	if err != nil {
		return nil, err
	}
	var w exposition
	w.family("cyvive_info", "gauge", "What the node runs.")
	w.sample(1, "version", v.OS, "kernel", v.KernelRelease, "slot", v.Slot)
	w.family("cyvive_check_healthy", "gauge", "1 where a health check is healthy.")
	for _, c := range checks {
		w.sample(flag(c.Healthy), "check", c.Name)
	}
	w.family("cyvive_service_running", "gauge", "1 where a service runs.")
	for _, s := range services {
		w.sample(flag(s.State == ServiceRunning), "service", s.Name)
	}
	w.family("cyvive_service_restarts_total", "counter", "Times a service was started again since the node booted.")
	for _, s := range services {
		w.sample(float64(s.Restarts), "service", s.Name)
	}
	open, verified := m.table.size()
	w.family("cyvive_api_connections", "gauge", "Open connections of the node API.")
	w.sample(float64(verified), "verified", "true")
	w.sample(float64(open-verified), "verified", "false")
	w.stats(stats)
	w.cgroups(groups)
	w.pools(ctx, m.config.Pools)
	w.datasets(ctx, m.config.Datasets)
	w.replication(ctx, m.config.Replication)
	w.schedules(ctx, m.config.Snapshots)
	return w.out.Bytes(), nil
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// exposition is text in the making: families, each with its samples.
type exposition struct {
	out  bytes.Buffer
	name string
}

// family begins a family of samples.
func (w *exposition) family(name, kind, help string) {
	w.name = name
	fmt.Fprintf(&w.out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes one value with labels, given as pairs of name and value.
func (w *exposition) sample(value float64, labels ...string) {
	w.out.WriteString(w.name)
	for i := 0; i < len(labels); i += 2 {
		w.out.WriteByte("{,"[min(i, 1)])
		w.out.WriteString(labels[i] + `="`)
		w.out.WriteString(escapeLabel(labels[i+1]))
		w.out.WriteByte('"')
	}
	if len(labels) > 0 {
		w.out.WriteByte('}')
	}
	w.out.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

// escapeLabel writes a label's value as the format has it; bytes that are no
// UTF-8 would make a scraper drop the whole answer.
func escapeLabel(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}

// row is a sample of a family, with the label that tells it from the others.
type row struct {
	label string
	value float64
}

func (w *exposition) rows(name, kind, help, label string, rows ...row) {
	if len(rows) == 0 {
		return
	}
	w.family(name, kind, help)
	for _, r := range rows {
		if label == "" {
			w.sample(r.value)
		} else {
			w.sample(r.value, label, r.label)
		}
	}
}

// each makes rows of a list.
func each[T any](list []T, label func(T) string, value func(T) float64) []row {
	var out []row
	for _, one := range list {
		out = append(out, row{label(one), value(one)})
	}
	return out
}

func seconds(d *durationpb.Duration) float64 { return float64(d.AsDuration()) / float64(time.Second) }

func (w *exposition) stats(s *kernelv1.Stats) {
	cpu, memory := s.GetCpu(), s.GetMemory()
	w.rows("cyvive_uptime_seconds", "gauge", "Time since the kernel's start.", "", row{"", seconds(s.GetUptime())})
	w.rows("cyvive_cpus", "gauge", "Processors.", "", row{"", float64(cpu.GetProcessors())})
	w.rows("cyvive_cpu_seconds_total", "counter", "Time of all processors.", "mode",
		row{"user", seconds(cpu.GetUser())}, row{"nice", seconds(cpu.GetNice())}, row{"system", seconds(cpu.GetSystem())},
		row{"idle", seconds(cpu.GetIdle())}, row{"iowait", seconds(cpu.GetIowait())}, row{"irq", seconds(cpu.GetIrq())},
		row{"softirq", seconds(cpu.GetSoftirq())}, row{"steal", seconds(cpu.GetSteal())})
	w.rows("cyvive_load", "gauge", "Tasks that run or wait for a device, on average.", "minutes",
		row{"1", cpu.GetLoad1()}, row{"5", cpu.GetLoad5()}, row{"15", cpu.GetLoad15()})
	w.rows("cyvive_memory_bytes", "gauge", "The machine's memory.", "kind",
		row{"total", float64(memory.GetTotalBytes())}, row{"free", float64(memory.GetFreeBytes())}, row{"available", float64(memory.GetAvailableBytes())},
		row{"buffers", float64(memory.GetBuffersBytes())}, row{"cached", float64(memory.GetCachedBytes())}, row{"slab", float64(memory.GetSlabBytes())})
	disk := (*kernelv1.DiskStats).GetName
	w.rows("cyvive_disk_read_bytes_total", "counter", "Bytes read.", "disk",
		each(s.GetDisks(), disk, func(d *kernelv1.DiskStats) float64 { return float64(d.GetReadBytes()) })...)
	w.rows("cyvive_disk_written_bytes_total", "counter", "Bytes written.", "disk",
		each(s.GetDisks(), disk, func(d *kernelv1.DiskStats) float64 { return float64(d.GetWrittenBytes()) })...)
	w.rows("cyvive_disk_busy_seconds_total", "counter", "Time with a request under way.", "disk",
		each(s.GetDisks(), disk, func(d *kernelv1.DiskStats) float64 { return seconds(d.GetBusy()) })...)
	link := (*kernelv1.InterfaceStats).GetName
	w.rows("cyvive_network_received_bytes_total", "counter", "Bytes received.", "interface",
		each(s.GetInterfaces(), link, func(i *kernelv1.InterfaceStats) float64 { return float64(i.GetReceivedBytes()) })...)
	w.rows("cyvive_network_sent_bytes_total", "counter", "Bytes sent.", "interface",
		each(s.GetInterfaces(), link, func(i *kernelv1.InterfaceStats) float64 { return float64(i.GetSentBytes()) })...)
	w.rows("cyvive_network_dropped_packets_total", "counter", "Packets dropped or in error, both ways.", "interface",
		each(s.GetInterfaces(), link, func(i *kernelv1.InterfaceStats) float64 {
			return float64(i.GetReceiveDrops() + i.GetReceiveErrors() + i.GetSendDrops() + i.GetSendErrors())
		})...)
	resource := (*kernelv1.Pressure).GetResource
	w.rows("cyvive_pressure_some_seconds_total", "counter", "Time in which a task waited for the resource.", "resource",
		each(s.GetPressures(), resource, func(p *kernelv1.Pressure) float64 { return seconds(p.GetSomeTotal()) })...)
	w.rows("cyvive_pressure_full_seconds_total", "counter", "Time in which all tasks waited for the resource.", "resource",
		each(s.GetPressures(), resource, func(p *kernelv1.Pressure) float64 { return seconds(p.GetFullTotal()) })...)
}

func (w *exposition) cgroups(all []*kernelv1.Cgroup) {
	var shown []*kernelv1.Cgroup
	for _, g := range all {
		if g.GetPath() != "/" && strings.Count(g.GetPath(), "/") <= cgroupDepth {
			shown = append(shown, g)
		}
	}
	path := (*kernelv1.Cgroup).GetPath
	w.rows("cyvive_cgroup_memory_bytes", "gauge", "Memory of a control group and those in it.", "cgroup",
		each(shown, path, func(g *kernelv1.Cgroup) float64 { return float64(g.GetMemoryBytes()) })...)
	w.rows("cyvive_cgroup_cpu_seconds_total", "counter", "Processor time of a control group and those in it.", "cgroup",
		each(shown, path, func(g *kernelv1.Cgroup) float64 { return seconds(g.GetCpuTime()) })...)
	w.rows("cyvive_cgroup_oom_kills_total", "counter", "Processes killed for want of memory.", "cgroup",
		each(shown, path, func(g *kernelv1.Cgroup) float64 { return float64(g.GetOomKills()) })...)
}
