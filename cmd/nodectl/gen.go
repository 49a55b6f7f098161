package main

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
	"github.com/cyvive/cyvive/cmd/nodectl/secretfile"
	"github.com/cyvive/cyvive/internal/machined/config"
)

func (a *app) genCommand() *cobra.Command {
	return group("gen", "Make secrets and configurations", a.genClusterCommand(), a.genClientCommand())
}

// genClusterFlags are the flags of gen cluster.
type genClusterFlags struct {
	endpoint    string
	nodes, sans []string
	out, force  string
	merge       bool
}

func (a *app) genClusterCommand() *cobra.Command {
	var f genClusterFlags
	c := &cobra.Command{
		Use:   "cluster NAME",
		Short: "Make a cluster's secrets, its nodes' configurations and the context to reach them",
		Long: "Make a cluster's secrets, its nodes' configurations and the context to reach them.\n\n" +
			"In the folder, NODE.yaml is the user-data of each node and nodectl.yaml the context with\n" +
			"an administrator's certificate of one year. All hold private keys. The nodes'\n" +
			"configurations hold the cluster's authorities: keep one of them safe.",
		Example: "  nodectl gen cluster demo --endpoint https://127.0.0.1:6443 --node node1=127.0.0.1:50000 --out demo --merge",
		Args:    oneArg("the name of the cluster"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.genCluster(args[0], f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.endpoint, "endpoint", "", "URL under which clients reach the Kubernetes API (required)")
	flags.StringArrayVar(&f.nodes, "node", nil, "a node, NAME=ADDRESS[:PORT], the address that of its API (required, repeatable)")
	flags.StringArrayVar(&f.sans, "san", nil, "further name or address for the servers' certificates (repeatable)")
	flags.StringVar(&f.out, "out", "", "folder to write to (required)")
	flags.StringVar(&f.force, "force", "", "replace the secrets that are there; takes the cluster's name")
	flags.BoolVar(&f.merge, "merge", false, "take in the context and make it the current one")
	return c
}

// genNode is one --node.
type genNode struct {
	name, address string // address is HOST:PORT
}

func (f genClusterFlags) check(name string) ([]genNode, error) {
	switch {
	case f.endpoint == "":
		return nil, usagef("--endpoint is missing, for example https://127.0.0.1:6443")
	case len(f.nodes) == 0:
		return nil, usagef("--node is missing, for example node1=127.0.0.1:50000")
	case f.out == "":
		return nil, usagef("--out is missing, the folder to write to")
	case f.force != "" && f.force != name:
		return nil, usagef("--force is %q: it takes the name of the cluster whose secrets are to be replaced, %q", f.force, name)
	}
	var nodes []genNode
	for _, arg := range f.nodes {
		node, address, ok := strings.Cut(arg, "=")
		if !ok || node == "" {
			return nil, usagef("--node %q: expected NAME=ADDRESS[:PORT]", arg)
		}
		if strings.ContainsAny(node, "/\\") || node == contextFile {
			return nil, usagef("--node %q: %q cannot be a node's name", arg, node)
		}
		if slices.ContainsFunc(nodes, func(n genNode) bool { return n.name == node }) {
			return nil, usagef("--node %q: there is a node %q already", arg, node)
		}
		full, err := contexts.Address(address)
		if err != nil {
			return nil, usagef("--node %q: %v", arg, err)
		}
		if _, _, ok := contexts.Vsock(full); ok {
			return nil, usagef("--node %q: expected NAME=ADDRESS[:PORT] of a network, by which the node is known to its cluster", arg)
		}
		nodes = append(nodes, genNode{node, full})
	}
	return nodes, nil
}

// contextFile is the name, less .yaml, of the file with the context.
const contextFile = "nodectl"

func (a *app) genCluster(name string, f genClusterFlags) error {
	nodes, err := f.check(name)
	if err != nil {
		return err
	}
	s, err := newSecrets(name, a.now())
	if err != nil {
		return err
	}
	client, err := s.client(adminName, []string{adminRole}, adminLifetime, a.now())
	if err != nil {
		return err
	}
	file := contextOf(name, s.api, client, nil)
	files := map[string][]byte{}
	for _, n := range nodes {
		file.Contexts[name].Nodes = append(file.Contexts[name].Nodes, n.address)
		text, err := config.Marshal(nodeConfig(name, f, n, s))
		if err != nil {
			return usagef("node %q: %v", n.name, err)
		}
		files[n.name] = text
	}
	if files[contextFile], err = file.Marshal(); err != nil {
		return err
	}
	if err := a.writeSecrets(f, files); err != nil {
		return err
	}
	if !f.merge {
		return nil
	}
	return a.mergeContexts(filepath.Join(f.out, contextFile+".yaml"), f.force != "")
}

// writeSecrets writes all files, or none where one exists and force is unset.
func (a *app) writeSecrets(f genClusterFlags, files map[string][]byte) error {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	if f.force == "" {
		for _, name := range names {
			path := filepath.Join(f.out, name+".yaml")
			if exists(path) {
				return fmt.Errorf("%s is there already: a cluster whose secrets are lost cannot be reached again; --force NAME replaces them", path)
			}
		}
	}
	for _, name := range names {
		path := filepath.Join(f.out, name+".yaml")
		if err := secretfile.Write(path, files[name]); err != nil {
			return err
		}
		fmt.Fprintln(a.stderr, path)
	}
	return nil
}

// nodeConfig is the configuration of one node of a new cluster.
func nodeConfig(cluster string, f genClusterFlags, n genNode, s *secrets) *config.Config {
	return &config.Config{
		Machine: config.Machine{
			Hostname: n.name,
			CA:       keyPair(s.api),
			CertSANs: names(append([]string{hostOf(n.address)}, f.sans...)),
		},
		Cluster: &config.Cluster{
			Name:              cluster,
			Endpoint:          f.endpoint,
			Role:              config.RoleControlPlane,
			CertSANs:          names(f.sans),
			CA:                keyPair(s.kubernetes),
			FrontProxyCA:      keyPair(s.frontProxy),
			EtcdCA:            keyPair(s.etcd),
			ServiceAccountKey: config.NewSecret(string(s.serviceAccountKey)),
			EncryptionKey:     config.NewSecret(s.encryptionKey),
		},
	}
}

// hostOf is the host of HOST:PORT, which has been checked.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// names leaves out what is there twice.
func names(all []string) []string {
	var once []string
	for _, name := range all {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return once
}
