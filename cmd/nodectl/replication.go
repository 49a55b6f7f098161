package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
)

func (a *app) replicationCommand() *cobra.Command {
	return group("replication", "Look after the jobs that keep datasets on two nodes the same",
		a.replicationListCommand(), a.replicationStatusCommand(), a.replicationPlanCommand(), a.replicationRunCommand(), a.replicationFailoverCommand(),
		a.replicationFailbackCommand(), a.replicationVerifyCommand())
}

func listJobs(ctx context.Context, conn *connection) (*replicationv1.ListResponse, error) {
	return replicationv1.NewReplicationServiceClient(conn).List(ctx, &replicationv1.ListRequest{})
}

func (a *app) replicationListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List nodes' replication jobs", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, listJobs, columns[*replicationv1.ListResponse]{
				[]string{"JOB", "THIS-NODE", "PEER", "RUN-BY", "PHASE", "LAST-RUN", "RESULT", "NEXT-RUN"}, jobRows,
			}, nil)
		},
	}
}

func jobRows(l *replicationv1.ListResponse) [][]string {
	var rows [][]string
	for _, j := range l.GetJobs() {
		row := []string{j.GetName(), "receives", j.GetPeerIdentity(), "the peer", jobPhase(j), "", "", stamp(j.GetNextAt())}
		if j.GetSends() {
			row[1] = "sends"
		}
		if j.GetRuns() {
			row[3] = "this node"
		}
		if last := j.GetLast(); last != nil {
			row[5], row[6] = stamp(last.GetEndedAt()), "done"
			if !last.GetSucceeded() {
				row[6] = "failed"
			}
		}
		if since := j.GetFailingSince(); since != nil {
			row[6] = "failing since " + stamp(since)
		}
		rows = append(rows, row)
	}
	return rows
}

func jobPhase(j *replicationv1.Job) string { return enumName(j.GetPhase().String(), "PHASE_") }

// jobArg is the argument of most commands.
func jobArg() cobra.PositionalArgs {
	return oneArg("the name of a job, see `nodectl replication list`")
}

// completeJobs offers the jobs of the first node.
func (a *app) completeJobs(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.fromNode(func(ctx context.Context, conn *connection) ([]string, error) {
		resp, err := listJobs(ctx, conn)
		var names []string
		for _, j := range resp.GetJobs() {
			names = append(names, j.GetName())
		}
		return names, err
	}), cobra.ShellCompDirectiveNoFileComp
}

// findJob asks a node for one job.
func (a *app) findJob(ctx context.Context, conn *connection, name string) (*replicationv1.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	l, err := listJobs(ctx, conn)
	if err != nil {
		return nil, err
	}
	for _, j := range l.GetJobs() {
		if j.GetName() == name {
			return j, nil
		}
	}
	return nil, fmt.Errorf("it has no replication job %q; see nodectl replication list", name)
}
