package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

func (a *app) snapshotCommand() *cobra.Command {
	return group("snapshot", "Look after the snapshots in nodes' ZFS pools",
		a.snapshotListCommand(), a.snapshotCreateCommand(), a.snapshotDestroyCommand(), a.snapshotHoldCommand(), a.snapshotReleaseCommand(),
		a.snapshotRollbackCommand(), a.snapshotPreviewCommand(), a.snapshotCloneCommand(), a.snapshotDiffCommand(),
		a.snapshotBookmarkCommand())
}

func (a *app) snapshotListCommand() *cobra.Command {
	var recursive, bookmarks bool
	c := &cobra.Command{
		Use: "list [DATASET]", Aliases: []string{"ls"}, Short: "List nodes' snapshots, and what keeps them",
		Args: atMostOneArg("the dataset whose snapshots are wanted"), ValidArgsFunction: a.completeDatasets,
		RunE: func(cmd *cobra.Command, args []string) error {
			return unary(cmd.Context(), a, func(ctx context.Context, conn *connection) (*snapshotv1.ListResponse, error) {
				return snapshotv1.NewSnapshotServiceClient(conn).List(ctx, &snapshotv1.ListRequest{
					Dataset: strings.Join(args, ""), Recursive: recursive, Bookmarks: bookmarks,
				})
			}, columns[*snapshotv1.ListResponse]{[]string{"SNAPSHOT", "MADE", "USED", "REFERENCED", "HELD-BY", "CLONES"}, snapshotRows}, nil)
		},
	}
	c.Flags().BoolVarP(&recursive, "recursive", "r", false, "those of the datasets below it, too")
	c.Flags().BoolVar(&bookmarks, "bookmarks", false, "bookmarks, too")
	return c
}

func snapshotRows(l *snapshotv1.ListResponse) [][]string {
	var rows [][]string
	for _, s := range l.GetSnapshots() {
		rows = append(rows, []string{
			s.GetName(), stamp(s.GetCreatedAt()), bytesText(s.GetUsedBytes()), bytesText(s.GetReferencedBytes()), strings.Join(s.GetHolds(), ", "),
			strings.Join(s.GetClones(), ", "),
		})
	}
	return rows
}

// onSnapshots makes a call that acts on all nodes.
func (a *app) onSnapshots(ctx context.Context, call func(context.Context, snapshotv1.SnapshotServiceClient) (done string, err error)) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, node string, conn *connection) (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, max(a.timeout, poolTimeout))
		defer cancel()
		done, err := call(ctx, snapshotv1.NewSnapshotServiceClient(conn))
		if err == nil {
			fmt.Fprintf(a.stderr, "%s: %s\n", node, output.Clean(done))
		}
		return struct{}{}, err
	})
	return a.report(errorsOf(results))
}

// someArgs is for commands that take one name or more.
func someArgs(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("expected one argument or more: %s", name)
		}
		return nil
	}
}

const wholeSnapshots = "whole names of snapshots, such as tank/data@monday"

func (a *app) snapshotCreateCommand() *cobra.Command {
	var recursive bool
	c := &cobra.Command{
		Use: "create NAME DATASET…", Short: "Make snapshots of datasets at the same instant (needs node:operator)",
		Long: "Make snapshots of datasets at the same instant (needs node:operator): of all that are named, or of none. No schedule prunes them unless they are called\n" +
			"as those of one. Of what replication receives, or has fenced, none is made: it would be in the way of what is received. Below a dataset that is named with\n" +
			"--recursive it is left out.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("expected the name of the snapshot and one dataset or more")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeDatasets(cmd, nil, typed)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onSnapshots(cmd.Context(), func(ctx context.Context, client snapshotv1.SnapshotServiceClient) (string, error) {
				resp, err := client.Create(ctx, &snapshotv1.CreateRequest{Name: args[0], Datasets: args[1:], Recursive: recursive})
				done := "made: " + strings.Join(resp.GetSnapshots(), ", ")
				if left := resp.GetLeftOut(); len(left) > 0 {
					done += "; left out, as replication decides what is there: " + strings.Join(left, ", ")
				}
				return done, err
			})
		},
	}
	c.Flags().BoolVarP(&recursive, "recursive", "r", false, "of the datasets below them, too")
	return c
}

func (a *app) snapshotDestroyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "destroy SNAPSHOT…", Aliases: []string{"rm"}, Short: "Destroy snapshots of a node, each by its whole name (needs node:admin)",
		Long: "Destroy snapshots of a node, each by its whole name (needs node:admin): all of them or, if one is held or cloned, none. Behind that bookmarks go,\n" +
			"one by one. Those of replication say what the other node of a job has: without them its next step may not be possible.",
		Args: someArgs(wholeSnapshots), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.oneNode("the destruction of snapshots"); err != nil {
				return err
			}
			r := &snapshotv1.DestroyRequest{}
			for _, name := range args {
				if strings.Contains(name, "#") {
					r.Bookmarks = append(r.Bookmarks, name)
				} else {
					r.Snapshots = append(r.Snapshots, name)
				}
			}
			return a.onSnapshots(cmd.Context(), func(ctx context.Context, client snapshotv1.SnapshotServiceClient) (string, error) {
				_, err := client.Destroy(ctx, r)
				return "destroyed: " + strings.Join(args, ", "), err
			})
		},
	}
}

func (a *app) snapshotHoldCommand() *cobra.Command {
	return &cobra.Command{
		Use: "hold TAG SNAPSHOT…", Short: "Keep snapshots from being destroyed (needs node:operator)", Args: tagArgs, ValidArgsFunction: a.completeTagged,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onSnapshots(cmd.Context(), func(ctx context.Context, client snapshotv1.SnapshotServiceClient) (string, error) {
				_, err := client.Hold(ctx, &snapshotv1.HoldRequest{Tag: args[0], Snapshots: args[1:]})
				return "held with " + args[0] + ": " + strings.Join(args[1:], ", "), err
			})
		},
	}
}

func (a *app) snapshotReleaseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "release TAG SNAPSHOT…", Short: "Take a hold off snapshots (needs node:admin)", Args: tagArgs, ValidArgsFunction: a.completeTagged,
		Long: "Take a hold off snapshots (needs node:admin). Those of replication are taken off by it: without them its next step may not be possible.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onSnapshots(cmd.Context(), func(ctx context.Context, client snapshotv1.SnapshotServiceClient) (string, error) {
				_, err := client.Release(ctx, &snapshotv1.ReleaseRequest{Tag: args[0], Snapshots: args[1:]})
				return "released from " + args[0] + ": " + strings.Join(args[1:], ", "), err
			})
		},
	}
}

func tagArgs(_ *cobra.Command, args []string) error {
	if len(args) < 2 {
		return usagef("expected the tag of the hold, and %s", wholeSnapshots)
	}
	return nil
}

func (a *app) snapshotRollbackCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rollback SNAPSHOT",
		Short: "Take a dataset of a node back to a snapshot (needs node:admin)",
		Long: "Take a dataset of a node back to a snapshot (needs node:admin). What was written since is lost, and so are later snapshots and bookmarks: they are shown,\n" +
			"and the name of the dataset is then read from standard input. It does not ask who uses the dataset: end that before, since files change beneath it, and a\n" +
			"file system on a device is damaged.",
		Args: oneArg("the whole name of a snapshot, see `nodectl snapshot list`"), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.oneNode("a rollback"); err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				return a.rollbackDataset(ctx, node, conn, args[0])
			})
		},
	}
}

func (a *app) rollbackDataset(ctx context.Context, node string, conn *connection, snapshot string) error {
	client := snapshotv1.NewSnapshotServiceClient(conn)
	asking, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	plan, err := client.PlanRollback(asking, &snapshotv1.PlanRollbackRequest{Snapshot: snapshot})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s: %s written to %s since is lost\n", node, bytesText(plan.GetWrittenBytes()), output.Clean(plan.GetDataset()))
	for _, name := range plan.GetLost() {
		fmt.Fprintf(a.stderr, "  and %s\n", output.Clean(name))
	}
	typed, err := a.readName("Type the name of the dataset to have it taken back: ")
	if err != nil {
		return err
	}
	if typed != plan.GetDataset() {
		return fmt.Errorf("%q is not the name of the dataset; nothing is done", typed)
	}
	doing, end := context.WithTimeout(ctx, max(a.timeout, poolTimeout))
	defer end()
	_, err = client.Rollback(doing, &snapshotv1.RollbackRequest{Snapshot: snapshot, Confirm: typed, Lost: plan.GetLost()})
	if err == nil {
		fmt.Fprintf(a.stderr, "%s: %s is as it was at %s\n", node, output.Clean(typed), output.Clean(snapshot))
	}
	return err
}

func previewPrune(ctx context.Context, conn *connection, dataset string) (*snapshotv1.PreviewPruneResponse, error) {
	return snapshotv1.NewSnapshotServiceClient(conn).PreviewPrune(ctx, &snapshotv1.PreviewPruneRequest{Dataset: dataset})
}

func (a *app) snapshotPreviewCommand() *cobra.Command {
	return &cobra.Command{
		Use: "preview [DATASET]", Short: "Show which snapshots the schedules keep and prune, and why, and how the schedules fare",
		Args: atMostOneArg("the dataset whose snapshots are judged"), ValidArgsFunction: a.completeDatasets,
		RunE: func(cmd *cobra.Command, args []string) error {
			return noted(cmd.Context(), a, func(ctx context.Context, conn *connection) (*snapshotv1.PreviewPruneResponse, error) {
				return previewPrune(ctx, conn, strings.Join(args, ""))
			}, columns[*snapshotv1.PreviewPruneResponse]{[]string{"SNAPSHOT", "FATE", "WHY"}, verdictRows},
				columns[*snapshotv1.PreviewPruneResponse]{[]string{"SCHEDULE", "SNAPSHOTS", "NEWEST", "FAILING-SINCE", "TRIED-AGAIN", "PROBLEM"}, scheduleRows})
		},
	}
}

func verdictRows(p *snapshotv1.PreviewPruneResponse) [][]string {
	var rows [][]string
	for _, v := range p.GetVerdicts() {
		rows = append(rows, []string{v.GetSnapshot(), enumName(v.GetFate().String(), "FATE_"), strings.Join(v.GetReasons(), "; ")})
	}
	return rows
}

func scheduleRows(p *snapshotv1.PreviewPruneResponse) [][]string {
	var rows [][]string
	for _, s := range p.GetSchedules() {
		rows = append(rows, []string{
			s.GetName(), fmt.Sprint(s.GetSnapshots()), stamp(s.GetNewestAt()), stamp(s.GetFailingSince()), stamp(s.GetRetryAt()), strings.Join(s.GetProblems(), "; "),
		})
	}
	return rows
}

// completeSnapshots offers the snapshots of the first node.
func (a *app) completeSnapshots(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return a.fromNode(func(ctx context.Context, conn *connection) ([]string, error) {
		resp, err := snapshotv1.NewSnapshotServiceClient(conn).List(ctx, &snapshotv1.ListRequest{})
		var names []string
		for _, s := range resp.GetSnapshots() {
			names = append(names, s.GetName())
		}
		return names, err
	}), cobra.ShellCompDirectiveNoFileComp
}

// completeTagged offers snapshots behind a tag.
func (a *app) completeTagged(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeSnapshots(cmd, args, typed)
}
