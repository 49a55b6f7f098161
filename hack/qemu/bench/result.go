package bench

import (
	"fmt"
	"io"
	"math"
	"path"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// Result is bench.json.
type Result struct {
	Time time.Time `json:"time"`
	// Conditions under which both machines ran.
	Conditions Conditions `json:"conditions"`
	Node       *Figures   `json:"node,omitempty"`
	Baseline   *Figures   `json:"baseline,omitempty"`
	// Ratios are node to baseline.
	Ratios map[string]float64 `json:"ratios,omitempty"`
	Life   *Life              `json:"life,omitempty"`
}

// Conditions are what the figures depend on.
type Conditions struct {
	Arch            string   `json:"arch"`
	Accelerator     vm.Accel `json:"accelerator"`
	HostProcessors  int      `json:"hostProcessors"`
	HostModel       string   `json:"hostModel,omitempty"`
	NodeProcessors  int      `json:"nodeProcessors"`
	NodeMemoryBytes int64    `json:"nodeMemoryBytes"`
	NodeDiskBytes   int64    `json:"nodeDiskBytes"`
	// SettleSeconds lay between the pod's answer and the idle time.
	SettleSeconds float64 `json:"settleSeconds"`
}

// Figures are those of one machine.
type Figures struct {
	// DownloadBytes is the system and Kubernetes together, compressed.
	DownloadBytes int64 `json:"downloadBytes"`
	// Programs are the names of its executable files.
	Programs []string `json:"programs"`
	// FirstBoot sets the node up; Boot is of a node that is set up.
	FirstBoot Boot `json:"firstBoot"`
	Boot      Boot `json:"boot"`
	Idle      Idle `json:"idle"`
	// DiskUsedBytes is what the disk's image holds at the end, the system included.
	DiskUsedBytes int64 `json:"diskUsedBytes"`
	// ResidentBytes of each program at the end of the idle time, its processes
	// added up, by the base name of their first argument.
	ResidentBytes map[string]int64 `json:"residentBytes"`
	// InitBytes is that of PID 1 alone.
	InitBytes int64 `json:"initBytes"`
	// InitGrowth and MachinedGrowth are the memory of PID 1 and of machined at the end of the idle time, divided by that at its beginning.
	InitGrowth     float64 `json:"initGrowth"`
	MachinedGrowth float64 `json:"machinedGrowth,omitempty"`
	// KubernetesAPI is a read of a namespace, by one caller.
	KubernetesAPI Latency `json:"kubernetesAPI"`
	// NodeAPI is the node's own.
	NodeAPI *NodeAPI `json:"nodeAPI,omitempty"`
}

// row is one line of the table. Its value is not a number where the figure was
// not measured.
type row struct {
	name, unit string
	value      func(*Figures) float64
	// target of the ratio, or of the value where absolute is set; 0 is none.
	target   float64
	absolute bool
	// mayBeZero tells that 0 is a figure.
	mayBeZero bool
}

const mb = 1e6

func rows() []row {
	return []row{
		{name: "first boot to API", unit: "s", value: func(f *Figures) float64 { return f.FirstBoot.APISeconds }},
		{name: "first boot to Ready", unit: "s", value: func(f *Figures) float64 { return f.FirstBoot.ReadySeconds }},
		{name: "first boot to pod", unit: "s", value: func(f *Figures) float64 { return f.FirstBoot.PodSeconds }},
		{name: "boot to API", unit: "s", value: func(f *Figures) float64 { return f.Boot.APISeconds }},
		{name: "boot to Ready", unit: "s", target: 0.5, value: func(f *Figures) float64 { return f.Boot.ReadySeconds }},
		{name: "boot to pod", unit: "s", value: func(f *Figures) float64 { return f.Boot.PodSeconds }},
		{name: "download", unit: "MB", target: 100, absolute: true, value: func(f *Figures) float64 { return float64(f.DownloadBytes) / mb }},
		{name: "programs", value: func(f *Figures) float64 { return float64(len(f.Programs)) }},
		{name: "idle memory", unit: "MB", target: 0.65, value: func(f *Figures) float64 { return float64(f.Idle.MemoryBytes) / mb }},
		{name: "idle CPU", unit: "s/min", target: 0.75, value: func(f *Figures) float64 { return perMinute(f, f.Idle.CPUSeconds) }},
		{name: "idle disk I/O", unit: "MB/min", target: 0.3, mayBeZero: true, value: func(f *Figures) float64 {
			return perMinute(f, float64(f.Idle.DiskReadBytes+f.Idle.DiskWrittenBytes)/mb)
		}},
		{name: "idle network I/O", unit: "kB/min", target: 0.9, mayBeZero: true, value: func(f *Figures) float64 { return perMinute(f, float64(f.Idle.NetworkBytes)/1e3) }},
		{name: "disk used", unit: "MB", target: 0.3, value: func(f *Figures) float64 { return float64(f.DiskUsedBytes) / mb }},
		{name: "PID 1", unit: "MB", target: 12, absolute: true, value: func(f *Figures) float64 { return float64(f.InitBytes) / mb }},
		{name: "machined", unit: "MB", target: 45, absolute: true, value: func(f *Figures) float64 { return float64(f.ResidentBytes[machined]) / mb }},
		{name: "PID 1, end of idle time to its beginning", value: func(f *Figures) float64 { return f.InitGrowth }},
		{name: "machined, end of idle time to its beginning", value: func(f *Figures) float64 { return f.MachinedGrowth }},
		{name: "Kubernetes API, p50", unit: "ms", value: func(f *Figures) float64 { return f.KubernetesAPI.P50Millis }},
		{name: "Kubernetes API, p99", unit: "ms", value: func(f *Figures) float64 { return f.KubernetesAPI.P99Millis }},
		{name: "node API, p50", unit: "ms", value: nodeFigure(func(n *NodeAPI) float64 { return n.Unary.P50Millis })},
		{name: "node API, p99", unit: "ms", value: nodeFigure(func(n *NodeAPI) float64 { return n.Unary.P99Millis })},
		{name: "node API", unit: "calls/s", value: nodeFigure(func(n *NodeAPI) float64 { return n.CallsPerSecond })},
		{name: "node API, a log", unit: "MB/s", value: nodeFigure(func(n *NodeAPI) float64 { return n.LogBytesPerSecond / mb })},
		{name: "500 clients, without answer", mayBeZero: true, value: nodeFigure(func(n *NodeAPI) float64 { return float64(n.Refused) })},
		{name: "500 clients, machined", unit: "MB", value: nodeFigure(func(n *NodeAPI) float64 { return float64(n.MemoryConnected) / mb })},
	}
}

func nodeFigure(value func(*NodeAPI) float64) func(*Figures) float64 {
	return func(f *Figures) float64 {
		if f.NodeAPI == nil {
			return math.NaN()
		}
		return value(f.NodeAPI)
	}
}

func perMinute(f *Figures, v float64) float64 {
	if f.Idle.Seconds == 0 {
		return math.NaN()
	}
	return v / f.Idle.Seconds * 60
}

// measured returns the row's value, and whether there is one. Nothing takes no
// time or memory at all, but an idle machine may well send and write nothing.
func (r row) measured(f *Figures) (float64, bool) {
	if f == nil {
		return 0, false
	}
	v := r.value(f)
	return v, !math.IsNaN(v) && (v != 0 || r.mayBeZero)
}

// compare fills in the ratios of what both machines have.
func (r *Result) compare() {
	if r.Node == nil || r.Baseline == nil {
		return
	}
	r.Ratios = map[string]float64{}
	for _, row := range rows() {
		n, isNode := row.measured(r.Node)
		if b, isBaseline := row.measured(r.Baseline); isNode && isBaseline && b != 0 {
			r.Ratios[row.name] = n / b
		}
	}
}

// Print writes the tables. A dash is what a machine has not, or was not measured.
func (r *Result) Print(w io.Writer) error {
	c := r.Conditions
	fmt.Fprintf(w, "%s, %s on %s with %d processors (%s); machines of %d processors and %d MiB\n",
		r.Time.Format("2006-01-02"), c.Accelerator, runtime.GOOS, c.HostProcessors, c.HostModel, c.NodeProcessors, c.NodeMemoryBytes>>20)
	if r.Node != nil || r.Baseline != nil {
		if err := r.printMachines(w); err != nil {
			return err
		}
	}
	if r.Life != nil {
		return r.Life.print(w)
	}
	return nil
}

// printMachines writes the table of the node and the baseline.
func (r *Result) printMachines(w io.Writer) error {
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "figure\tunit\tnode\tbaseline\tratio\ttarget\t")
	for _, row := range rows() {
		target := "-"
		switch {
		case row.target > 0 && row.absolute:
			target = fmt.Sprintf("≤ %g %s", row.target, row.unit)
		case row.target > 0:
			target = fmt.Sprintf("ratio ≤ %g", row.target)
		}
		ratio := "-"
		if v, ok := r.Ratios[row.name]; ok {
			ratio = fmt.Sprintf("%.2f", v)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t\n", row.name, row.unit, cell(row, r.Node), cell(row, r.Baseline), ratio, target)
	}
	return table.Flush()
}

func cell(row row, f *Figures) string {
	v, ok := row.measured(f)
	if !ok {
		return "-"
	}
	if row.unit == "" && v != math.Trunc(v) {
		return fmt.Sprintf("%.2f", v)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}

// programName is the base name of a process's first argument.
func programName(args []string) string {
	if len(args) == 0 {
		return ""
	}
	name, _, _ := strings.Cut(args[0], " ") // some write a title over their arguments
	return strings.TrimSuffix(path.Base(name), ":")
}
