package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

// runFlags are those of what begins a run.
type runFlags struct {
	decide []string
	noWait bool
}

func (f *runFlags) add(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.decide, "decide", nil, "decide so about a conflict, by the whole text; the name of the dataset is read from standard input")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "do not wait for the end of the run")
}

func (a *app) replicationRunCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: "run JOB", Short: "Have a replication job of a node run now (needs node:operator)", Args: jobArg(), ValidArgsFunction: a.completeJobs,
		Long: "Have a replication job of a node run now (needs node:operator), and wait until it has ended; the run goes on if the wait is ended. What a person has\n" +
			"to decide is shown by `nodectl replication status`, and decided with --decide. What destroys something needs node:admin, and is decided so only on the node\n" +
			"that receives; if the other one runs the job, take the replica back with `nodectl snapshot rollback` there.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.oneNode("a run"); err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				job, err := a.findJob(ctx, conn, args[0])
				if err != nil {
					return err
				}
				choices, err := a.choose(namesFrom(len(f.decide)), node, f.decide, job.GetConflicts())
				if err != nil {
					return err
				}
				asking, cancel := context.WithTimeout(ctx, a.timeout)
				defer cancel()
				resp, err := replicationv1.NewReplicationServiceClient(conn).Run(asking, &replicationv1.RunRequest{Job: args[0], Decisions: choices})
				if err != nil || f.noWait {
					return err
				}
				return a.followRun(ctx, node, conn, args[0], resp.GetRun())
			})
		},
	}
	f.add(c)
	return c
}

// namesFrom is standard input, for so many names.
func namesFrom(n int) *bufio.Reader {
	return bufio.NewReader(io.LimitReader(os.Stdin, maxNameBytes*int64(n)))
}

// choose reads for each decision the name of the dataset that it is about.
func (a *app) choose(in *bufio.Reader, node string, texts []string, conflicts []*replicationv1.Conflict) ([]*replicationv1.Choice, error) {
	options := map[string]*replicationv1.Decision{}
	var all []string
	for _, c := range conflicts {
		for _, o := range c.GetOptions() {
			options[o.GetText()] = o
			all = append(all, o.GetText())
		}
	}
	var out []*replicationv1.Choice
	for _, text := range texts {
		if options[text] == nil {
			if len(all) == 0 {
				return nil, errors.New("nothing is to be decided; see nodectl replication status")
			}
			return nil, fmt.Errorf("no such decision is open; those that are:\n  %s", output.CleanText(strings.Join(all, "\n  ")))
		}
		fmt.Fprintf(a.stderr, "%s: %s\n", node, output.CleanText(text))
		typed, err := a.readNameFrom(in, "Type the name of the dataset to decide so: ")
		if err != nil {
			return nil, err
		}
		if typed != options[text].GetTarget() {
			return nil, fmt.Errorf("%q is not the name of the dataset; nothing is done", typed)
		}
		out = append(out, &replicationv1.Choice{Text: text, Confirm: typed})
	}
	return out, nil
}

// errRunEnded ends a watch.
var errRunEnded = errors.New("the run has ended")

// followRun shows how far a run is until it has ended. Its failure is one.
func (a *app) followRun(ctx context.Context, node string, conn *connection, job string, run uint64) error {
	var end *replicationv1.Outcome
	var shown *progress
	phase := ""
	err := receive(ctx, conn, func(ctx context.Context, conn *connection) (receiver[*replicationv1.WatchResponse], error) {
		return replicationv1.NewReplicationServiceClient(conn).Watch(ctx, &replicationv1.WatchRequest{Job: job})
	}, func(w *replicationv1.WatchResponse) error {
		for _, j := range w.GetJobs() {
			if last := j.GetLast(); last.GetRun() >= run {
				end = last
				return errRunEnded
			}
			text := j.GetReason()
			if text != phase {
				if shown != nil {
					shown.end()
				}
				shown, phase = a.progress(node, job), text
				fmt.Fprintf(a.stderr, "%s: %s: %s\n", node, job, output.Clean(text))
			}
			if p := j.GetProgress(); p.GetRun() == run && shown != nil {
				shown.with(min(p.GetSentBytes(), p.GetExpectedBytes()), p.GetExpectedBytes(), rateText(p))
			}
		}
		return nil
	})
	if shown != nil {
		shown.end()
	}
	switch {
	case end != nil:
		if err := runError(end, run); err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "%s: %s: done, %d steps, %s\n", node, job, end.GetStepsDone(), bytesText(end.GetSentBytes()))
		return nil
	case err == nil:
		return errors.New("the wait was ended; the run goes on, see nodectl replication status")
	}
	return err
}

// runError is the error of a run that was waited for, where end is the last one that has ended.
func runError(end *replicationv1.Outcome, run uint64) error {
	switch {
	case end.GetRun() != run:
		return errors.New("another run has ended since, and what came of this one is not known here: see nodectl replication status, and nodectl events")
	case !end.GetSucceeded():
		return errors.New(output.CleanText(end.GetProblem()))
	}
	return nil
}

func (a *app) replicationFailoverCommand() *cobra.Command {
	var decide []string
	c := &cobra.Command{
		Use: "failover JOB", Short: "Make the primary of the replica on a node (needs node:admin)", Args: jobArg(), ValidArgsFunction: a.completeJobs,
		Long: "Make the primary of the replica on a node (needs node:admin), where the other node is lost or is to give up its role. What was received last is then the\n" +
			"present; what the other node has that was not sent is not in it. It is shown, and the job's target is then read from standard input. The other\n" +
			"node is told, now or when it is back, and what it has becomes read-only. On the node with the source it is for a new primary that is lost for good: what\n" +
			"was fenced is the primary again, and the name of the first source is read.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.oneNode("a failover"); err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				return a.failover(ctx, node, conn, args[0], decide)
			})
		},
	}
	c.Flags().StringArrayVar(&decide, "decide", nil, "decide so about a replica that was changed, by the whole text; its name is read from standard input")
	return c
}

// failoverTimeout is for a failover, which may end a run before, and waits for the other node after.
const failoverTimeout = 3 * time.Minute

// goesOn says of a failover whose answer did not come that the node goes on with it.
func goesOn(err error) error {
	if c := status.Code(err); c != codes.DeadlineExceeded && c != codes.Canceled {
		return err
	}
	return errors.New("no answer has come; a node that has the request goes on with it: nodectl replication status tells what comes of it, and the failover can be called again")
}

// withoutReplicas is what a failover does where there is nothing to promote.
func withoutReplicas(job *replicationv1.Job) string {
	for _, r := range job.GetRoots() {
		if r.GetRole() == replicationv1.Role_ROLE_FENCED {
			return "what is here was fenced, as by a failback, and is the primary again: what was written on the other node since is not in it"
		}
	}
	return "no replica is left to promote; what a failback has made read-only is opened again, and the other node is told once more"
}

func (a *app) failover(ctx context.Context, node string, conn *connection, job string, decide []string) error {
	client := replicationv1.NewReplicationServiceClient(conn)
	asking, cancel := context.WithTimeout(ctx, max(a.timeout, poolTimeout))
	defer cancel()
	plan, err := client.PlanFailover(asking, &replicationv1.PlanFailoverRequest{Job: job})
	if err != nil {
		return err
	}
	for _, r := range plan.GetReceived() {
		what := "nothing was received"
		if r.GetSnapshot() != "" {
			what = fmt.Sprintf("what was received last is @%s of %s", r.GetSnapshot(), stamp(r.GetCreatedAt()))
		}
		fmt.Fprintf(a.stderr, "%s: %s: %s\n", node, output.Clean(r.GetDataset()), output.Clean(what))
	}
	declared, err := a.findJob(ctx, conn, job)
	if err != nil {
		return err
	}
	what := "the job's target"
	switch {
	case declared.GetSends():
		what = "the job's first source"
		fmt.Fprintf(a.stderr, "%s: what is here was fenced, and is the primary again: what was written on the other node since is not in it, beside what has come back\n", node)
	case len(plan.GetReceived()) == 0:
		fmt.Fprintf(a.stderr, "%s: %s\n", node, withoutReplicas(declared))
	}
	for _, c := range plan.GetConflicts() {
		fmt.Fprintf(a.stderr, "%s: %s\n", node, output.CleanText(conflictText(c)))
	}
	in := namesFrom(1 + len(decide))
	choices, err := a.choose(in, node, decide, plan.GetConflicts())
	if err != nil {
		return err
	}
	if len(plan.GetConflicts()) > len(choices) {
		return errors.New("replicas were changed: decide about each with --decide, by one of the texts above")
	}
	typed, err := a.readNameFrom(in, fmt.Sprintf("Type %s to have it promoted, with generation %d: ", what, plan.GetGeneration()))
	if err != nil {
		return err
	}
	if typed != plan.GetTarget() {
		return fmt.Errorf("%q is not %s; nothing is done; nodectl replication status has it", typed, what)
	}
	doing, end := context.WithTimeout(ctx, max(a.timeout, failoverTimeout))
	defer end()
	resp, err := client.Failover(doing, &replicationv1.FailoverRequest{Job: job, Confirm: typed, Decisions: choices})
	if err != nil {
		return goesOn(err)
	}
	fmt.Fprintf(a.stderr, "%s: what lies below %s is the primary, of generation %d\n", node, output.Clean(typed), resp.GetGeneration())
	if resp.GetTold() {
		fmt.Fprintf(a.stderr, "%s: the other node is told, and read-only\n", node)
	} else {
		fmt.Fprintf(a.stderr, "%s: the other node is NOT told yet, and takes writes if it runs: %s\n", node, output.CleanText(resp.GetUntold()))
	}
	return nil
}

func (a *app) replicationFailbackCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: "failback JOB", Short: "Bring the role of the primary back to the node with the source (needs node:admin)", Args: jobArg(),
		ValidArgsFunction: a.completeJobs,
		Long: "Bring the role of the primary back to the node with the source (needs node:admin). What was written on the other node comes here; then that becomes\n" +
			"read-only, its last snapshot comes, and what is here is the primary again. End what writes on the other node before. One that failed is called again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.oneNode("a failback"); err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				return a.failback(ctx, node, conn, args[0], f)
			})
		},
	}
	f.add(c)
	return c
}

func (a *app) failback(ctx context.Context, node string, conn *connection, name string, f runFlags) error {
	job, err := a.findJob(ctx, conn, name)
	if err != nil {
		return err
	}
	if len(job.GetRoots()) == 0 {
		return fmt.Errorf("the job %s has no source", name)
	}
	for _, r := range job.GetRoots() {
		fmt.Fprintf(a.stderr, "%s: %s becomes what %s on the other node is, and the primary\n", node, output.Clean(r.GetSource()), output.Clean(r.GetTarget()))
	}
	in := namesFrom(1 + len(f.decide))
	choices, err := a.choose(in, node, f.decide, job.GetConflicts())
	if err != nil {
		return err
	}
	source := job.GetRoots()[0].GetSource()
	typed, err := a.readNameFrom(in, "Type the name of the first of these datasets to have the role brought back: ")
	if err != nil {
		return err
	}
	if typed != source {
		return fmt.Errorf("%q is not the name of the dataset; nothing is done", typed)
	}
	asking, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	resp, err := replicationv1.NewReplicationServiceClient(conn).Failback(asking, &replicationv1.FailbackRequest{Job: name, Confirm: typed, Decisions: choices})
	if err != nil || f.noWait {
		return err
	}
	return a.followRun(ctx, node, conn, name, resp.GetRun())
}
