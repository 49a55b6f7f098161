package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

// input is what a command is given to apply.
type input struct{ name, document, patch, patchName string }

// readInput reads a document, a patch or both.
func readInput(args []string, patch string) (in input, err error) {
	if len(args) == 0 && patch == "" {
		return in, usagef("expected the file of a configuration, - for standard input, or --patch")
	}
	if len(args) > 0 {
		in.name = args[0]
		if in.document, err = readDocument(args[0]); err != nil {
			return in, err
		}
		if in.document == "" {
			return in, fmt.Errorf("read configuration: %s is empty", args[0])
		}
	}
	if patch != "" {
		in.patchName = patch
		in.patch, err = readDocument(patch)
	}
	if err == nil {
		err = fitsRequest(len(in.document) + len(in.patch))
	}
	return in, err
}

// fitsRequest is an error for more bytes than a call takes.
func fitsRequest(bytes int) error {
	if bytes <= maxRequest {
		return nil
	}
	return fmt.Errorf("%d bytes are too many for one call, which takes %d: use `nodectl config apply --patch` with what is to change", bytes, maxRequest)
}

// applyFlags are the flags of what changes a configuration.
type applyFlags struct {
	mode    string
	timeout time.Duration
	dryRun  bool
	confirm bool
	wait    bool
}

func (f *applyFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.mode, "mode", "auto", "auto, no-reboot, staged or try")
	c.Flags().DurationVar(&f.timeout, "try-timeout", 0, "with --mode try: go back after so long unless it is confirmed (the node's default is 2m)")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "only print what would be done")
	c.Flags().BoolVar(&f.confirm, "confirm", false, "with --mode try: confirm as soon as the network has settled and the node answers on a new connection")
	c.Flags().BoolVar(&f.wait, "wait", false, "with --mode try: wait until it is confirmed or taken back")
	_ = c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"auto", "no-reboot", "staged", "try"}, cobra.ShellCompDirectiveNoFileComp))
}

// request makes a request of the flags.
func (f *applyFlags) request(in input) (*configv1.ApplyRequest, error) {
	modes := map[string]configv1.Mode{
		"auto": configv1.Mode_MODE_AUTO, "no-reboot": configv1.Mode_MODE_NO_REBOOT, "staged": configv1.Mode_MODE_STAGED, "try": configv1.Mode_MODE_TRY,
	}
	r := &configv1.ApplyRequest{Document: in.document, Patch: in.patch, Name: in.name, PatchName: in.patchName, Mode: modes[f.mode], DryRun: f.dryRun}
	switch {
	case r.Mode == configv1.Mode_MODE_UNSPECIFIED:
		return nil, usagef("--mode %q: expected auto, no-reboot, staged or try", f.mode)
	case r.Mode != configv1.Mode_MODE_TRY && (f.timeout != 0 || f.confirm || f.wait):
		return nil, usagef("--try-timeout, --confirm and --wait are for --mode try")
	case f.timeout != 0:
		r.TryTimeout = durationpb.New(f.timeout)
	}
	return r, nil
}

func (a *app) configApplyCommand() *cobra.Command {
	var f applyFlags
	var patch string
	var expected uint64
	c := &cobra.Command{
		Use:   "apply [FILE]",
		Short: "Change the configuration of nodes, one after the other (needs node:admin)",
		Long: "Change the configuration of nodes, one after the other (needs node:admin): to that of a file, or by a patch. What can change while the node " +
			"runs does so at once, and what needs a reboot is named. With --mode no-reboot such a change is refused, with --mode staged all of it waits for the next boot, " +
			"and with --mode try the node goes back by itself, also after a reboot, unless `nodectl config confirm` comes in time: for changes that might cut it off.",
		Example: "  nodectl config apply node1.yaml --mode try --confirm\n  nodectl config apply --patch nameservers.yaml --dry-run",
		Args:    atMost(1, "the file of a configuration, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := readInput(args, patch)
			if err != nil {
				return err
			}
			request, err := f.request(in)
			if err != nil {
				return err
			}
			request.ExpectedRevision = expected
			return a.applyConfig(cmd.Context(), f, request)
		},
	}
	c.Flags().StringVar(&patch, "patch", "", "file of a strategic-merge patch, which goes onto the file or the node's own configuration")
	c.Flags().Uint64VarP(&expected, "revision", "r", 0, "refuse unless this is the current revision")
	f.register(c)
	return c
}

// applyConfig applies a request to the nodes. A whole document is for one of them: it has that one's name.
func (a *app) applyConfig(ctx context.Context, f applyFlags, request *configv1.ApplyRequest) error {
	if request.GetDocument() != "" {
		t, err := a.target()
		if err != nil {
			return err
		}
		if len(t.nodes) > 1 {
			return usagef("a whole configuration is that of one node, and these are %d: choose one with --nodes, or use --patch", len(t.nodes))
		}
	}
	return a.oneByOne(ctx, func(ctx context.Context, t *target, node string, conn *connection) error {
		call, cancel := context.WithTimeout(ctx, max(a.timeout, a.applyTimeout()))
		defer cancel()
		resp, err := configv1.NewConfigServiceClient(conn).Apply(call, request)
		if err != nil {
			return err
		}
		if err := a.showChange(output.Answer{Node: node, Message: resp}, len(t.nodes) > 1, resp.GetChanges(), resp.GetDomains()); err != nil {
			return err
		}
		a.tellApplied(node, request.GetDryRun(), resp)
		a.tellConfigured(node, request)
		if resp.GetTrial() == nil {
			return nil
		}
		return a.tried(ctx, t, node, f, resp.GetTrial())
	})
}

// firstApplyTimeout is for a node that makes its disk before it keeps its first configuration on it; it gives up after two minutes.
const firstApplyTimeout = 150 * time.Second

// applyTimeout is the least that a node gets to answer Apply.
func (a *app) applyTimeout() time.Duration {
	if a.maintenance {
		return firstApplyTimeout
	}
	return bootEntryTimeout
}

// showChange writes an answer in the format that was asked for.
func (a *app) showChange(answer output.Answer, several bool, changes []*configv1.Change, domains []*configv1.Domain) error {
	if a.format != output.FormatTable {
		return output.WriteOne(a.stdout, a.format, answer, several)
	}
	return a.printChanges(answer.Node, several, changes, domains)
}

// tellApplied says what became of a change, and what is to be done next.
func (a *app) tellApplied(node string, dry bool, r *configv1.ApplyResponse) {
	say := func(text string) { fmt.Fprintf(a.stderr, "%s: %s\n", node, output.Clean(text)) }
	for _, note := range r.GetNotes() {
		say(note)
	}
	switch {
	case dry:
		say("nothing was done")
	case r.GetTrial() != nil:
		say(trialText(r.GetTrial()))
	case len(r.GetChanges()) > 0:
		say(fmt.Sprintf("revision %d is stored", r.GetRevision()))
	default:
		say(fmt.Sprintf("revision %d is current", r.GetRevision()))
	}
	if len(r.GetPending()) > 0 {
		say(rebootText(r.GetPending()))
	}
}

// tellConfigured says how a node is reached that has just got its first configuration.
func (a *app) tellConfigured(node string, request *configv1.ApplyRequest) {
	if !a.maintenance || request.GetDryRun() || request.GetMode() == configv1.Mode_MODE_STAGED {
		return
	}
	file := request.GetName()
	if file == "" || file == "-" {
		file = "FILE"
	}
	for _, line := range []string{
		"reach it from now on by a context of the configuration's authority: that which `nodectl gen cluster` made, or a new one:",
		fmt.Sprintf("  nodectl gen client --config %s --role %s --name admin --nodes %s --out admin.yaml", file, adminRole, node),
		"  nodectl context merge admin.yaml",
		"  nodectl health --wait 5m",
	} {
		fmt.Fprintf(a.stderr, "%s: %s\n", node, output.Clean(line))
	}
}

func (a *app) configRollbackCommand() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use:   "rollback [REVISION]",
		Short: "Go back to an older revision of the configuration, or end a trial (needs node:admin)",
		Long: "Go back to an older revision of the configuration (needs node:admin), which becomes a new one; without a number to the one before the current one. " +
			"While a revision is being tried, that ends the trial. With the number of the current one, it gives up the revision that is staged.",
		Args: atMost(1, "the number of a revision"),
		RunE: func(cmd *cobra.Command, args []string) error {
			numbers, err := revisions(args)
			if err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, t *target, node string, conn *connection) error {
				ctx, cancel := context.WithTimeout(ctx, max(a.timeout, bootEntryTimeout))
				defer cancel()
				resp, err := configv1.NewConfigServiceClient(conn).Rollback(ctx, &configv1.RollbackRequest{Revision: numbers[0], DryRun: dry})
				if err != nil {
					return err
				}
				if err := a.showChange(output.Answer{Node: node, Message: resp}, len(t.nodes) > 1, resp.GetChanges(), resp.GetDomains()); err != nil {
					return err
				}
				a.tellApplied(node, dry, &configv1.ApplyResponse{
					Revision: resp.GetRevision(), Changes: resp.GetChanges(), Pending: resp.GetPending(), Notes: resp.GetNotes(),
				})
				return nil
			})
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "only print what would be done")
	return c
}
