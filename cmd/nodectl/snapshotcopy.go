package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
)

func (a *app) snapshotCloneCommand() *cobra.Command {
	return &cobra.Command{
		Use: "clone SNAPSHOT DATASET", Short: "Make a dataset of a snapshot (needs node:operator)",
		Long: "Make a dataset of a snapshot (needs node:operator), in the same pool. It takes room for what changes from then on, and the snapshot stays as long as it. It is\n" +
			"mounted when a Dataset document has its name and a mount point.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("expected two arguments: the whole name of a snapshot, and that of the dataset that is made")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return a.completeSnapshots(cmd, args, typed)
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onSnapshots(cmd.Context(), func(ctx context.Context, client snapshotv1.SnapshotServiceClient) (string, error) {
				_, err := client.Clone(ctx, &snapshotv1.CloneRequest{Snapshot: args[0], Dataset: args[1]})
				return fmt.Sprintf("made of %s: %s", args[0], args[1]), err
			})
		},
	}
}

func (a *app) snapshotBookmarkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "bookmark SNAPSHOT NAME", Short: "Make a bookmark of a snapshot, by which replication goes on once that is gone (needs node:operator)",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("expected two arguments: the whole name of a snapshot, and what comes behind the # of the bookmark")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return a.completeSnapshots(cmd, args, typed)
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onSnapshots(cmd.Context(), func(ctx context.Context, client snapshotv1.SnapshotServiceClient) (string, error) {
				resp, err := client.Bookmark(ctx, &snapshotv1.BookmarkRequest{Snapshot: args[0], Name: args[1]})
				return "made: " + resp.GetBookmark(), err
			})
		},
	}
}

func (a *app) snapshotDiffCommand() *cobra.Command {
	return &cobra.Command{
		Use: "diff SNAPSHOT SNAPSHOT", Short: "Show which files differ between two snapshots of a file system (needs node:operator)",
		Long: "Show which files differ between two snapshots of a file system, the earlier one first (needs node:operator). The file system has to be mounted. To compare with\n" +
			"what it has now, make a snapshot.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("expected two arguments: whole names of two snapshots of one file system, the earlier one first")
			}
			return nil
		},
		ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.target()
			if err != nil {
				return err
			}
			results := each(cmd.Context(), t, func(ctx context.Context, _ string, conn *connection) (*snapshotv1.DiffResponse, error) {
				ctx, cancel := context.WithTimeout(ctx, max(a.timeout, poolTimeout))
				defer cancel()
				return snapshotv1.NewSnapshotServiceClient(conn).Diff(ctx, &snapshotv1.DiffRequest{Snapshot: args[0], To: args[1]})
			})
			if err := writeResults(a, results, columns[*snapshotv1.DiffResponse]{[]string{"CHANGE", "PATH", "NEW-PATH"}, diffRows}); err != nil {
				return err
			}
			for _, r := range results {
				if r.err == nil && r.resp.GetTruncated() {
					fmt.Fprintf(a.stderr, "%s: there are more changes, which are left out\n", r.node)
				}
			}
			return a.report(errorsOf(results))
		},
	}
}

func diffRows(d *snapshotv1.DiffResponse) [][]string {
	var rows [][]string
	for _, c := range d.GetChanges() {
		rows = append(rows, []string{enumName(c.GetKind().String(), "CHANGE_KIND_"), c.GetPath(), c.GetNewPath()})
	}
	return rows
}
