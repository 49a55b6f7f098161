package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/hack/qemu/bench"
)

func benchCommand() *cobra.Command {
	var f clusterFlags
	var o bench.Options
	var result string
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure a node beside Debian with kubeadm, its upgrades and rollbacks, its pools and replication", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, part := range o.Only {
				if !slices.Contains(bench.Parts, part) {
					return fmt.Errorf("read --only: got %q, expected some of %s", part, strings.Join(bench.Parts, ","))
				}
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
			if err := buildGuestProgram(ctx, f.options.Arch, "probe/guest", f.options.Probe); err != nil {
				return err
			}
			o.RAMRoot = filepath.Join(home, "ramroot")
			if err := buildGuestProgram(ctx, f.options.Arch, "bench/ramroot/guest", o.RAMRoot); err != nil {
				return err
			}
			if len(o.Only) == 0 || slices.Contains(o.Only, "replication") {
				o.Guest, o.PeerTest = filepath.Join(home, "guest"), filepath.Join(home, "peer.test")
				if err := buildGuestProgram(ctx, f.options.Arch, "guest", o.Guest); err != nil {
					return err
				}
				if err := buildTest(ctx, f.options.Arch, "internal/machined/peer", o.PeerTest); err != nil {
					return err
				}
			}
			if o.Root, err = filepath.Abs("."); err != nil {
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
	flags.StringSliceVar(&o.Only, "only", nil, "measure some parts only: "+strings.Join(bench.Parts, ", "))
	flags.Lookup("timeout").DefValue = "6h"
	f.timeout = 6 * time.Hour
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

// buildGuestProgram compiles a program of a machine, by its place in hack/qemu.
func buildGuestProgram(ctx context.Context, arch, name, path string) error {
	return compile(ctx, arch, name, "build", "-o", path, "github.com/cyvive/cyvive/hack/qemu/"+name)
}

// buildTest compiles the tests of a package, by its place in the repository.
func buildTest(ctx context.Context, arch, name, path string) error {
	return compile(ctx, arch, name, "test", "-c", "-o", path, "github.com/cyvive/cyvive/"+name)
}

// compile has the go command make a program for a machine.
func compile(ctx context.Context, arch, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", name, err, out)
	}
	return nil
}
