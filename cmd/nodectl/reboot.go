package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

// waitFlags are the flags of what turns nodes off and on.
type waitFlags struct {
	wait  bool
	limit time.Duration
}

func (f *waitFlags) register(c *cobra.Command, until string) {
	c.Flags().BoolVar(&f.wait, "wait", false, "wait until "+until)
	c.Flags().DurationVar(&f.limit, "wait-timeout", 10*time.Minute, "give up waiting after so long")
}

func (a *app) rebootCommand() *cobra.Command {
	var f waitFlags
	var drain drainFlags
	c := &cobra.Command{
		Use:   "reboot",
		Short: "Restart nodes, in order",
		Long:  "Restart nodes, in order. With --drain they are restarted one after the other, and each is waited for before the pods of the next are moved.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := drain.check(); err != nil {
				return err
			}
			if drain.mode != drainNever {
				return a.oneByOne(cmd.Context(), func(ctx context.Context, t *target, node string, conn *connection) error {
					bootID, err := a.reboot(ctx, conn, node, drain)
					if err != nil {
						return err
					}
					fmt.Fprintf(a.stderr, "%s: rebooting\n", node)
					return a.poll(ctx, f.limit, node, func(ctx context.Context) error { return a.rebooted(ctx, t, node, bootID) })
				})
			}
			return a.power(cmd.Context(), f, "rebooting", func(ctx context.Context, conn *connection) (string, error) {
				resp, err := machinev1.NewMachineServiceClient(conn).Reboot(ctx, &machinev1.RebootRequest{})
				return resp.GetBootId(), err
			}, a.rebooted)
		},
	}
	f.register(c, "the nodes are ready again")
	drain.register(c, drainNever)
	return c
}

func (a *app) shutdownCommand() *cobra.Command {
	var f waitFlags
	c := &cobra.Command{
		Use:   "shutdown",
		Short: "Power nodes off, in order",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.power(cmd.Context(), f, "shutting down", func(ctx context.Context, conn *connection) (string, error) {
				resp, err := machinev1.NewMachineServiceClient(conn).Shutdown(ctx, &machinev1.ShutdownRequest{})
				return resp.GetBootId(), err
			}, a.gone)
		},
	}
	f.register(c, "the nodes answer no longer")
	return c
}

// power asks all nodes to go down and, if so asked, waits for each until
// reached says that it is where it should be.
func (a *app) power(ctx context.Context, f waitFlags, doing string, call func(context.Context, *connection) (bootID string, err error), reached func(ctx context.Context, t *target, node, bootID string) error) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, node string, conn *connection) (struct{}, error) {
		callCtx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		bootID, err := call(callCtx, conn)
		if err != nil {
			return struct{}{}, err
		}
		fmt.Fprintf(a.stderr, "%s: %s\n", node, doing)
		if !f.wait {
			return struct{}{}, nil
		}
		return struct{}{}, a.poll(ctx, f.limit, node, func(ctx context.Context) error { return reached(ctx, t, node, bootID) })
	})
	return a.report(errorsOf(results))
}

// rebooted is nil once the node runs another boot than the one named, and is
// ready.
func (a *app) rebooted(ctx context.Context, t *target, node, bootID string) error {
	n, err := askNode(ctx, t, node)
	switch {
	case err != nil:
		return err
	case n.GetBootId() == bootID:
		return errors.New("going down")
	case !n.GetReady():
		return unhealthy(n.GetReason())
	default:
		return nil
	}
}

// gone is nil once nothing answers at the node's address.
func (a *app) gone(ctx context.Context, t *target, node, _ string) error {
	conn, err := t.dial(node)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = getNode(ctx, conn)
	switch {
	case err == nil:
		return errors.New("going down")
	case errors.Is(conn.lastCause(), syscall.ECONNREFUSED), errors.Is(conn.lastCause(), syscall.EHOSTUNREACH),
		status.Code(err) == codes.Unavailable && conn.lastCause() != nil, status.Code(err) == codes.DeadlineExceeded:
		return nil
	default:
		return t.explain(err, conn.lastCause())
	}
}

// askNode dials anew, since a connection to a node that went down may take
// long to notice.
func askNode(ctx context.Context, t *target, node string) (*machinev1.GetNodeResponse, error) {
	conn, err := t.dial(node)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	n, err := getNode(ctx, conn)
	if err != nil {
		return nil, t.explain(err, conn.lastCause())
	}
	return n, nil
}
