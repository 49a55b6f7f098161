package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

func (a *app) datasetCommand() *cobra.Command {
	return group("dataset", "Look after the file systems and volumes in nodes' ZFS pools",
		a.datasetListCommand(), a.datasetGetCommand(), a.datasetPromoteCommand(), a.datasetDestroyCommand())
}

func listDatasets(ctx context.Context, conn *connection, root string) (*datasetv1.ListResponse, error) {
	return datasetv1.NewDatasetServiceClient(conn).List(ctx, &datasetv1.ListRequest{Root: root})
}

func (a *app) datasetListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list [ROOT]", Aliases: []string{"ls"}, Short: "List nodes' datasets, with what they take and may take",
		Args: atMostOneArg("the dataset, or pool, below which to look"), ValidArgsFunction: a.completeDatasets,
		RunE: func(cmd *cobra.Command, args []string) error {
			return noted(cmd.Context(), a, func(ctx context.Context, conn *connection) (*datasetv1.ListResponse, error) {
				return listDatasets(ctx, conn, strings.Join(args, ""))
			}, columns[*datasetv1.ListResponse]{
				[]string{"DATASET", "KIND", "USED", "AVAILABLE", "REFERENCED", "SNAPSHOTS", "LIMIT", "RESERVED", "COMPRESSION", "RATIO", "MOUNTED-ON", "DECLARED"}, datasetRows,
			}, columns[*datasetv1.ListResponse]{[]string{"DATASET", "NOT-AS-DECLARED", "WHY"}, datasetConditionRows})
		},
	}
}

func datasetRows(l *datasetv1.ListResponse) [][]string {
	var rows [][]string
	for _, d := range l.GetDatasets() {
		limits := sizesText(
			namedSize{"quota", d.GetQuotaBytes()}, namedSize{"refquota", d.GetRefquotaBytes()}, namedSize{"size", d.GetVolumeBytes()})
		reserved := sizesText(namedSize{"reservation", d.GetReservationBytes()}, namedSize{"refreservation", d.GetRefreservationBytes()})
		where := ""
		if d.GetKind() == datasetv1.Kind_KIND_FILESYSTEM {
			if where = d.GetMountpoint(); !d.GetMounted() && where != "none" && where != "legacy" {
				where += " (not now)"
			}
		}
		rows = append(rows, []string{
			d.GetName(), enumName(d.GetKind().String(), "KIND_"), bytesText(d.GetUsedBytes()), bytesText(d.GetAvailableBytes()), bytesText(d.GetReferencedBytes()),
			bytesText(d.GetSnapshotsBytes()), limits, reserved, d.GetCompression(), fmt.Sprintf("%.2f", d.GetCompressRatio()), where, yes(d.GetDeclared()),
		})
	}
	return rows
}

// namedSize is a size that a dataset may have.
type namedSize struct {
	name  string
	bytes uint64
}

// sizesText is those that there are.
func sizesText(sizes ...namedSize) string {
	var words []string
	for _, s := range sizes {
		if s.bytes > 0 {
			words = append(words, s.name+" "+bytesText(s.bytes))
		}
	}
	return strings.Join(words, ", ")
}

func datasetConditionRows(l *datasetv1.ListResponse) [][]string {
	var rows [][]string
	for _, c := range l.GetConditions() {
		rows = append(rows, []string{c.GetDataset(), c.GetReason(), c.GetText()})
	}
	return rows
}

const wholeDataset = "the whole name of a dataset, see `nodectl dataset list`"

func (a *app) datasetGetCommand() *cobra.Command {
	var set bool
	c := &cobra.Command{
		Use:   "get DATASET",
		Short: "Show all properties of a dataset, and where each is from",
		Long: "Show all properties of a dataset, user properties too, and where each is from: set on it (local), on one above it (inherited), nowhere (default), or\n" +
			"received by replication. Sizes are in bytes, times in seconds since 1970. Those without a source cannot be set.",
		Args: oneArg(wholeDataset), ValidArgsFunction: a.completeDatasets,
		RunE: func(cmd *cobra.Command, args []string) error {
			return noted(cmd.Context(), a, func(ctx context.Context, conn *connection) (*datasetv1.GetResponse, error) {
				return datasetv1.NewDatasetServiceClient(conn).Get(ctx, &datasetv1.GetRequest{Name: args[0]})
			}, columns[*datasetv1.GetResponse]{
				[]string{"PROPERTY", "VALUE", "SOURCE"}, func(r *datasetv1.GetResponse) [][]string { return propertyRows(r, set) },
			}, columns[*datasetv1.GetResponse]{[]string{"DATASET", "NOT-AS-DECLARED", "WHY"}, func(r *datasetv1.GetResponse) [][]string {
				return datasetConditionRows(&datasetv1.ListResponse{Conditions: r.GetConditions()})
			}})
		},
	}
	c.Flags().BoolVar(&set, "set", false, "in the table only those that are set somewhere, on it or above it")
	return c
}

// propertyRows are all properties, or those that are set somewhere.
func propertyRows(r *datasetv1.GetResponse, set bool) [][]string {
	var rows [][]string
	for _, p := range r.GetDataset().GetProperties() {
		source := enumName(p.GetSource().String(), "SOURCE_")
		switch p.GetSource() {
		case datasetv1.Source_SOURCE_NONE, datasetv1.Source_SOURCE_DEFAULT:
			if set {
				continue
			}
			if p.GetSource() == datasetv1.Source_SOURCE_NONE {
				source = ""
			}
		case datasetv1.Source_SOURCE_INHERITED:
			source += " from " + p.GetInheritedFrom()
		}
		rows = append(rows, []string{p.GetName(), p.GetValue(), source})
	}
	return rows
}

func (a *app) datasetPromoteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "promote DATASET",
		Short: "Turn round which is the clone, a clone or the dataset that it was made of (needs node:operator)",
		Long: "Turn round which is the clone, a clone or the dataset that it was made of (needs node:operator). The snapshot that it was made of, and all before that, are\n" +
			"its own then, with what holds them, and the other one can be destroyed without it. Nothing is lost. A schedule, and a replication job that sends, goes on\n" +
			"with the snapshots that each dataset has then.",
		Args: oneArg(wholeDataset), ValidArgsFunction: a.completeDatasets,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.oneNode("a promotion"); err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				ctx, cancel := context.WithTimeout(ctx, max(a.timeout, poolTimeout))
				defer cancel()
				resp, err := datasetv1.NewDatasetServiceClient(conn).Promote(ctx, &datasetv1.PromoteRequest{Name: args[0]})
				if err == nil {
					fmt.Fprintf(a.stderr, "%s: promoted: %s, of which %s is a clone now\n", node, output.Clean(args[0]), output.Clean(resp.GetClone()))
				}
				return err
			})
		},
	}
}

func (a *app) datasetDestroyCommand() *cobra.Command {
	var all, preview bool
	c := &cobra.Command{
		Use:   "destroy DATASET",
		Short: "Destroy a dataset of a node (needs node:admin)",
		Long: "Destroy a dataset of a node (needs node:admin). All that goes with it is shown, and its name is then read from standard input. What is declared is not\n" +
			"destroyed: take it out of the configuration first. A hold, or a clone elsewhere, is in the way.",
		Args: oneArg(wholeDataset), ValidArgsFunction: a.completeDatasets,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.oneNode("the destruction of a dataset"); err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				return a.destroyDataset(ctx, node, conn, args[0], all, preview)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "with all datasets below it, and all snapshots of it and them")
	c.Flags().BoolVar(&preview, "preview", false, "show what would be destroyed, and do nothing")
	return c
}

func (a *app) destroyDataset(ctx context.Context, node string, conn *connection, name string, all, preview bool) error {
	client := datasetv1.NewDatasetServiceClient(conn)
	asking, cancel := context.WithTimeout(ctx, max(a.timeout, poolTimeout))
	defer cancel()
	plan, err := client.PlanDestroy(asking, &datasetv1.PlanDestroyRequest{Name: name, All: all})
	if err != nil {
		return err
	}
	list := output.CleanText(strings.Join(plan.GetDestroyed(), "\n  "))
	if preview {
		if _, err := fmt.Fprintf(a.stdout, "  %s\n", list); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		return nil
	}
	fmt.Fprintf(a.stderr, "%s: this is destroyed, for good:\n  %s\n", node, list)
	typed, err := a.readName("Type the name of the dataset to have it destroyed: ")
	if err != nil {
		return err
	}
	if typed != name {
		return fmt.Errorf("%q is not the name of the dataset; nothing is done", typed)
	}
	doing, end := context.WithTimeout(ctx, max(a.timeout, poolTimeout))
	defer end()
	resp, err := client.Destroy(doing, &datasetv1.DestroyRequest{Name: name, Confirm: typed, All: all, Plan: plan.GetPlan()})
	switch {
	case err == nil:
		fmt.Fprintf(a.stderr, "%s: destroyed: %d datasets and snapshots\n", node, len(resp.GetDestroyed()))
	case status.Code(err) == codes.FailedPrecondition:
		a.tellChanged(ctx, node, client, &datasetv1.PlanDestroyRequest{Name: name, All: all}, plan.GetDestroyed())
	}
	return err
}

// tellChanged says what a destruction that was refused is of now and was not shown, and the other way round.
func (a *app) tellChanged(ctx context.Context, node string, client datasetv1.DatasetServiceClient, r *datasetv1.PlanDestroyRequest, shown []string) {
	ctx, cancel := context.WithTimeout(ctx, max(a.timeout, poolTimeout))
	defer cancel()
	now, err := client.PlanDestroy(ctx, r)
	if err != nil {
		return // the refusal says what there is to say
	}
	tell := func(what string, list, known []string) {
		seen := map[string]bool{}
		for _, name := range known {
			seen[name] = true
		}
		if left := slices.DeleteFunc(slices.Clone(list), func(name string) bool { return seen[name] }); len(left) > 0 {
			fmt.Fprintf(a.stderr, "%s: %s:\n  %s\n", node, what, output.CleanText(strings.Join(left, "\n  ")))
		}
	}
	tell("new since it was shown, and not confirmed", now.GetDestroyed(), shown)
	tell("gone since it was shown", shown, now.GetDestroyed())
}

// completeDatasets offers the datasets of the first node.
func (a *app) completeDatasets(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.fromNode(func(ctx context.Context, conn *connection) ([]string, error) {
		resp, err := listDatasets(ctx, conn, "")
		var names []string
		for _, d := range resp.GetDatasets() {
			names = append(names, d.GetName())
		}
		return names, err
	}), cobra.ShellCompDirectiveNoFileComp
}
