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

// row is one line of the table.
type row struct {
	name, unit string
	value      func(*Figures) float64
	// target of the ratio, or of the value where absolute is set; 0 is none.
	target   float64
	absolute bool
}

const mb = 1e6

func rows() []row {
	return []row{
		{"first boot to API", "s", func(f *Figures) float64 { return f.FirstBoot.APISeconds }, 0, false},
		{"first boot to Ready", "s", func(f *Figures) float64 { return f.FirstBoot.ReadySeconds }, 0, false},
		{"first boot to pod", "s", func(f *Figures) float64 { return f.FirstBoot.PodSeconds }, 0, false},
		{"boot to API", "s", func(f *Figures) float64 { return f.Boot.APISeconds }, 0, false},
		{"boot to Ready", "s", func(f *Figures) float64 { return f.Boot.ReadySeconds }, 0.5, false},
		{"boot to pod", "s", func(f *Figures) float64 { return f.Boot.PodSeconds }, 0, false},
		{"download", "MB", func(f *Figures) float64 { return float64(f.DownloadBytes) / mb }, 100, true},
		{"programs", "", func(f *Figures) float64 { return float64(len(f.Programs)) }, 0, false},
		{"idle memory", "MB", func(f *Figures) float64 { return float64(f.Idle.MemoryBytes) / mb }, 0.65, false},
		{"idle CPU", "s/min", func(f *Figures) float64 { return perMinute(f, f.Idle.CPUSeconds) }, 0.75, false},
		{"idle disk I/O", "MB/min", func(f *Figures) float64 {
			return perMinute(f, float64(f.Idle.DiskReadBytes+f.Idle.DiskWrittenBytes)/mb)
		}, 0.3, false},
		{"idle network I/O", "kB/min", func(f *Figures) float64 { return perMinute(f, float64(f.Idle.NetworkBytes)/1e3) }, 0.9, false},
		{"disk used", "MB", func(f *Figures) float64 { return float64(f.DiskUsedBytes) / mb }, 0.3, false},
		{"PID 1", "MB", func(f *Figures) float64 { return float64(f.InitBytes) / mb }, 12, true},
		{"machined", "MB", func(f *Figures) float64 { return float64(f.ResidentBytes[machined]) / mb }, 45, true},
		{"PID 1, end of idle time to its beginning", "", func(f *Figures) float64 { return f.InitGrowth }, 0, false},
		{"machined, end of idle time to its beginning", "", func(f *Figures) float64 { return f.MachinedGrowth }, 0, false},
		{"Kubernetes API, p50", "ms", func(f *Figures) float64 { return f.KubernetesAPI.P50Millis }, 0, false},
		{"Kubernetes API, p99", "ms", func(f *Figures) float64 { return f.KubernetesAPI.P99Millis }, 0, false},
		{"node API, p50", "ms", nodeFigure(func(n *NodeAPI) float64 { return n.Unary.P50Millis }), 0, false},
		{"node API, p99", "ms", nodeFigure(func(n *NodeAPI) float64 { return n.Unary.P99Millis }), 0, false},
		{"node API", "calls/s", nodeFigure(func(n *NodeAPI) float64 { return n.CallsPerSecond }), 0, false},
		{"node API, a log", "MB/s", nodeFigure(func(n *NodeAPI) float64 { return n.LogBytesPerSecond / mb }), 0, false},
		{"500 clients, without answer", "", nodeFigure(func(n *NodeAPI) float64 { return float64(n.Refused) }), 0, false},
		{"500 clients, machined", "MB", nodeFigure(func(n *NodeAPI) float64 { return float64(n.MemoryConnected) / mb }), 0, false},
	}
}

func nodeFigure(value func(*NodeAPI) float64) func(*Figures) float64 {
	return func(f *Figures) float64 {
		if f.NodeAPI == nil {
			return 0
		}
		return value(f.NodeAPI)
	}
}

func perMinute(f *Figures, v float64) float64 {
	if f.Idle.Seconds == 0 {
		return 0
	}
	return v / f.Idle.Seconds * 60
}

// compare fills in the ratios of what both machines have.
func (r *Result) compare() {
	if r.Node == nil || r.Baseline == nil {
		return
	}
	r.Ratios = map[string]float64{}
	for _, row := range rows() {
		if n, b := row.value(r.Node), row.value(r.Baseline); n > 0 && b > 0 {
			r.Ratios[row.name] = n / b
		}
	}
}

// Print writes the table. A dash is what a machine has not, or was not measured.
func (r *Result) Print(w io.Writer) error {
	c := r.Conditions
	fmt.Fprintf(w, "%s, %s on %s with %d processors (%s); machines of %d processors and %d MiB\n\n",
		r.Time.Format("2006-01-02"), c.Accelerator, runtime.GOOS, c.HostProcessors, c.HostModel, c.NodeProcessors, c.NodeMemoryBytes>>20)
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
	if f == nil {
		return "-"
	}
	v := row.value(f)
	if v == 0 {
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
