package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

func (a *app) replicationVerifyCommand() *cobra.Command {
	var contents bool
	c := &cobra.Command{
		Use: "verify JOB", Short: "Compare the datasets of a job with their replicas (needs node:operator)", Args: jobArg(), ValidArgsFunction: a.completeJobs,
		Long: "Compare the datasets of a job with their replicas (needs node:operator): whether they have their latest snapshots in common, and nothing of their own.\n" +
			"With --contents both nodes also read all files of the latest common snapshot, which takes as long as that. It fails where something is wrong.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.oneNode("a comparison"); err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, t *target, node string, conn *connection) error {
				return a.verifyJob(ctx, node, conn, &replicationv1.VerifyRequest{Job: args[0], Contents: contents})
			})
		},
	}
	c.Flags().BoolVar(&contents, "contents", false, "read and compare all files, too")
	return c
}

// verifyJob writes a line for each dataset as it is compared.
func (a *app) verifyJob(ctx context.Context, node string, conn *connection, r *replicationv1.VerifyRequest) error {
	wrong, all := 0, 0
	err := receive(ctx, conn, func(ctx context.Context, conn *connection) (receiver[*replicationv1.VerifyResponse], error) {
		return replicationv1.NewReplicationServiceClient(conn).Verify(ctx, r)
	}, func(v *replicationv1.VerifyResponse) error {
		all++
		if v.GetProblem() != "" {
			wrong++
		}
		if a.format != output.FormatTable {
			return output.WriteOne(a.stdout, a.format, output.Answer{Node: node, Message: v}, false)
		}
		if _, err := io.WriteString(a.stdout, output.Clean(verdictText(v))+"\n"); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case wrong > 0:
		return fmt.Errorf("of %d datasets, something is wrong with %d", all, wrong)
	}
	fmt.Fprintf(a.stderr, "%s: %s: nothing is wrong with %d datasets\n", node, r.GetJob(), all)
	return nil
}

// verdictText is what came of comparing one dataset.
func verdictText(v *replicationv1.VerifyResponse) string {
	text := v.GetSource() + ": "
	switch {
	case v.GetProblem() != "":
		text += "WRONG: " + v.GetProblem()
	case v.GetSnapshot() == "":
		text += "not replicated yet"
	default:
		text += "the same up to @" + v.GetSnapshot()
	}
	switch v.GetContents() {
	case replicationv1.Contents_CONTENTS_SAME:
		text += ", contents compared"
	case replicationv1.Contents_CONTENTS_NOT_COMPARED:
		if v.GetNote() != "" {
			text += ", contents not compared: " + v.GetNote()
		}
	}
	if v.GetBehind() > 0 {
		text += fmt.Sprintf(", %d snapshots behind", v.GetBehind())
	}
	return text
}
