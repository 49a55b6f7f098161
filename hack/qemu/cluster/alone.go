package cluster

import (
	"fmt"
	"os"

	"github.com/cyvive/cyvive/internal/machined/config"
)

// Alone takes Kubernetes out of the configuration of a node that has not run yet: such a node boots quickly, and runs nothing that needs much memory.
// Change, unless it is nil, changes the rest.
func (c *Cluster) Alone(node Node, change func(*config.Config)) error {
	return c.Reconfigure(node, func(cfg *config.Config) {
		cfg.Cluster = nil
		if change != nil {
			change(cfg)
		}
	})
}

// Reconfigure changes the configuration that a node finds at its first start.
func (c *Cluster) Reconfigure(node Node, change func(*config.Config)) error {
	text, err := os.ReadFile(c.UserDataPath(node))
	if err != nil {
		return fmt.Errorf("change configuration: %w", err)
	}
	cfg, err := config.Parse("user-data", text)
	if err != nil {
		return fmt.Errorf("change configuration: %w", err)
	}
	change(cfg)
	if text, err = config.Marshal(cfg); err != nil {
		return fmt.Errorf("change configuration: %w", err)
	}
	return c.SetUserData(node, text)
}
