package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// Stop cuts the power of all machines.
func (c *Cluster) Stop(ctx context.Context) error {
	var errs []error
	for _, node := range c.record.Nodes {
		machine, err := c.Machine(node)
		if errors.Is(err, vm.ErrNotRunning) {
			continue
		}
		if err == nil {
			err = machine.PowerCut(ctx)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Down stops the machines, takes the cluster's entries out of the user's files
// and removes the cluster's folder. It goes on past an error, so that as little
// as possible is left.
func (c *Cluster) Down(ctx context.Context) error {
	c.report.printf("stop cluster %s", c.record.Name)
	errs := []error{c.Stop(ctx)}
	if c.record.Nodectl.Merged {
		errs = append(errs, c.removeContext(ctx))
	}
	if c.record.Kubeconfig.Merged {
		errs = append(errs, c.removeKubeconfig(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove cluster %s: %w", c.record.Name, err)
	}
	if err := os.RemoveAll(c.options.Dir); err != nil {
		return fmt.Errorf("remove cluster %s: %w", c.record.Name, err)
	}
	return nil
}

func (c *Cluster) removeContext(ctx context.Context) error {
	path := c.record.Nodectl.Path
	if missing(path) {
		return nil
	}
	if _, err := c.tools.Nodectl(ctx, "context", "remove", c.record.Name); err != nil {
		return err
	}
	left, err := contexts.Load(path)
	if err != nil || !c.record.Nodectl.Created || len(left.Contexts) > 0 {
		return err
	}
	return os.Remove(path)
}

// removeKubeconfig deletes the entries that carry the cluster's name. Entries
// that are not there are no error: an interrupted Up may have made none.
func (c *Cluster) removeKubeconfig(ctx context.Context) error {
	path := c.record.Kubeconfig.Path
	if missing(path) {
		return nil
	}
	name := c.record.Name
	if out, err := c.tools.Kubectl(ctx, "config", "current-context"); err == nil && strings.TrimSpace(out) == name {
		if _, err := c.tools.Kubectl(ctx, "config", "unset", "current-context"); err != nil {
			return err
		}
	}
	for _, section := range []string{"contexts", "clusters", "users"} {
		if _, err := c.tools.Kubectl(ctx, "config", "unset", section+"."+name); err != nil {
			return err
		}
	}
	left, err := c.tools.Kubectl(ctx, "config", "get-contexts", "--output", "name")
	if err != nil || !c.record.Kubeconfig.Created || strings.TrimSpace(left) != "" {
		return err
	}
	return os.Remove(path)
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
