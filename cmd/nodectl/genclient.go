package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/cmd/nodectl/secretfile"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/pki"
)

// genClientFlags are the flags of gen client.
type genClientFlags struct {
	config, name, out string
	roles             []string
	lifetime          time.Duration
}

// clientRoles returns the roles of the node API.
func clientRoles() []string {
	return []string{adminRole, "node:operator", "node:reader", "etcd:backup"}
}

func (a *app) genClientCommand() *cobra.Command {
	var f genClientFlags
	c := &cobra.Command{
		Use:   "client",
		Short: "Make a client certificate from a node's configuration, as a context",
		Long: "Make a client certificate from a node's configuration, as a context that\n" +
			"`nodectl context merge` takes in. The nodes are those of --nodes.",
		Example: "  nodectl gen client --config demo/node1.yaml --role node:reader --name alice -n 127.0.0.1:50000 --out alice.yaml",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.genClient(f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.config, "config", "", "configuration of a node, which holds the authority (required)")
	flags.StringArrayVar(&f.roles, "role", nil, "one of "+strings.Join(clientRoles(), ", ")+" (required, repeatable)")
	flags.StringVar(&f.name, "name", "client", "who the client is, for the audit log")
	flags.DurationVar(&f.lifetime, "lifetime", 30*24*time.Hour, "how long the certificate is valid")
	flags.StringVar(&f.out, "out", "", "write to this file, which must not exist, instead of standard output")
	return c
}

func (a *app) genClient(f genClientFlags) error {
	switch {
	case f.config == "":
		return usagef("--config is missing, the configuration of a node")
	case len(f.roles) == 0:
		return usagef("--role is missing, one of %s", strings.Join(clientRoles(), ", "))
	case len(a.nodes) == 0:
		return usagef("--nodes is missing, the addresses of the nodes the client is for")
	case f.lifetime <= 0:
		return usagef("--lifetime is %v, expected a time to come", f.lifetime)
	}
	for _, role := range f.roles {
		if !slices.Contains(clientRoles(), role) {
			return usagef("--role %q: expected one of %s", role, strings.Join(clientRoles(), ", "))
		}
	}
	t, err := (&target{}).override(a.nodes)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(f.config)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	cfg, err := config.Parse(f.config, text)
	if err != nil {
		return err
	}
	authority, err := pki.ParseAuthority([]byte(cfg.Machine.CA.Certificate), []byte(cfg.Machine.CA.Key.Reveal()))
	if err != nil {
		return err
	}
	pair, err := issueClient(authority, f.name, f.roles, f.lifetime, a.now())
	if err != nil {
		return err
	}
	name := cfg.Machine.Hostname
	if cfg.Cluster != nil {
		name = cfg.Cluster.Name
	}
	if a.context != "" {
		name = a.context
	}
	data, err := contextOf(name, authority, pair, t.nodes).Marshal()
	if err != nil {
		return err
	}
	if f.out != "" {
		return secretfile.Create(f.out, data)
	}
	if _, err := a.stdout.Write(data); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
