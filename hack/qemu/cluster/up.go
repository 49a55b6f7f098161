package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cyvive/cyvive/hack/qemu/cidata"
	"github.com/cyvive/cyvive/hack/qemu/preflight"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// LackError lists what the host lacks for a cluster.
type LackError struct{ Missing []preflight.Missing }

func (e *LackError) Error() string {
	text := "this machine lacks:"
	for _, m := range e.Missing {
		text += "\n  " + m.String()
	}
	return text
}

// Create checks the host, then makes the cluster's secrets, configurations and
// disks. Nothing is started. A host that cannot run it gives a *LackError before
// anything is written.
func Create(ctx context.Context, o Options) (*Cluster, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("make cluster: %w", err)
	}
	o.Dir = dir
	if _, err := os.Stat(filepath.Join(dir, recordFile)); err == nil {
		return nil, fmt.Errorf("make cluster: %s holds one already; make cluster-start starts its machines again, make cluster-down removes it", dir)
	}
	if err := check(o); err != nil {
		return nil, err
	}
	nodes, err := o.nodes()
	if err != nil {
		return nil, fmt.Errorf("make cluster: %w", err)
	}
	c := newCluster(o, record{
		Name: o.Name, Arch: o.Arch, Home: o.Home, TPM: o.TPM, CPUs: o.CPUs, MemoryBytes: o.MemoryBytes, Nodes: nodes,
	})
	for _, node := range c.record.Nodes {
		if err := os.MkdirAll(c.NodeDir(node), 0o700); err != nil {
			return nil, fmt.Errorf("make cluster: %w", err)
		}
	}
	if err := c.save(); err != nil {
		return nil, fmt.Errorf("make cluster: %w", err)
	}
	if err := c.generate(ctx); err != nil {
		return nil, fmt.Errorf("make cluster: %w", err)
	}
	for _, node := range c.record.Nodes {
		if err := c.makeDisks(ctx, node); err != nil {
			return nil, fmt.Errorf("make cluster: %w", err)
		}
	}
	return c, nil
}

func or(port, usual uint16) uint16 {
	if port != 0 {
		return port
	}
	return usual
}

// Needs is what the options ask of the host.
func (o Options) Needs() preflight.Needs {
	needs := preflight.Needs{
		Arch: o.Arch, MemoryBytes: o.MemoryBytes * int64(o.machines()), Dir: o.Dir,
		// A fresh node writes well below a gibibyte; three leave room to use it.
		DiskBytes: min(o.DiskBytes, 3<<30) * int64(o.machines()),
	}
	for _, port := range []uint16{o.APIPort, o.KubernetesPort} {
		if port != 0 {
			needs.Ports = append(needs.Ports, port)
		}
	}
	return needs
}

func check(o Options) error {
	missing := preflight.Check(o.Needs(), preflight.ThisHost())
	image := o.image()
	if o.RawImage != "" {
		image = o.RawImage
	}
	for _, path := range []string{
		image,
		filepath.Join(o.BinDir, "nodectl"), filepath.Join(o.BinDir, "kubectl"),
	} {
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, preflight.Missing{What: path + " (make image builds it)"})
		}
	}
	if len(missing) > 0 {
		return &LackError{Missing: missing}
	}
	return nil
}

// generate has nodectl make the secrets and one configuration a node.
func (c *Cluster) generate(ctx context.Context) error {
	c.report.printf("make secrets and configurations of cluster %s", c.record.Name)
	first := c.record.Nodes[0]
	args := []string{
		"gen", "cluster", c.record.Name,
		"--endpoint", fmt.Sprintf("https://127.0.0.1:%d", first.KubernetesPort),
		"--out", filepath.Join(c.options.Dir, "config"),
	}
	for _, node := range c.record.Nodes {
		args = append(args, "--node", fmt.Sprintf("%s=127.0.0.1:%d", node.Name, node.APIPort))
	}
	_, err := c.tools.Nodectl(ctx, args...)
	return err
}

func (c *Cluster) makeDisks(ctx context.Context, node Node) error {
	dir := c.NodeDir(node)
	var err error
	switch raw := c.options.RawImage; {
	case c.options.Disks != nil:
	case raw != "":
		err = copyRaw(ctx, raw, filepath.Join(dir, rawFile), c.options.DiskBytes)
	default:
		base := filepath.Join(dir, baseFile)
		if err = holdImage(ctx, c.options.image(), base); err == nil {
			err = CreateOverlay(ctx, base, filepath.Join(dir, diskFile), c.options.DiskBytes)
		}
	}
	if err != nil {
		return err
	}
	for _, disk := range c.options.Empty {
		if disk.Socket != "" {
			continue
		}
		if err := CreateEmpty(ctx, filepath.Join(dir, disk.file()), disk.SizeBytes); err != nil {
			return err
		}
	}
	userData, err := os.ReadFile(c.UserDataPath(node))
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	return cidata.Write(filepath.Join(dir, cidataFile), userData, metaData(node))
}

// metaData is the part of NoCloud that names the instance; the node takes its
// name from its Machine document.
func metaData(node Node) []byte {
	return []byte("instance-id: " + node.Name + "\n")
}

// SetUserData gives a node another configuration, which it takes if it has stored
// none yet. The owner and the passphrase of the disk it reads there at its next boot.
func (c *Cluster) SetUserData(node Node, userData []byte) error {
	return cidata.Write(filepath.Join(c.NodeDir(node), cidataFile), userData, metaData(node))
}

// StartAgain starts the machines of a cluster that Open found and that are off, after
// a shutdown or a restart of the host. They keep their disks, and so run what they ran
// last, not the image that was built since.
func (c *Cluster) StartAgain(ctx context.Context) error {
	// The context is merged before a machine starts for the first time. A record without
	// processors is from before holdImage: the image below its disks may be another now.
	if !c.record.Nodectl.Merged || c.record.CPUs == 0 {
		return fmt.Errorf("start cluster %s: %s holds one that never ran, or that an older program made; make cluster-down removes it",
			c.record.Name, c.options.Dir)
	}
	c.report.printf("start cluster %s again, with the disks that it has", c.record.Name)
	return c.Start(ctx)
}

// Start starts the machines that do not run. They take up the disks as they are.
func (c *Cluster) Start(ctx context.Context) error {
	for _, node := range c.record.Nodes {
		if err := c.StartNode(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

// StartNode is Start for one node.
func (c *Cluster) StartNode(ctx context.Context, node Node) error {
	if _, err := c.Machine(node); !errors.Is(err, vm.ErrNotRunning) {
		return nil
	}
	config, err := c.machineConfig(slices.Index(c.record.Nodes, node))
	if err != nil {
		return fmt.Errorf("start node %s: %w", node.Name, err)
	}
	c.report.printf("start %s with %s: node API at 127.0.0.1:%d, Kubernetes at 127.0.0.1:%d",
		node.Name, config.Accel, node.APIPort, node.KubernetesPort)
	if _, err := vm.Start(ctx, config); err != nil {
		return fmt.Errorf("start node %s: %w", node.Name, err)
	}
	return nil
}
