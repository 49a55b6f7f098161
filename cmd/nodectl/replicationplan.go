package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

func (a *app) replicationPlanCommand() *cobra.Command {
	return &cobra.Command{
		Use: "plan JOB", Short: "Show what a run of a replication job would send now, and about how much", Args: jobArg(), ValidArgsFunction: a.completeJobs,
		Long: "Show what a run of a replication job would send now, and about how much: each step in the order in which they begin, with OpenZFS's estimate, the sum of\n" +
			"all, and what a person has to decide. The node that does the work is asked, and asks the other one; nothing is done.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.oneNode("a plan"); err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				asking, cancel := context.WithTimeout(ctx, max(a.timeout, poolTimeout))
				defer cancel()
				p, err := replicationv1.NewReplicationServiceClient(conn).Plan(asking, &replicationv1.PlanRequest{Job: args[0]})
				if err != nil {
					return err
				}
				return a.writePlan(node, p)
			})
		},
	}
}

// writePlan writes the plan of one node.
func (a *app) writePlan(node string, p *replicationv1.PlanResponse) error {
	if a.format != output.FormatTable {
		return output.WriteAll(a.stdout, a.format, []output.Answer{{Node: node, Message: p}}, false)
	}
	table := output.Table{Header: []string{"SOURCE", "TARGET", "STEP", "FROM", "TO", "SIZE"}}
	for _, s := range p.GetSteps() {
		table.Rows = append(table.Rows, stepRow(s))
	}
	text := planText(p)
	if len(table.Rows) > 0 {
		if err := table.Write(a.stdout); err != nil {
			return err
		}
		text = "\n" + text
	}
	if _, err := io.WriteString(a.stdout, output.CleanText(text)); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func stepRow(s *replicationv1.Step) []string {
	row := []string{s.GetSource(), s.GetTarget(), enumName(s.GetKind().String(), "STEP_KIND_"), s.GetFrom(), s.GetTo(), ""}
	if s.GetResumes() {
		row[2] = "resume"
	}
	if s.GetExpectedBytes() > 0 {
		row[5] = bytesText(s.GetExpectedBytes())
	}
	return row
}

// planText is what there is to say of a plan beside its steps.
func planText(p *replicationv1.PlanResponse) string {
	var w strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&w, "%-10s %s\n", name+":", strings.ReplaceAll(value, "\n", "\n           "))
		}
	}
	sends := uint64(0)
	for _, s := range p.GetSteps() {
		if k := s.GetKind(); k == replicationv1.StepKind_STEP_KIND_FULL || k == replicationv1.StepKind_STEP_KIND_INCREMENTAL {
			sends++
		}
	}
	total := "nothing is sent"
	if sends > 0 {
		total = fmt.Sprintf("about %s in %d steps", bytesText(p.GetExpectedBytes()), sends)
	}
	if n := p.GetUnestimated(); n > 0 {
		total += fmt.Sprintf(", without %d of which the size cannot be told", n)
	}
	line("total", total)
	if g := p.GetFencedBy(); g > 0 {
		line("fenced", fmt.Sprintf("by generation %d: the replica was promoted, and is the primary", g))
	}
	line("first", strings.Join(p.GetFirst(), "\n"))
	for _, c := range p.GetConflicts() {
		line("decide", conflictText(c))
	}
	line("blocked", strings.Join(p.GetBlocked(), "\n"))
	line("orphans", strings.Join(p.GetOrphans(), "\n"))
	line("empty", strings.Join(p.GetEmpty(), "\n"))
	if n := p.GetCurrent(); n > 0 {
		line("current", fmt.Sprintf("%d datasets, whose replicas have all that is sent", n))
	}
	return w.String()
}
