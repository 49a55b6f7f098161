package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// benchResult is bench.json: what was measured, and on what.
type benchResult struct {
	Time           time.Time `json:"time"`
	Version        string    `json:"version"`
	Arch           string    `json:"arch"`
	Accelerator    vm.Accel  `json:"accelerator"`
	HostProcessors int       `json:"hostProcessors"`
	NodeProcessors int       `json:"nodeProcessors"`
	// BootSeconds holds milestones of the first boot of a fresh node, by the
	// node's own clock since its kernel started. Firmware is not in it.
	BootSeconds map[string]float64 `json:"bootSeconds"`
	// ReadySeconds is wall-clock time from QEMU's start to an answer of the pod.
	ReadySeconds float64 `json:"readySeconds"`
}

func benchCommand() *cobra.Command {
	var f clusterFlags
	var result string
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure the first boot of a node", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), f.timeout, fmt.Errorf("gave up after %s", f.timeout))
			defer cancel()
			home, err := os.MkdirTemp("", "bench")
			if err != nil {
				return err
			}
			defer os.RemoveAll(home)
			f.options.Dir, f.options.Home = filepath.Join(home, "cluster"), home
			f.options.Name, f.options.Detached = "bench", false
			measured, err := bench(ctx, f.options)
			if err != nil {
				return err
			}
			data, err := json.MarshalIndent(measured, "", "  ")
			if err != nil {
				return err
			}
			return os.WriteFile(result, append(data, '\n'), 0o644)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&result, "result", "out/bench.json", "file for the figures")
	return cmd
}

func bench(ctx context.Context, options cluster.Options) (benchResult, error) {
	result := benchResult{
		Time: time.Now().UTC(), Arch: options.Arch, Accelerator: vm.DetectAccel(),
		HostProcessors: runtime.NumCPU(), NodeProcessors: options.CPUs,
		BootSeconds: map[string]float64{},
	}
	start := time.Now()
	c, err := up(ctx, options)
	if c != nil {
		defer func() { _ = c.Stop(context.WithoutCancel(ctx)) }()
	}
	if err != nil {
		return result, err
	}
	result.ReadySeconds = time.Since(start).Seconds()
	out, err := c.Tools().Nodectl(ctx, "boots", "--output", "json")
	if err != nil {
		return result, err
	}
	var ledger machinev1.ListBootsResponse
	if err := protojson.Unmarshal([]byte(out), &ledger); err != nil {
		return result, fmt.Errorf("read boots: %w", err)
	}
	for _, boot := range ledger.GetBoots()[:min(1, len(ledger.GetBoots()))] {
		result.Version = boot.GetVersion()
		for _, m := range boot.GetMilestones() {
			result.BootSeconds[m.GetName()] = m.GetSinceKernelStart().AsDuration().Seconds()
		}
	}
	return result, nil
}
