package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

func (a *app) healthCommand() *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:   "health",
		Short: "Show what is in order on nodes, and what the rest waits for",
		Long:  "Show what is in order on nodes, and what the rest waits for. A node that is not healthy counts as one that failed in the exit status.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wait > 0 {
				if err := a.waitHealthy(cmd.Context(), wait); err != nil {
					return err
				}
			}
			return unary(cmd.Context(), a, getHealth,
				columns[*machinev1.GetHealthResponse]{[]string{"CHECK", "HEALTHY", "SINCE", "REASON"}, healthRows}, healthError)
		},
	}
	c.Flags().DurationVar(&wait, "wait", 0, "wait so long for the nodes to become healthy, for example 5m")
	return c
}

func getHealth(ctx context.Context, conn *connection) (*machinev1.GetHealthResponse, error) {
	return machinev1.NewMachineServiceClient(conn).GetHealth(ctx, &machinev1.GetHealthRequest{})
}

func healthRows(h *machinev1.GetHealthResponse) [][]string {
	var rows [][]string
	for _, c := range h.GetChecks() {
		rows = append(rows, []string{c.GetName(), yesNo(c.GetHealthy()), stamp(c.GetSince()), c.GetReason()})
	}
	return rows
}

// healthError is the first reason against a node's health.
func healthError(h *machinev1.GetHealthResponse) error {
	if h.GetHealthy() {
		return nil
	}
	for _, c := range h.GetChecks() {
		if !c.GetHealthy() {
			return unhealthy(c.GetName() + ": " + c.GetReason())
		}
	}
	return unhealthy("no part of the node has reported yet")
}

// waitHealthy waits until all nodes are healthy. It says what it waits for,
// each time that changes.
func (a *app) waitHealthy(ctx context.Context, limit time.Duration) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, node string, conn *connection) (struct{}, error) {
		return struct{}{}, a.poll(ctx, limit, node, func(ctx context.Context) error {
			h, err := getHealth(ctx, conn)
			if err != nil {
				return t.explain(err, conn.lastCause())
			}
			return healthError(h)
		})
	})
	return a.report(errorsOf(results))
}

// pollInterval is the time between two looks at a node that is waited for.
const pollInterval = time.Second

// poll calls try until it succeeds, at most for the limit. The reasons for
// waiting go to standard error, each when it is new.
func (a *app) poll(ctx context.Context, limit time.Duration, node string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	var last string
	for {
		attempt, done := context.WithTimeout(ctx, a.timeout)
		err := try(attempt)
		done()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			fmt.Fprintf(a.stderr, "%s: waiting: %s\n", node, last)
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("gave up after %v, still waiting: %s", limit, last)
		case <-ticker.C:
		}
	}
}

// stamp writes a time of the node's clock.
func stamp(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}
