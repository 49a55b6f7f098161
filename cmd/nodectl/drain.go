package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	kubev1 "github.com/cyvive/cyvive/api/proto/kube/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

// drainFlags say whether pods leave a node before it goes down.
type drainFlags struct {
	mode     string
	deadline time.Duration
}

// The values of --drain.
const (
	drainAuto   = "auto"
	drainAlways = "always"
	drainNever  = "never"
)

func drainModes() []string { return []string{drainAuto, drainAlways, drainNever} }

func (f *drainFlags) register(c *cobra.Command, otherwise string) {
	c.Flags().StringVar(&f.mode, "drain", otherwise, "have pods moved to other nodes before the reboot: --drain=auto (where another node takes them), --drain=always or --drain=never")
	c.Flags().Lookup("drain").NoOptDefVal = drainAuto
	c.Flags().DurationVar(&f.deadline, "drain-timeout", 5*time.Minute, "reboot with pods that have not left after so long")
	_ = c.RegisterFlagCompletionFunc("drain", cobra.FixedCompletions(drainModes(), cobra.ShellCompDirectiveNoFileComp)) // fails for unknown flags only
}

func (f *drainFlags) check() error {
	switch {
	case !slices.Contains(drainModes(), f.mode):
		return usagef("--drain %q, expected one of %s", f.mode, strings.Join(drainModes(), ", "))
	case f.mode != drainNever && (f.deadline < time.Second || f.deadline > time.Hour):
		return usagef("--drain-timeout %s, expected 1s to 1h", f.deadline)
	}
	return nil
}

// drain moves the pods of a node away, as well as that can be done: what keeps it from success is said, and is no error.
func (a *app) drain(ctx context.Context, conn *connection, node string, f drainFlags) {
	if f.mode == drainNever {
		return
	}
	// The node ends it, too; this is for one that does not answer any more.
	ctx, cancel := context.WithTimeout(ctx, f.deadline+a.timeout)
	defer cancel()
	stream, err := kubev1.NewKubeServiceClient(conn).Drain(ctx, &kubev1.DrainRequest{Deadline: durationpb.New(f.deadline), Alone: f.mode == drainAlways})
	if err != nil {
		fmt.Fprintf(a.stderr, "%s: not drained: %v\n", node, status.Convert(err).Message())
		return
	}
	for {
		m, err := stream.Recv()
		switch {
		case err != nil:
			why := status.Convert(err).Message()
			if errors.Is(err, io.EOF) {
				why = "the node did not say what came of it"
			}
			fmt.Fprintf(a.stderr, "%s: not drained: %s\n", node, why)
			return
		case m.GetResult() == kubev1.DrainResult_DRAIN_RESULT_UNSPECIFIED:
			fmt.Fprintf(a.stderr, "%s: draining, %d pods have left and %d remain: %s\n", node, m.GetGone(), m.GetRemaining(), m.GetWaiting())
			continue
		}
		fmt.Fprintf(a.stderr, "%s: %s\n", node, drainText(m))
		return
	}
}

// drainText is the end of a drain.
func drainText(m *kubev1.DrainResponse) string {
	switch m.GetResult() {
	case kubev1.DrainResult_DRAIN_RESULT_SKIPPED:
		return "not drained: " + m.GetReason()
	case kubev1.DrainResult_DRAIN_RESULT_PARTIAL:
		return fmt.Sprintf("drained in part, %d pods have left and %d remain: %s", m.GetGone(), m.GetRemaining(), m.GetReason())
	}
	text := fmt.Sprintf("drained, %d pods have left", m.GetGone())
	if m.GetReason() != "" {
		text += "; " + m.GetReason()
	}
	return text
}

// reboot has a node start again after its pods have left.
func (a *app) reboot(ctx context.Context, conn *connection, node string, f drainFlags) (bootID string, err error) {
	a.drain(ctx, conn, node, f)
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	resp, err := machinev1.NewMachineServiceClient(conn).Reboot(ctx, &machinev1.RebootRequest{})
	return resp.GetBootId(), err
}

func (a *app) uncordonCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "uncordon",
		Short: "Have pods placed on nodes again that a drain of nodectl has kept away",
		Long: "Have pods placed on nodes again that a drain of nodectl has kept away. After a reboot nodes do that by themselves. A node that somebody else has " +
			"cordoned stays so.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := a.target()
			if err != nil {
				return err
			}
			return a.report(errorsOf(each(cmd.Context(), t, func(ctx context.Context, node string, conn *connection) (struct{}, error) {
				ctx, cancel := context.WithTimeout(ctx, a.timeout)
				defer cancel()
				resp, err := kubev1.NewKubeServiceClient(conn).Uncordon(ctx, &kubev1.UncordonRequest{})
				if err != nil {
					return struct{}{}, err
				}
				text := "takes pods again"
				if !resp.GetChanged() {
					text = "was not cordoned by nodectl; nothing was changed"
				}
				fmt.Fprintf(a.stderr, "%s: %s\n", node, text)
				return struct{}{}, nil
			})))
		},
	}
}
