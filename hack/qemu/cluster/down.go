package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"go.yaml.in/yaml/v3"

	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
	"github.com/cyvive/cyvive/cmd/nodectl/kubeconfig"
	"github.com/cyvive/cyvive/cmd/nodectl/secretfile"
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
		errs = append(errs, removeContext(c.record.Nodectl, c.record.Name))
	}
	if c.record.Kubeconfig.Merged {
		errs = append(errs, removeKubeconfig(c.record.Kubeconfig, c.record.Name))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove cluster %s: %w", c.record.Name, err)
	}
	if err := os.RemoveAll(c.options.Dir); err != nil {
		return fmt.Errorf("remove cluster %s: %w", c.record.Name, err)
	}
	return nil
}

// remove removes a file that Up made, and its folder if Up made that and nobody
// else put something into it, as kubectl does with its cache.
func (a addition) remove() error {
	if err := os.Remove(a.Path); err != nil || !a.CreatedDir {
		return err
	}
	err := os.Remove(filepath.Dir(a.Path))
	if errors.Is(err, syscall.ENOTEMPTY) {
		return nil
	}
	return err
}

// removeContext takes the cluster's nodectl context back. One that is not there
// is no error: an interrupted Up may have made none.
func removeContext(added addition, name string) error {
	file, err := contexts.Load(added.Path)
	if err != nil {
		return err
	}
	if file.Contexts[name] == nil {
		return nil
	}
	if err := file.Remove(name); err != nil {
		return err
	}
	if added.Created && len(file.Contexts) == 0 {
		return added.remove()
	}
	return file.Save(added.Path)
}

// removeKubeconfig does the same in a kubeconfig.
func removeKubeconfig(added addition, name string) error {
	existing, err := os.ReadFile(added.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	rest, err := kubeconfig.Remove(existing, name)
	if errors.Is(err, kubeconfig.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", added.Path, err)
	}
	if added.Created && !holdsEntries(rest) {
		return added.remove()
	}
	return secretfile.Write(added.Path, rest)
}

// holdsEntries tells whether a kubeconfig (k8s.io/client-go/tools/clientcmd/api/v1)
// has any cluster, user or context.
func holdsEntries(text []byte) bool {
	var file struct {
		Clusters, Users, Contexts []any
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return true // to be kept
	}
	return len(file.Clusters)+len(file.Users)+len(file.Contexts) > 0
}
