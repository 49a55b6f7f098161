package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// AwaitHealthy waits until every node says that all its parts are in order, and
// reports what it waits for.
func (c *Cluster) AwaitHealthy(ctx context.Context) error {
	for _, node := range c.record.Nodes {
		if err := c.AwaitNode(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

// AwaitNode is AwaitHealthy for one node.
func (c *Cluster) AwaitNode(ctx context.Context, node Node) error {
	err := c.retry(ctx, node.Name, func(ctx context.Context) error {
		if _, err := c.Machine(node); err != nil {
			return err
		}
		reasons, err := c.Health(ctx, node)
		switch {
		case err != nil:
			// The last line is the gist; the rest is for the final error.
			return fmt.Errorf("%w\nthe node API does not answer yet", err)
		case len(reasons) > 0:
			return errors.New(reasons[0])
		}
		return nil
	})
	if err == nil {
		c.report.printf("%s is healthy", node.Name)
	}
	return err
}

// Health asks a node for its health. It returns what the node waits for, in the
// order of its parts; none when it is healthy.
func (c *Cluster) Health(ctx context.Context, node Node) ([]string, error) {
	out, err := c.tools.Nodectl(ctx, c.NodeArgs(node, "health", "--output", "json")...)
	if err != nil && out == "" {
		return nil, err
	}
	return parseHealth([]byte(out))
}

// NodeArgs puts the choice of one node before a command of nodectl.
func (c *Cluster) NodeArgs(node Node, args ...string) []string {
	return append([]string{
		"--context", c.record.Name, "--nodes", fmt.Sprintf("127.0.0.1:%d", node.APIPort),
	}, args...)
}

// parseHealth reads GetHealthResponse as protojson.
func parseHealth(data []byte) ([]string, error) {
	var health struct {
		Healthy bool `json:"healthy"`
		Checks  []struct {
			Name    string `json:"name"`
			Healthy bool   `json:"healthy"`
			Reason  string `json:"reason"`
		} `json:"checks"`
	}
	if err := json.Unmarshal(data, &health); err != nil {
		return nil, fmt.Errorf("read health: %w", err)
	}
	var reasons []string
	for _, check := range health.Checks {
		if !check.Healthy {
			reasons = append(reasons, check.Name+": "+check.Reason)
		}
	}
	if !health.Healthy && len(reasons) == 0 {
		reasons = []string{"the node gives no reason"}
	}
	return reasons, nil
}

// lastLine shortens an error for a progress line: programs end with the gist.
func lastLine(err error) string {
	text := strings.TrimSpace(err.Error())
	return text[strings.LastIndexByte(text, '\n')+1:]
}
