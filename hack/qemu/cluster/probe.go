package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cyvive/cyvive/hack/qemu/probe"
	"github.com/cyvive/cyvive/hack/qemu/vm"
	"github.com/cyvive/cyvive/hack/qemu/wire"
)

// addProbe makes a machine boot with the probe, which runs first.
func (c *Cluster) addProbe(config *vm.Config) error {
	config.Ports = append(config.Ports, vm.Port{Name: probe.PortName})
	return c.bootDirectly(config, func(path string) (string, error) {
		return "rdinit=" + probe.GuestPath, probe.WriteInitramfs(path, filepath.Join(c.options.ImageDir, initramfsFile),
			filepath.Join(c.options.ImageDir, "modules"), c.options.Probe, c.options.ProbeFiles...)
	})
}

// bootDirectly makes a machine boot the image's kernel with the image's command line, without firmware.
func (c *Cluster) bootDirectly(config *vm.Config, write func(path string) (string, error)) error {
	cmdline, err := os.ReadFile(filepath.Join(c.options.ImageDir, "cmdline"))
	if err != nil {
		return fmt.Errorf("read command line of the image: %w", err)
	}
	config.Kernel = filepath.Join(c.options.ImageDir, "vmlinuz")
	config.Initrd = filepath.Join(config.Dir, "initramfs")
	parameters, err := write(config.Initrd)
	config.Append = strings.TrimSpace(strings.TrimSpace(string(cmdline)) + " " + parameters)
	return err
}

// initramfsFile is the image's own, in its folder.
const initramfsFile = "initramfs.zst"

// Probe connects to the probe of a running node; Options.Probe must be set. The
// caller closes it.
func (c *Cluster) Probe(ctx context.Context, node Node) (*probe.Client, error) {
	machine, err := c.Machine(node)
	if err != nil {
		return nil, err
	}
	conn, err := machine.Port(ctx, probe.PortName)
	if err != nil {
		return nil, err
	}
	return probe.NewClient(conn), nil
}

// Wire joins the network of a node, which may not run yet; Options.Wire must be
// set. The caller closes it.
func (c *Cluster) Wire(node Node) (*wire.Wire, error) { return wire.Open(c.NodeDir(node)) }
