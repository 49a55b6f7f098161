package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	resetv1 "github.com/cyvive/cyvive/api/proto/reset/v1"
)

// resetFlags are the flags of a reset.
type resetFlags struct {
	volumes       []string
	mode, confirm string
	powerOff      bool
}

// request makes a request of the flags.
func (f *resetFlags) request() (*resetv1.ResetRequest, error) {
	volumes := map[string]resetv1.Volume{"state": resetv1.Volume_VOLUME_STATE, "data": resetv1.Volume_VOLUME_DATA}
	modes := map[string]resetv1.Mode{"graceful": resetv1.Mode_MODE_GRACEFUL, "forced": resetv1.Mode_MODE_FORCED}
	r := &resetv1.ResetRequest{Mode: modes[f.mode], Confirm: f.confirm, PowerOff: f.powerOff}
	for _, name := range f.volumes {
		v, known := volumes[name]
		if !known {
			return nil, usagef("--volumes %q: expected state, data or both", name)
		}
		r.Volumes = append(r.Volumes, v)
	}
	switch {
	case len(r.Volumes) == 0:
		return nil, usagef("expected --volumes with state, data or both: what is to be wiped")
	case r.Mode == resetv1.Mode_MODE_UNSPECIFIED:
		return nil, usagef("--mode %q: expected graceful or forced", f.mode)
	case f.confirm == "":
		return nil, usagef("expected --confirm with the node's name: what is wiped does not come back")
	}
	return r, nil
}

func (a *app) resetCommand() *cobra.Command {
	var f resetFlags
	c := &cobra.Command{
		Use:   "reset --volumes state,data --confirm NODENAME",
		Short: "Wipe volumes of a node (needs node:admin)",
		Long: "Wipe volumes of a node (needs node:admin). Gracefully, the node leaves its cluster and stops what runs on it first; by force, it waits " +
			"for nothing. Then it goes down, wipes the volumes at its next start before it mounts any, and goes on as a node that never had them, or " +
			"powers off.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := f.request()
			if err != nil {
				return err
			}
			if err := a.oneNode("reset"); err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				return a.resetNode(ctx, conn, node, r)
			})
		},
	}
	c.Flags().StringSliceVar(&f.volumes, "volumes", nil, "what to wipe: state (configuration, identity, audit log), data (everything else), or both")
	c.Flags().StringVar(&f.mode, "mode", "graceful", "graceful or forced")
	c.Flags().StringVar(&f.confirm, "confirm", "", "the node's host name")
	c.Flags().BoolVar(&f.powerOff, "power-off", false, "power off when all is wiped")
	for flag, values := range map[string][]string{"mode": {"graceful", "forced"}, "volumes": {"state", "data", "state,data"}} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // fails for unknown flags only
	}
	return c
}

// resetNode has a node reset itself, and says what it does.
func (a *app) resetNode(ctx context.Context, conn *connection, node string, r *resetv1.ResetRequest) error {
	ctx, stall := withStall(ctx)
	defer stall.stop()
	stream, err := resetv1.NewResetServiceClient(conn).Reset(ctx, r)
	if err != nil {
		return stall.cause(err)
	}
	var last *resetv1.ResetResponse
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return stall.cause(err)
		}
		stall.reset()
		last = m
		fmt.Fprintf(a.stderr, "%s: %s\n", node, strings.TrimSpace(m.GetWhat()))
	}
	if last.GetBootId() == "" {
		return errors.New("the node did not say that it goes down: see nodectl events")
	}
	return nil
}
