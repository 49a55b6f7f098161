package cluster

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// collectTimeout bounds each question of Collect: a node that is in trouble may
// not answer.
const collectTimeout = 10 * time.Second

// Collect asks the nodes and Kubernetes for what helps to understand a failure,
// and writes the answers into the folder logs of each node's folder. Where there
// is no answer, the file says why. It returns the folders, one a node.
func (c *Cluster) Collect(ctx context.Context) []string {
	var dirs []string
	for _, node := range c.record.Nodes {
		dir := filepath.Join(c.NodeDir(node), "logs")
		dirs = append(dirs, dir)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			continue
		}
		services, err := c.serviceNames(ctx, node)
		if err != nil {
			continue // the node answers nothing; its console is all there is
		}
		for _, name := range services {
			c.collect(ctx, filepath.Join(dir, name+".log"), c.tools.Nodectl, c.NodeArgs(node, "logs", name))
		}
		for file, args := range map[string][]string{
			"health.json":     {"health", "--output", "json"},
			"services.json":   {"service", "list", "--output", "json"},
			"containers.json": {"container", "list", "--output", "json"},
			"events.json":     {"events", "--output", "json"},
			"boots.json":      {"boots", "--output", "json"},
			"dmesg.txt":       {"dmesg"},
		} {
			c.collect(ctx, filepath.Join(dir, file), c.tools.Nodectl, c.NodeArgs(node, args...))
		}
		for file, args := range map[string][]string{
			"pods.yaml":   {"get", "pods", "--all-namespaces", "--output", "yaml", "--request-timeout", "8s"},
			"events.txt":  {"get", "events", "--all-namespaces", "--request-timeout", "8s"},
			"knodes.yaml": {"get", "nodes", "--output", "yaml", "--request-timeout", "8s"},
		} {
			c.collect(ctx, filepath.Join(dir, file), c.tools.Kubectl, args)
		}
	}
	return dirs
}

func (c *Cluster) collect(ctx context.Context, path string, ask func(context.Context, ...string) (string, error), args []string) {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	out, err := ask(ctx, args...)
	if err != nil {
		out += "\n" + err.Error() + "\n"
	}
	_ = os.WriteFile(path, []byte(out), 0o600) // nothing better could be done
}

// serviceNames asks a node for its services.
func (c *Cluster) serviceNames(ctx context.Context, node Node) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	out, err := c.tools.Nodectl(ctx, c.NodeArgs(node, "service", "list", "--output", "json")...)
	if err != nil {
		return nil, err
	}
	return parseServices([]byte(out))
}

// parseServices reads ListServicesResponse as protojson.
func parseServices(data []byte) ([]string, error) {
	var list struct {
		Services []struct {
			Name string `json:"name"`
		} `json:"services"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	var names []string
	for _, service := range list.Services {
		// A name becomes a file's name here, so it must be nothing more.
		if service.Name == filepath.Base(service.Name) {
			names = append(names, service.Name)
		}
	}
	return names, nil
}
