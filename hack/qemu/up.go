package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/preflight"
)

//go:embed demo.yaml
var demoPod []byte

// clusterFlags are the options that up, down and preflight share.
type clusterFlags struct {
	options cluster.Options
	out     string
	timeout time.Duration
}

// registerFound registers what is asked for a cluster that is there already.
func (f *clusterFlags) registerFound(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", "out", "folder with the image; the cluster is kept in its folder cluster")
	flags.StringVar(&f.options.BinDir, "bin", "bin", "folder with nodectl and kubectl")
	flags.DurationVar(&f.timeout, "timeout", 15*time.Minute, "give up after")
	cmd.PreRun = func(*cobra.Command, []string) {
		f.options.Dir = filepath.Join(f.out, "cluster")
		f.options.Out = os.Stderr
		f.options.Detached = true
	}
}

func (f *clusterFlags) register(cmd *cobra.Command) {
	f.registerFound(cmd)
	found := cmd.PreRun
	flags := cmd.Flags()
	flags.StringVar(&f.options.Name, "name", "demo", "name of the cluster and of its contexts")
	flags.StringVar(&f.options.Arch, "arch", runtime.GOARCH, "architecture of the nodes: amd64 or arm64")
	flags.IntVar(&f.options.CPUs, "cpus", 2, "processors of a node")
	memory := flags.Int64("memory-mib", 4096, "memory of a node in MiB")
	disk := flags.Int64("disk-gib", 12, "size of a node's disk in GiB; it is filled as it is used")
	flags.Uint16Var(&f.options.APIPort, "api-port", 0, "port of 127.0.0.1 for the node API (0: 50000 or another)")
	flags.Uint16Var(&f.options.KubernetesPort, "kubernetes-port", 0, "port of 127.0.0.1 for Kubernetes (0: 6443 or another)")
	cmd.PreRun = func(cmd *cobra.Command, args []string) {
		found(cmd, args)
		f.options.MemoryBytes, f.options.DiskBytes = *memory<<20, *disk<<30
		f.options.ImageDir = filepath.Join(f.out, f.options.Arch)
	}
}

func upCommand() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use: "up", Short: "Make a cluster, run the demonstration pod on it, and fetch its answer", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), f.timeout,
				fmt.Errorf("gave up after %s", f.timeout))
			defer cancel()
			c, err := up(ctx, f.options)
			if err != nil && c != nil {
				explain(cmd.Context(), c)
			}
			return err
		},
	}
	f.register(cmd)
	return cmd
}

// up returns the cluster also with an error, once it is made.
func up(ctx context.Context, options cluster.Options) (*cluster.Cluster, error) {
	c, err := cluster.Create(ctx, options)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{
		c.Merge, c.Start, c.AwaitHealthy, c.MergeKubeconfig,
		func(ctx context.Context) error { return c.RunPod(ctx, "demo", demoPod) },
	} {
		if err := step(ctx); err != nil {
			return c, err
		}
	}
	answer, err := c.Fetch(ctx, cluster.DemoPath)
	if err != nil {
		return c, err
	}
	fmt.Printf("The pod answers:\n\n%s\n\n", answer)
	printNext(options.BinDir)
	return c, nil
}

// printNext names some commands for a cluster that runs.
func printNext(bin string) {
	fmt.Printf("Next:\n  %s/nodectl get nodes\n  %s/nodectl boots\n  %s/kubectl get pods -A\n  make cluster-down\n", bin, bin, bin)
}

func startCommand() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use: "start", Short: "Start the machines of the cluster that are off, with the disks that they have", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), f.timeout,
				fmt.Errorf("gave up after %s", f.timeout))
			defer cancel()
			c, err := cluster.Open(f.options)
			if errors.Is(err, cluster.ErrNoCluster) {
				return fmt.Errorf("%w; make cluster makes one", err)
			}
			if err != nil {
				return err
			}
			if err := c.StartAgain(ctx); err != nil {
				return err
			}
			if err := c.AwaitHealthy(ctx); err != nil {
				explain(cmd.Context(), c)
				return err
			}
			printNext(f.options.BinDir)
			return nil
		},
	}
	f.registerFound(cmd)
	return cmd
}

// explain names what is left for a look at a failure.
func explain(ctx context.Context, c *cluster.Cluster) {
	logs := c.Collect(context.WithoutCancel(ctx))
	fmt.Fprintln(os.Stderr, "The cluster is kept as it is. To look at:")
	for i, node := range c.Nodes() {
		fmt.Fprintf(os.Stderr, "  console of %s  %s\n", node.Name, c.ConsolePath(node))
		fmt.Fprintf(os.Stderr, "  its logs          %s\n", logs[i])
		fmt.Fprintf(os.Stderr, "  QEMU's words      %s\n", filepath.Join(c.NodeDir(node), "qemu.log"))
	}
	fmt.Fprintln(os.Stderr, "make cluster-down removes it.")
}

func downCommand() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use: "down", Short: "Remove the cluster and all that it left", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Open(f.options)
			if errors.Is(err, cluster.ErrNoCluster) {
				fmt.Fprintln(os.Stderr, "There is no cluster.")
				return nil
			}
			if err != nil {
				return err
			}
			return c.Down(cmd.Context())
		},
	}
	f.register(cmd)
	return cmd
}

// buildBytes is what a first build of the image writes: packages, the compiler's
// cache, the throw-away tree and the image itself.
const buildBytes = 10 << 30

func preflightCommand() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use: "preflight", Short: "Say what this machine lacks for a cluster", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			needs := f.options.Needs()
			if _, err := os.Stat(filepath.Join(f.options.ImageDir, "disk.qcow2")); err != nil {
				needs.DiskBytes += buildBytes
			}
			missing := preflight.Check(needs, preflight.ThisHost())
			preflight.Print(os.Stderr, missing)
			if len(missing) > 0 {
				return errors.New("this machine cannot run the cluster yet")
			}
			return nil
		},
	}
	f.register(cmd)
	return cmd
}

func setupCommand() *cobra.Command {
	var arch string
	var more []string
	cmd := &cobra.Command{
		Use: "setup", Short: "Install the programs that are missing", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return preflight.Setup(cmd.Context(), arch, preflight.ThisHost(), os.Stderr, more...)
		},
	}
	cmd.Flags().StringSliceVar(&more, "with", nil, "further program, in the package of its own name")
	cmd.Flags().StringVar(&arch, "arch", runtime.GOARCH, "architecture of the nodes: amd64 or arm64")
	return cmd
}
