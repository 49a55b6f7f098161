package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/probe"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// Options say what to measure.
type Options struct {
	// Cluster is the node, and by its processors, memory and disk the baseline.
	// Dir and Home must be folders of the caller's; Probe must be set.
	Cluster cluster.Options
	// Root is the repository, of which releases are built; absolute. RAMRoot is the guest program of package ramroot.
	Root, RAMRoot string
	// PeerTest is the test binary of package peer of machined, Guest the program that runs it in a machine (package vmtest).
	PeerTest, Guest string
	// Listing is the reviewed list of the image, which names its programs.
	Listing string
	// Pod is the manifest of the demonstration pod.
	Pod []byte
	// Settle is the pause before, Idle the length of the idle time.
	Settle, Idle time.Duration
	// Only are some of Parts, or none for all.
	Only []string
	// Out receives progress.
	Out io.Writer
}

func (o Options) say(format string, args ...any) { fmt.Fprintf(o.Out, "bench: "+format+"\n", args...) }

// Parts are what can be measured alone, in the order in which all are.
var Parts = []string{"node", "baseline", "upgrade", "rollback", "memory", "pools", "replication"}

// Run measures one part after the other: at once, each would slow the others
// down. A part that fails does not keep the next from being measured; with an error
// the result holds what was.
func Run(ctx context.Context, o Options) (*Result, error) {
	r := &Result{Time: time.Now().UTC(), Conditions: Conditions{
		Arch: o.Cluster.Arch, Accelerator: vm.DetectAccel(), HostProcessors: runtime.NumCPU(), HostModel: hostModel(),
		NodeProcessors: o.Cluster.CPUs, NodeMemoryBytes: o.Cluster.MemoryBytes, NodeDiskBytes: o.Cluster.DiskBytes,
		SettleSeconds: o.Settle.Seconds(),
	}}
	life := &Life{}
	measures := map[string]func() error{
		"node":     func() (err error) { r.Node, err = o.node(ctx); return err },
		"baseline": func() (err error) { r.Baseline, err = o.baseline(ctx); return err },
		"upgrade":  func() (err error) { life.Upgrade, err = o.upgrade(ctx); return err },
		"rollback": func() (err error) { life.Rollbacks, err = o.rollbacks(ctx); return err },
		"memory":   func() (err error) { life.Memory, err = o.memory(ctx); return err },
		"pools":    func() (err error) { life.Pools, err = o.pools(ctx); return err },

		"replication": func() (err error) { life.Replication, err = o.replication(ctx); return err },
	}
	var errs []error
	for _, part := range Parts {
		if len(o.Only) > 0 && !slices.Contains(o.Only, part) {
			continue
		}
		if err := measures[part](); err != nil {
			o.say("%s: %v", part, err)
			errs = append(errs, fmt.Errorf("measure %s: %w", part, err))
		}
	}
	if life.Upgrade != nil || life.Rollbacks != nil || life.Memory != nil || life.Pools != nil || life.Replication != nil {
		r.Life = life
	}
	r.compare()
	return r, errors.Join(errs...)
}

func (o Options) node(ctx context.Context) (*Figures, error) {
	f := &Figures{}
	for _, name := range []string{"cyvive.efi", "root.erofs.zst", "root.verity"} {
		info, err := os.Stat(filepath.Join(o.Cluster.ImageDir, name))
		if err != nil {
			return nil, err
		}
		f.DownloadBytes += info.Size()
	}
	listing, err := os.ReadFile(o.Listing)
	if err != nil {
		return nil, err
	}
	f.Programs = listedPrograms(string(listing))
	n, err := newNode(ctx, o.Cluster)
	if err != nil {
		return nil, err
	}
	defer func() { _ = n.Stop(context.WithoutCancel(ctx)) }()
	api, err := newNodeAPI(n.ContextPath())
	if err != nil {
		return nil, err
	}
	return f, o.measure(ctx, n, f, func(ctx context.Context, p *probe.Client) (err error) {
		var figures NodeAPI
		figures, err = api.measure(ctx, p)
		f.NodeAPI = &figures
		return err
	})
}

func (o Options) baseline(ctx context.Context) (*Figures, error) {
	f := &Figures{}
	source := filepath.Join(o.Cluster.ImageDir, "baseline")
	text, err := os.ReadFile(filepath.Join(source, "download"))
	if err != nil {
		return nil, err
	}
	if f.DownloadBytes, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err != nil {
		return nil, fmt.Errorf("read size of the baseline: %w", err)
	}
	if text, err = os.ReadFile(filepath.Join(source, "programs")); err != nil {
		return nil, err
	}
	f.Programs = strings.Fields(string(text))
	b, err := newBaseline(ctx, filepath.Join(filepath.Dir(o.Cluster.Dir), "baseline"), o.Cluster)
	if err != nil {
		return nil, err
	}
	return f, o.measure(ctx, b, f, nil)
}

// measure takes one machine through its boots and its idle time. Load is what to
// measure after that, if there is more.
func (o Options) measure(ctx context.Context, m machine, f *Figures, load func(context.Context, *probe.Client) error) (err error) {
	_, name, _ := m.kubernetes()
	o.say("%s: first boot", name)
	v, boot, err := measureBoot(ctx, m, o.Pod, o.say)
	defer func() {
		if v != nil {
			_ = v.PowerCut(context.WithoutCancel(ctx))
		}
	}()
	if err != nil {
		return err
	}
	f.FirstBoot = boot
	if err := powerOff(ctx, v); err != nil {
		return err
	}
	o.say("%s: second boot", name)
	if v, f.Boot, err = measureBoot(ctx, m, o.Pod, o.say); err != nil {
		return err
	}
	if err := o.running(ctx, m, v, f, load); err != nil {
		return err
	}
	if err := powerOff(ctx, v); err != nil {
		return err
	}
	f.DiskUsedBytes, err = allocated(ctx, m.disk())
	return err
}

// running measures the machine while it runs.
func (o Options) running(ctx context.Context, m machine, v *vm.VM, f *Figures, load func(context.Context, *probe.Client) error) error {
	port, name, authority := m.kubernetes()
	conn, err := v.Port(ctx, probe.PortName)
	if err != nil {
		return err
	}
	p := probe.NewClient(conn)
	defer p.Close()
	o.say("%s: idle for %s, after %s to settle", name, o.Idle, o.Settle)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(o.Settle):
	}
	before, err := resident(ctx, p)
	if err != nil {
		return err
	}
	if f.Idle, err = measureIdle(ctx, v, p, o.Idle); err != nil {
		return fmt.Errorf("measure idle time: %w", err)
	}
	if f.ResidentBytes, err = resident(ctx, p); err != nil {
		return err
	}
	f.InitBytes = f.ResidentBytes[initKey]
	f.InitGrowth = float64(f.InitBytes) / float64(before[initKey])
	if before[machined] > 0 {
		f.MachinedGrowth = float64(f.ResidentBytes[machined]) / float64(before[machined])
	}
	delete(f.ResidentBytes, initKey)
	o.say("%s: load", name)
	k, err := newKube(port, name, authority, o.Pod)
	if err != nil {
		return err
	}
	defer k.close()
	f.KubernetesAPI, err = timed(ctx, latencyTime, func(ctx context.Context) error {
		_, _, err := k.do(ctx, http.MethodGet, "/api/v1/namespaces/default", nil)
		return err
	})
	if err != nil || load == nil {
		return err
	}
	return load(ctx, p)
}

// initKey stands for PID 1 in what resident returns: no program has such a name.
const initKey = "1/init"

// resident adds up the memory of the processes of each program.
func resident(ctx context.Context, p *probe.Client) (map[string]int64, error) {
	all, err := p.Processes(ctx)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, process := range all {
		name := programName(process.Args)
		if process.PID == 1 {
			name = initKey
		}
		if name != "" {
			sizes[name] += int64(process.ResidentBytes)
		}
	}
	return sizes, nil
}

// listedPrograms reads the reviewed list of the image (package erofs of images):
// executable files in a folder bin, each name once.
func listedPrograms(listing string) []string {
	seen := map[string]bool{}
	var names []string
	for line := range strings.Lines(listing) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 6 || f[0] != "f" || filepath.Base(filepath.Dir(f[4])) != "bin" || f[5] != "" {
			continue // a target marks a further name of a file that is listed
		}
		mode, err := strconv.ParseUint(f[1], 8, 32)
		if name := filepath.Base(f[4]); err == nil && mode&0o111 != 0 && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// allocated is how much of a disk image, and of those below it, holds data
// (qemu-img(1), map).
func allocated(ctx context.Context, path string) (int64, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "qemu-img", "map", "--output=json", path)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("measure disk %s: %w: %s", path, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return parseMap(out)
}

func parseMap(data []byte) (int64, error) {
	var parts []struct {
		Length int64 `json:"length"`
		Zero   bool  `json:"zero"`
		Data   bool  `json:"data"`
	}
	if err := json.Unmarshal(data, &parts); err != nil {
		return 0, fmt.Errorf("measure disk: %w", err)
	}
	var sum int64
	for _, p := range parts {
		if p.Data && !p.Zero {
			sum += p.Length
		}
	}
	return sum, nil
}

// hostModel is the processor's name in proc_cpuinfo(5), or nothing.
func hostModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
