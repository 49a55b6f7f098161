package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

// poolTimeout is for a node to carry out what zpool waits for.
const poolTimeout = time.Minute

// onPools makes a call that acts on all nodes, and says so for each on which it went well.
func (a *app) onPools(ctx context.Context, call func(context.Context, poolv1.PoolServiceClient) (done string, err error)) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, node string, conn *connection) (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, max(a.timeout, poolTimeout))
		defer cancel()
		done, err := call(ctx, poolv1.NewPoolServiceClient(conn))
		if err == nil {
			fmt.Fprintf(a.stderr, "%s: %s\n", node, output.Clean(done))
		}
		return struct{}{}, err
	})
	return a.report(errorsOf(results))
}

// poolArg is the argument of most commands.
func poolArg() cobra.PositionalArgs { return oneArg("the name of a pool, see `nodectl pool list`") }

// atMostOneArg is for an argument that narrows down what is shown.
func atMostOneArg(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("expected one argument at most: %s", name)
		}
		return nil
	}
}

func deviceArgs(_ *cobra.Command, args []string) error {
	if len(args) != 2 {
		return usagef("expected two arguments: a pool, and a device of it by its name, path or GUID; see `nodectl pool status`")
	}
	return nil
}

func (a *app) poolTrimCommand() *cobra.Command {
	verb := func(use, short string, action poolv1.TrimAction, done string) *cobra.Command {
		return &cobra.Command{
			Use: use + " POOL", Short: short, Args: poolArg(), ValidArgsFunction: a.completePools,
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.onPools(cmd.Context(), func(ctx context.Context, client poolv1.PoolServiceClient) (string, error) {
					_, err := client.Trim(ctx, &poolv1.TrimRequest{Pool: args[0], Action: action})
					return args[0] + ": " + done, err
				})
			},
		}
	}
	return group("trim", "Tell a pool's disks which of their blocks are free (needs node:operator)",
		verb("start", "Start a trim, or go on with it", poolv1.TrimAction_TRIM_ACTION_START, "trim begun"),
		verb("pause", "Pause a trim; start goes on with it", poolv1.TrimAction_TRIM_ACTION_PAUSE, "trim paused"),
		verb("stop", "End a trim; the next begins at the beginning", poolv1.TrimAction_TRIM_ACTION_STOP, "trim ended"))
}

func (a *app) poolClearCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "clear POOL [DEVICE]",
		Short: "Forget the errors of a pool or one of its devices (needs node:operator)",
		Long: "Forget the errors of a pool or one of its devices (needs node:operator), and have devices tried again that were given up: after a cable or controller\n" +
			"was mended, or a pool had stopped all I/O.",
		ValidArgsFunction: a.completeDevices,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return usagef("expected a pool and, if only one of its devices is meant, that")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onPools(cmd.Context(), func(ctx context.Context, client poolv1.PoolServiceClient) (string, error) {
				_, err := client.Clear(ctx, &poolv1.ClearRequest{Pool: args[0], Device: strings.Join(args[1:], "")})
				return strings.Join(args, ": ") + ": errors forgotten", err
			})
		},
	}
}

func (a *app) poolOnlineCommand() *cobra.Command {
	return &cobra.Command{
		Use:  "online POOL DEVICE",
		Args: deviceArgs, ValidArgsFunction: a.completeDevices,
		Short: "Bring a device of a node's pool back into use (needs node:operator)",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.oneNode("a device"); err != nil {
				return err
			}
			return a.onPools(cmd.Context(), func(ctx context.Context, client poolv1.PoolServiceClient) (string, error) {
				_, err := client.Online(ctx, &poolv1.OnlineRequest{Pool: args[0], Device: args[1]})
				return fmt.Sprintf("%s: %s is in use again", args[0], args[1]), err
			})
		},
	}
}

func (a *app) poolOfflineCommand() *cobra.Command {
	var confirm string
	c := &cobra.Command{
		Use:   "offline POOL DEVICE",
		Short: "Take a device of a node's pool out of use (needs node:admin)",
		Long: "Take a device of a node's pool out of use until `nodectl pool online` (needs node:admin). Where its vdev has no redundancy left then, --confirm with the\n" +
			"name of the pool is needed; where data could not be read any more, it is refused.",
		Args: deviceArgs, ValidArgsFunction: a.completeDevices,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.oneNode("a device"); err != nil {
				return err
			}
			return a.onPools(cmd.Context(), func(ctx context.Context, client poolv1.PoolServiceClient) (string, error) {
				resp, err := client.Offline(ctx, &poolv1.OfflineRequest{Pool: args[0], Device: args[1], Confirm: confirm})
				return fmt.Sprintf("%s: %s is offline; devices of its vdev that can fail without a loss of data: %d", args[0], args[1], resp.GetRedundancy()), err
			})
		},
	}
	c.Flags().StringVar(&confirm, "confirm", "", "the name of the pool, if no redundancy is left")
	return c
}
