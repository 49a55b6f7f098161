package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/cidata"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/network"
	"github.com/cyvive/cyvive/hack/qemu/probe"
	"github.com/cyvive/cyvive/hack/qemu/vm"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/pki"
)

// machine is one of the two that are measured. A machine that does not run can be
// started, any number of times, and takes its disk up as it is.
type machine interface {
	// start starts it and returns once QEMU runs.
	start(ctx context.Context) (*vm.VM, error)
	// kubernetes is the port of 127.0.0.1 that leads to its API server, the name
	// of its node, and the authority of its API server and clients.
	kubernetes() (port uint16, node string, authority *pki.Authority)
	// disk is the file with what it wrote.
	disk() string
}

// node is the machine of a cluster of this project.
type node struct {
	*cluster.Cluster
	authority *pki.Authority
}

// newNode makes a cluster with a probe, whose machines have not been started.
func newNode(ctx context.Context, o cluster.Options) (*node, error) {
	c, err := cluster.Create(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := c.Merge(ctx); err != nil {
		return nil, err
	}
	path := c.UserDataPath(c.Nodes()[0])
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	parsed, err := config.Parse(path, text)
	if err != nil {
		return nil, err
	}
	trust, err := plan.ReadTrust(parsed)
	if err != nil {
		return nil, err
	}
	return &node{Cluster: c, authority: trust.Kubernetes}, nil
}

func (n *node) start(ctx context.Context) (*vm.VM, error) {
	if err := n.Start(ctx); err != nil {
		return nil, err
	}
	return n.Machine(n.Nodes()[0])
}

func (n *node) kubernetes() (uint16, string, *pki.Authority) {
	first := n.Nodes()[0]
	return first.KubernetesPort, first.Name, n.authority
}

func (n *node) disk() string { return filepath.Join(n.NodeDir(n.Nodes()[0]), "disk.qcow2") }

// baseline is the machine with Debian.
type baseline struct {
	config    vm.Config
	port      uint16
	authority *pki.Authority
}

// authorityVolume is the label of the disk with the cluster's authority.
const authorityVolume = "authority"

// newBaseline makes the machine in dir. Processors, memory and disk are those of
// the options, which are the node's.
func newBaseline(ctx context.Context, dir string, o cluster.Options) (*baseline, error) {
	source := filepath.Join(o.ImageDir, "baseline")
	if _, err := os.Stat(filepath.Join(source, "disk.qcow2")); err != nil {
		return nil, fmt.Errorf("find baseline: %w; `make bench` builds it", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make baseline: %w", err)
	}
	authority, err := pki.NewAuthority("kubernetes", time.Now())
	if err != nil {
		return nil, err
	}
	ports, err := network.FreePorts(0)
	if err != nil {
		return nil, err
	}
	b := &baseline{port: ports[0], authority: authority}
	// The size is that of the file system, which was made with the node's.
	if err := cluster.CreateOverlay(ctx, filepath.Join(source, "disk.qcow2"), filepath.Join(dir, "disk.qcow2"), 0); err != nil {
		return nil, err
	}
	if err := cidata.WriteVolume(filepath.Join(dir, "authority.iso"), authorityVolume, map[string][]byte{
		"ca.crt": authority.CertificatePEM(), "ca.key": authority.KeyPEM(),
	}); err != nil {
		return nil, err
	}
	initrd := filepath.Join(dir, "initrd")
	if err := probe.WriteInitramfs(initrd, filepath.Join(source, "initrd"), filepath.Join(o.ImageDir, "modules"), o.Probe); err != nil {
		return nil, err
	}
	b.config = vm.Config{
		Name: "bench-baseline", Dir: dir, Arch: o.Arch, Accel: vm.DetectAccel(), CPUs: o.CPUs, MemoryBytes: o.MemoryBytes,
		Kernel: filepath.Join(source, "vmlinuz"), Initrd: initrd,
		Append: "root=/dev/vda ro console=tty0 console=ttyS0,115200 panic=10 rdinit=" + probe.GuestPath,
		Disks: []vm.Disk{
			{Path: filepath.Join(dir, "disk.qcow2"), Format: "qcow2", Serial: "system"},
			{Path: filepath.Join(dir, "authority.iso"), Format: "raw", ReadOnly: true, Serial: authorityVolume},
		},
		Ports:   []vm.Port{{Name: probe.PortName}},
		Network: network.User{Forwards: []network.Forward{{HostPort: b.port, GuestPort: 6443}}}.Arguments(0),
	}
	return b, nil
}

func (b *baseline) start(ctx context.Context) (*vm.VM, error) { return vm.Start(ctx, b.config) }

func (b *baseline) kubernetes() (uint16, string, *pki.Authority) {
	return b.port, "baseline", b.authority
}

func (b *baseline) disk() string { return b.config.Disks[0].Path }

// powerOffTimeout is how long an ordered power-off may take before the plug is
// pulled.
const powerOffTimeout = 5 * time.Minute

// powerOff presses the power key and waits for the machine's end.
func powerOff(ctx context.Context, v *vm.VM) error {
	if err := v.PressPower(ctx); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, powerOffTimeout)
	defer cancel()
	err := v.Wait(limited)
	if err != nil {
		err = errors.Join(fmt.Errorf("power off: %w", err), v.PowerCut(ctx))
	}
	return err
}
