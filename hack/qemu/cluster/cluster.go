package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/hack/qemu/network"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// Ports that a node listens on.
const (
	nodeAPIPort    = 50000
	kubernetesPort = 6443
)

// Options describe the cluster to make.
type Options struct {
	// Name of the cluster, of its nodectl context and of its kubeconfig context.
	Name string
	// Dir receives all that the cluster writes.
	Dir string
	// ImageDir holds the image: disk.qcow2 for its architecture.
	ImageDir string
	// Image, where set, is the qcow2 file of another disk image than that of ImageDir.
	Image string
	Arch  string
	// BinDir holds nodectl and kubectl.
	BinDir string
	// Home replaces the user's home folder for nodectl and kubectl, so that the
	// user's own contexts stay untouched; empty leaves it.
	Home string

	CPUs        int
	MemoryBytes int64
	// DiskBytes is what the node sees; the overlay grows as it is written.
	DiskBytes int64
	// Empty are further disks of each node, each in a slot; see vm.Disk.
	Empty []EmptyDisk
	// Nodes is how many machines there are; 0 is one. They run no cluster together: see Cluster.Alone.
	Nodes int
	// Cabled joins two nodes by a second card of each, with nothing else on that network; see Cluster.Cable.
	Cabled bool
	// Disks, where set, says what disks a node has, in place of its own: it is asked at each start, with the
	// machine's folder. For tests whose disks do what those of a folder do not.
	Disks func(dir string) []vm.Disk
	// RawImage, where set, is a raw disk image of which each node gets a copy, in
	// place of an overlay on that of ImageDir: a test can read such a disk, and
	// change it while the machine is off.
	RawImage string
	// TPM gives each node a TPM 2.0 of software; see Cluster.ReplaceTPM.
	TPM bool
	// APIPort and KubernetesPort of 127.0.0.1; 0 takes the usual one where it is
	// free, and another where not.
	APIPort, KubernetesPort uint16
	// SecureBoot gives the machines firmware that knows Secure Boot, in setup mode at
	// first, and SMM such as keeps its variables from the guest.
	SecureBoot, SMM bool
	// Detached lets the machines outlive this process.
	Detached bool
	// Reach is what machines can connect to on the host.
	Reach []network.Reach
	// Boot is what their firmware starts from the network, if no disk starts.
	Boot network.Boot
	// Wire lets a test see all frames of each machine's network, and send its
	// own; see Cluster.Wire.
	Wire bool
	// Initramfs, where set, has the machines boot the image's kernel directly, with an initramfs that it writes to a path at each start; what it returns
	// goes behind the image's command line.
	Initramfs func(path string) (parameters string, err error)
	// Probe, where set, is the guest program of package probe: the machines boot
	// their kernel directly, and Probe asks them. For tests that must see, or
	// kill, what the node hides.
	Probe string
	// ProbeFiles are files of this machine, by whole paths, that the probe has at the
	// same paths: programs for it to run, and what they need (probe.Closure).
	ProbeFiles []string
	// Out receives progress for a person; nil discards it.
	Out io.Writer
}

// Cluster is a made cluster. Its methods must not be called concurrently.
type Cluster struct {
	options Options
	record  record
	tools   Tools
	report  *reporter
}

// record is cluster.json.
type record struct {
	Name string `json:"name"`
	Arch string `json:"arch"`
	Home string `json:"home,omitempty"`
	TPM  bool   `json:"tpm,omitempty"`
	// CPUs and MemoryBytes of each node.
	CPUs        int    `json:"cpus,omitempty"`
	MemoryBytes int64  `json:"memoryBytes,omitempty"`
	Nodes       []Node `json:"nodes"`
	// Files that Up added entries to, and whether it made them.
	Nodectl    addition `json:"nodectl"`
	Kubeconfig addition `json:"kubeconfig"`
}

// addition says what became of a file that belongs to the user.
type addition struct {
	Path    string `json:"path"`
	Created bool   `json:"created"`
	// CreatedDir is set where Up made the file's folder, too.
	CreatedDir bool `json:"createdDir,omitempty"`
	Merged     bool `json:"merged"`
}

// Node is one machine of a cluster.
type Node struct {
	Name string `json:"name"`
	// APIPort and KubernetesPort of 127.0.0.1 lead to the node's.
	APIPort        uint16 `json:"apiPort"`
	KubernetesPort uint16 `json:"kubernetesPort"`
}

const recordFile = "cluster.json"

// ErrNoCluster says that a folder holds no cluster.
var ErrNoCluster = errors.New("there is no cluster")

// Open finds the cluster that an earlier Up left in options.Dir. Name, Arch, Home,
// CPUs and MemoryBytes come from its record.
func Open(options Options) (*Cluster, error) {
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("open cluster: %w", err)
	}
	options.Dir = dir
	data, err := os.ReadFile(filepath.Join(options.Dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open cluster in %s: %w", options.Dir, ErrNoCluster)
	}
	if err != nil {
		return nil, fmt.Errorf("open cluster: %w", err)
	}
	found, err := parseRecord(data)
	if err != nil {
		return nil, fmt.Errorf("open cluster in %s: %w", options.Dir, err)
	}
	options.Name, options.Arch, options.Home = found.Name, found.Arch, found.Home
	options.CPUs, options.MemoryBytes = found.CPUs, found.MemoryBytes
	return newCluster(options, found), nil
}

func parseRecord(data []byte) (record, error) {
	var found record
	if err := json.Unmarshal(data, &found); err != nil {
		return record{}, fmt.Errorf("read %s: %w", recordFile, err)
	}
	if found.Name == "" {
		return record{}, fmt.Errorf("read %s: it names no cluster", recordFile)
	}
	return found, nil
}

func newCluster(options Options, r record) *Cluster {
	return &Cluster{
		options: options, record: r,
		tools:  newTools(options),
		report: newReporter(options.Out),
	}
}

func (c *Cluster) save() error {
	data, err := json.MarshalIndent(c.record, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", recordFile, err)
	}
	return os.WriteFile(filepath.Join(c.options.Dir, recordFile), append(data, '\n'), 0o600)
}

// Nodes returns the machines in the order in which they were made.
func (c *Cluster) Nodes() []Node { return c.record.Nodes }

// Tools returns nodectl and kubectl as set up for this cluster.
func (c *Cluster) Tools() Tools { return c.tools }

// NodeDir is the folder of a node's machine: disk, console, configuration.
func (c *Cluster) NodeDir(node Node) string { return filepath.Join(c.options.Dir, node.Name) }

// ConsolePath is the file with all that a node wrote to its serial console.
func (c *Cluster) ConsolePath(node Node) string {
	return filepath.Join(c.NodeDir(node), vm.ConsoleFile)
}

// Disk is the image of a node's disk, unless Options.Disks says which that is, and
// its format by qemu-img's name of it.
func (c *Cluster) Disk(node Node) (path, format string) { return diskIn(c.NodeDir(node)) }

func diskIn(dir string) (path, format string) {
	raw := filepath.Join(dir, rawFile)
	if _, err := os.Stat(raw); err == nil {
		return raw, "raw"
	}
	return filepath.Join(dir, diskFile), "qcow2"
}

// ReplaceTPM gives a node that does not run another TPM, as a new board has it.
func (c *Cluster) ReplaceTPM(node Node) error { return vm.RemoveTPM(c.NodeDir(node)) }

// UserDataPath is the configuration that the node was given.
func (c *Cluster) UserDataPath(node Node) string {
	return filepath.Join(c.options.Dir, "config", node.Name+".yaml")
}

// ContextPath is the nodectl context of the cluster in a file of its own.
func (c *Cluster) ContextPath() string {
	return filepath.Join(c.options.Dir, "config", "nodectl.yaml")
}

// machineName tells machines of several clusters apart.
func (c *Cluster) machineName(node Node) string { return c.record.Name + "-" + node.Name }

// Machine finds the running machine of a node.
func (c *Cluster) Machine(node Node) (*vm.VM, error) {
	return vm.Attach(c.machineName(node), c.NodeDir(node))
}

// machineConfig is the node as QEMU is to run it.
func (c *Cluster) machineConfig(index int) (vm.Config, error) {
	node := c.record.Nodes[index]
	find := vm.FindFirmware
	if c.options.SecureBoot {
		find = func(arch string) (vm.Firmware, error) { return vm.FindSecureFirmware(arch, c.options.SMM) }
	}
	firmware, err := find(c.record.Arch)
	if err != nil {
		return vm.Config{}, err
	}
	dir := c.NodeDir(node)
	lan := network.User{Wire: c.options.Wire, Reach: c.options.Reach, Boot: c.options.Boot, Forwards: []network.Forward{
		{HostPort: node.APIPort, GuestPort: nodeAPIPort},
		{HostPort: node.KubernetesPort, GuestPort: kubernetesPort},
	}}
	config := vm.Config{
		Name: c.machineName(node), Dir: dir, Arch: c.record.Arch, Accel: vm.DetectAccel(),
		CPUs: c.options.CPUs, MemoryBytes: c.options.MemoryBytes,
		FirmwareCode: firmware.Code, FirmwareVars: firmware.Vars,
		Disks:    c.disks(dir),
		Network:  append(lan.Arguments(index), c.cable(index)...),
		Watchdog: true,
		SMM:      c.options.SecureBoot && c.options.SMM,
		TPM:      c.record.TPM,
		Detached: c.options.Detached,
	}
	switch {
	case c.options.Probe != "":
		return config, c.addProbe(&config)
	case c.options.Initramfs != nil:
		return config, c.bootDirectly(&config, c.options.Initramfs)
	}
	return config, nil
}

// disks are those of a machine, the one that it starts from first.
func (c *Cluster) disks(dir string) []vm.Disk {
	userData := vm.Disk{Path: filepath.Join(dir, cidataFile), Format: "raw", ReadOnly: true, Serial: "cidata"}
	if c.options.Disks != nil {
		return append(append(c.options.Disks(dir), userData), c.emptyDisks(dir)...)
	}
	path, format := diskIn(dir)
	disks := []vm.Disk{{Path: path, Format: format, Serial: SystemSerial}, userData}
	return append(disks, c.emptyDisks(dir)...)
}
