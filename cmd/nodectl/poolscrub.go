package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
)

func (a *app) poolScrubCommand() *cobra.Command {
	verb := func(use, short string, action poolv1.ScrubAction, done string) *cobra.Command {
		return &cobra.Command{
			Use: use + " POOL", Short: short, Args: poolArg(), ValidArgsFunction: a.completePools,
			RunE: func(cmd *cobra.Command, args []string) error { return a.scrub(cmd.Context(), args[0], action, done) },
		}
	}
	var wait bool
	start := verb("start", "Start to read and verify all that a pool holds, or go on with it", poolv1.ScrubAction_SCRUB_ACTION_START, "scrub begun")
	start.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.scrub(cmd.Context(), args[0], poolv1.ScrubAction_SCRUB_ACTION_START, "scrub begun"); err != nil || !wait {
			return err
		}
		return a.waitScrub(cmd.Context(), args[0])
	}
	start.Flags().BoolVar(&wait, "wait", false, "wait until it is done, and show how far it is")
	return group("scrub", "Read and verify all that a pool holds (needs node:operator)",
		start,
		verb("pause", "Pause a scrub; start goes on with it", poolv1.ScrubAction_SCRUB_ACTION_PAUSE, "scrub paused"),
		verb("stop", "End a scrub; the next begins at the beginning", poolv1.ScrubAction_SCRUB_ACTION_STOP, "scrub ended"))
}

func (a *app) scrub(ctx context.Context, pool string, action poolv1.ScrubAction, done string) error {
	return a.onPools(ctx, func(ctx context.Context, client poolv1.PoolServiceClient) (string, error) {
		_, err := client.Scrub(ctx, &poolv1.ScrubRequest{Pool: pool, Action: action})
		return pool + ": " + done, err
	})
}

// scrubInterval is the time between two looks at a scrub.
const scrubInterval = time.Second

// waitScrub waits on all nodes for the end of a scrub.
func (a *app) waitScrub(ctx context.Context, pool string) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, node string, conn *connection) (struct{}, error) {
		p := a.progress(node, "scrub of "+pool)
		defer p.end()
		for {
			scan, err := a.scanOf(ctx, conn, pool)
			if err != nil {
				return struct{}{}, err
			}
			p.at(scan.GetDoneBytes(), scan.GetTotalBytes())
			if scan.GetProgress() != poolv1.Progress_PROGRESS_RUNNING {
				p.end()
				return struct{}{}, a.scrubEnd(node, scan)
			}
			select {
			case <-ctx.Done():
				return struct{}{}, ctx.Err()
			case <-time.After(scrubInterval):
			}
		}
	})
	return a.report(errorsOf(results))
}

func (a *app) scanOf(ctx context.Context, conn *connection, pool string) (*poolv1.Scan, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	l, err := listPools(ctx, conn)
	if err != nil {
		return nil, err
	}
	for _, p := range l.GetPools() {
		if p.GetName() == pool && p.GetImported() {
			return p.GetScan(), nil
		}
	}
	return nil, fmt.Errorf("pool %s is not imported any more; see nodectl pool status", pool)
}

// scrubEnd says how a scrub ended.
func (a *app) scrubEnd(node string, s *poolv1.Scan) error {
	if s.GetProgress() != poolv1.Progress_PROGRESS_FINISHED {
		return fmt.Errorf("it did not come to its end: %s", scanText(s))
	}
	if s.GetErrors() > 0 {
		return fmt.Errorf("%d errors could not be repaired; see nodectl pool status", s.GetErrors())
	}
	fmt.Fprintf(a.stderr, "%s: %s\n", node, scanText(s))
	return nil
}
