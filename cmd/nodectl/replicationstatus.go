package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

func (a *app) replicationStatusCommand() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use:   "status [JOB]",
		Short: "Show how nodes' replication jobs are, how far they are, and what a person has to decide",
		Long: "Show how nodes' replication jobs are, how far they are, and what a person has to decide. With --follow it goes on, and shows a line whenever a job\n" +
			"gets further; the whole text of a decision is what --decide of the other commands repeats.",
		Args: atMostOneArg("the name of a job, see `nodectl replication list`"), ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if follow {
				return a.followJobs(cmd.Context(), strings.Join(args, ""))
			}
			return a.jobStatus(cmd.Context(), strings.Join(args, ""))
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on, with a line for each news")
	return c
}

// jobStatus writes the jobs of all nodes, or the one of a name. A node that has none of the name counts as failed.
func (a *app) jobStatus(ctx context.Context, name string) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, _ string, conn *connection) (*replicationv1.ListResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		l, err := listJobs(ctx, conn)
		if err != nil || name == "" {
			return l, err
		}
		if l.Jobs = slices.DeleteFunc(l.Jobs, func(j *replicationv1.Job) bool { return j.GetName() != name }); len(l.Jobs) == 0 {
			return nil, fmt.Errorf("it has no replication job %q; see nodectl replication list", name)
		}
		return l, nil
	})
	if a.format != output.FormatTable {
		if err := writeResults(a, results, columns[*replicationv1.ListResponse]{}); err != nil {
			return err
		}
		return a.report(errorsOf(results))
	}
	var text strings.Builder
	for _, r := range results {
		if r.err != nil {
			continue
		}
		if len(results) > 1 {
			fmt.Fprintf(&text, "node %s\n\n", r.node)
		}
		writeJobs(&text, r.resp)
	}
	if _, err := io.WriteString(a.stdout, output.CleanText(text.String())); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return a.report(errorsOf(results))
}

// followJobs writes a line whenever a job gets further.
func (a *app) followJobs(ctx context.Context, name string) error {
	return streaming(ctx, a, func(ctx context.Context, conn *connection) (receiver[*replicationv1.WatchResponse], error) {
		return replicationv1.NewReplicationServiceClient(conn).Watch(ctx, &replicationv1.WatchRequest{Job: name})
	}, func(w *replicationv1.WatchResponse) string {
		var all []string
		for _, j := range w.GetJobs() {
			line := j.GetName() + ": " + jobPhase(j) + ": " + j.GetReason()
			if p := j.GetProgress(); p.GetExpectedBytes() > 0 {
				line += ", " + progressText(p)
			}
			all = append(all, line)
		}
		return strings.Join(all, "; ")
	})
}

// writeJobs writes the jobs of one node for a person.
func writeJobs(w *strings.Builder, l *replicationv1.ListResponse) {
	if len(l.GetJobs()) == 0 {
		w.WriteString("The node has no replication jobs.\n")
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-10s %s\n", name+":", strings.ReplaceAll(value, "\n", "\n           "))
		}
	}
	for i, j := range l.GetJobs() {
		if i > 0 {
			w.WriteString("\n")
		}
		line("job", fmt.Sprintf("%s (%s)", j.GetName(), j.GetUuid()))
		line("does", jobDoes(j))
		line("phase", jobPhase(j)+", "+j.GetReason())
		line("failing", failingText(j))
		for _, r := range j.GetRoots() {
			line("tree", rootText(j, r))
		}
		line("unknown", j.GetRootsProblem())
		if p := j.GetProgress(); p != nil {
			line("progress", progressText(p))
			for _, d := range p.GetDatasets() {
				line("dataset", datasetText(d))
			}
		}
		line("last", outcomeText(j.GetLast()))
		if !j.GetLast().GetSucceeded() {
			line("succeeded", stamp(j.GetSucceededAt()))
		}
		line("next", stamp(j.GetNextAt()))
		if !j.GetRuns() {
			line("heard", stamp(j.GetHeardAt()))
		}
		for _, c := range j.GetConflicts() {
			line("decide", conflictText(c))
		}
		line("blocked", strings.Join(j.GetBlocked(), "\n"))
		line("orphans", strings.Join(j.GetOrphans(), "\n"))
	}
}

func jobDoes(j *replicationv1.Job) string {
	text := "receives from "
	if j.GetSends() {
		text = "sends to "
	}
	text += fmt.Sprintf("%s (%s), below %s", j.GetPeerIdentity(), j.GetPeerAddress(), j.GetTarget())
	switch {
	case !j.GetRuns():
		text += "; the peer runs it"
	case j.GetSchedule() != "":
		text += "; " + j.GetSchedule()
	}
	if j.GetLimit() > 0 {
		text += fmt.Sprintf("; %s/s at most", bytesText(j.GetLimit()))
	}
	return text
}

// failingText is what is wrong with a job, since when, and when it is tried again.
func failingText(j *replicationv1.Job) string {
	if j.GetFailingSince() == nil {
		return ""
	}
	text := "since " + stamp(j.GetFailingSince())
	switch next := stamp(j.GetNextAt()); {
	case j.GetProgress() != nil:
		text += ", tried again now"
	case next != "":
		text += ", tried again at " + next
	}
	return text + ": " + j.GetProblem()
}

func rootText(j *replicationv1.Job, r *replicationv1.Root) string {
	text := fmt.Sprintf("%s -> %s", r.GetSource(), r.GetTarget())
	if role := enumName(r.GetRole().String(), "ROLE_"); role != "" && role != "none" {
		text += ", here the " + role
	} else if role == "none" && !j.GetSends() {
		text += ", nothing received yet"
	} else if role == "none" {
		text += ", which is not there"
	}
	if r.GetGeneration() > 0 {
		text += fmt.Sprintf(", generation %d", r.GetGeneration())
	}
	return text
}

// progressText is a run as a line.
func progressText(p *replicationv1.Progress) string {
	text := fmt.Sprintf("%d of %d steps, %s of about %s", p.GetStepsDone(), p.GetSteps(), bytesText(p.GetSentBytes()), bytesText(p.GetExpectedBytes()))
	return text + rateText(p)
}

// rateText is how fast a run is, and how long it takes still.
func rateText(p *replicationv1.Progress) string {
	text := ""
	if p.GetBytesPerSecond() > 0 {
		text += fmt.Sprintf(" at %s/s", bytesText(p.GetBytesPerSecond()))
	}
	if p.GetRemaining() != nil {
		text += ", about " + roundedSeconds(p.GetRemaining()) + " to go"
	}
	return text
}

func datasetText(d *replicationv1.DatasetProgress) string {
	text := fmt.Sprintf("%s, %d of %d steps", d.GetSource(), d.GetStepsDone(), d.GetSteps())
	if d.GetExpectedBytes() > 0 {
		text += fmt.Sprintf(", %s of about %s", bytesText(d.GetSentBytes()), bytesText(d.GetExpectedBytes()))
	}
	if reason := d.GetReason(); reason != "" {
		text += ": " + reason
	}
	return text
}

func outcomeText(o *replicationv1.Outcome) string {
	if o == nil {
		return ""
	}
	text := fmt.Sprintf("%s, %d steps, %s in %s", stamp(o.GetEndedAt()), o.GetStepsDone(), bytesText(o.GetSentBytes()),
		o.GetEndedAt().AsTime().Sub(o.GetStartedAt().AsTime()).Round(1e6))
	if !o.GetSucceeded() {
		text += "\n" + o.GetProblem()
	}
	return text
}

// conflictText is a conflict with what may be decided.
func conflictText(c *replicationv1.Conflict) string {
	text := fmt.Sprintf("%s: %s: %s", c.GetTarget(), c.GetKind(), c.GetDetail())
	for _, o := range c.GetOptions() {
		text += "\n- " + o.GetText()
	}
	return text
}
