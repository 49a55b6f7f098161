package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/hack/qemu/bench"
)

func benchCommand() *cobra.Command {
	var f clusterFlags
	var o bench.Options
	var result string
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure a node beside Debian with kubeadm", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Only != "" && o.Only != "node" && o.Only != "baseline" {
				return fmt.Errorf("read --only: got %q, expected node or baseline", o.Only)
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), f.timeout, fmt.Errorf("gave up after %s", f.timeout))
			defer cancel()
			home, err := os.MkdirTemp(f.out, "bench-")
			if err != nil {
				return err
			}
			home, err = filepath.Abs(home)
			if err != nil {
				return err
			}
			f.options.Dir, f.options.Home = filepath.Join(home, "cluster"), home
			f.options.Name, f.options.Detached = "bench", false
			f.options.Probe = filepath.Join(home, "probe")
			if f.options.ImageDir, err = filepath.Abs(f.options.ImageDir); err != nil {
				return err
			}
			if err := buildProbe(ctx, f.options.Arch, f.options.Probe); err != nil {
				return err
			}
			o.Cluster, o.Pod, o.Out = f.options, demoPod, os.Stderr
			o.Listing = filepath.Join("images", "testdata", "root."+f.options.Arch+".list")
			measured, err := bench.Run(ctx, o)
			if err != nil {
				fmt.Fprintf(os.Stderr, "The consoles are kept in %s.\n", home)
			} else {
				err = os.RemoveAll(home)
			}
			return errors.Join(err, writeResult(result, measured))
		},
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&result, "result", "out/bench.json", "file for the figures")
	flags.DurationVar(&o.Idle, "idle", 15*time.Minute, "length of the idle time")
	flags.DurationVar(&o.Settle, "settle", 3*time.Minute, "pause before the idle time")
	flags.StringVar(&o.Only, "only", "", "measure one machine only: node or baseline")
	flags.Lookup("timeout").DefValue = "3h"
	f.timeout = 3 * time.Hour
	return cmd
}

// writeResult writes the figures to a file and, as a table, to standard output.
func writeResult(path string, r *bench.Result) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return r.Print(os.Stdout)
}

// buildProbe compiles the guest program of package probe.
func buildProbe(ctx context.Context, arch, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/cyvive/cyvive/hack/qemu/probe/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build probe: %w: %s", err, out)
	}
	return nil
}
