package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
)

// tried confirms a trial, or waits for its end, if so asked.
func (a *app) tried(ctx context.Context, t *target, node string, f applyFlags, trial *configv1.Trial) error {
	if !f.confirm && !f.wait {
		return nil
	}
	// Beyond its end, so that it is seen how it ended.
	limit := trial.GetLeft().AsDuration() + time.Minute
	var outcome error
	err := a.poll(ctx, limit, node, func(ctx context.Context) (waiting error) {
		waiting, outcome = a.trialEnds(ctx, t, node, f.confirm, trial.GetRevision())
		return waiting
	})
	return errors.Join(err, outcome)
}

// trialEnds says what has become of a trial, on a new connection: either it is waited for still, or it has ended, with an error unless the revision stays.
func (a *app) trialEnds(ctx context.Context, t *target, node string, confirm bool, revision uint64) (waiting, outcome error) {
	conn, err := t.dial(node)
	if err != nil {
		return err, nil
	}
	defer conn.Close()
	client := configv1.NewConfigServiceClient(conn)
	now, err := client.Get(ctx, &configv1.GetRequest{})
	if err != nil {
		return t.explain(err, conn.lastCause()), nil
	}
	if trial := now.GetTrial(); trial.GetRevision() == revision {
		if !confirm {
			return fmt.Errorf("revision %d is being tried", revision), nil
		}
		if !now.GetSettled() {
			return errors.New("the node changes its network still"), nil
		}
		if _, err := client.Confirm(ctx, &configv1.ConfirmRequest{Revision: revision}); err != nil {
			return t.explain(err, conn.lastCause()), nil
		}
		fmt.Fprintf(a.stderr, "%s: revision %d is confirmed and stays\n", node, revision)
		return nil, nil
	}
	if last := now.GetLast(); last.GetRevision() == revision && !last.GetSucceeded() {
		return nil, fmt.Errorf("revision %d was taken back: %s", revision, last.GetReason())
	}
	fmt.Fprintf(a.stderr, "%s: revision %d was confirmed and stays\n", node, revision)
	return nil, nil
}

func (a *app) configConfirmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "confirm [REVISION]",
		Short: "Keep the configuration that is being tried (needs node:admin)",
		Args:  atMost(1, "the number of the revision that is tried"),
		RunE: func(cmd *cobra.Command, args []string) error {
			numbers, err := revisions(args)
			if err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				ctx, cancel := context.WithTimeout(ctx, a.timeout)
				defer cancel()
				resp, err := configv1.NewConfigServiceClient(conn).Confirm(ctx, &configv1.ConfirmRequest{Revision: numbers[0]})
				if err == nil {
					fmt.Fprintf(a.stderr, "%s: revision %d is confirmed and stays\n", node, resp.GetRevision())
				}
				return err
			})
		},
	}
}
