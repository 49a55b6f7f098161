package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
	"github.com/cyvive/cyvive/internal/machined/config"
)

func (a *app) configCommand() *cobra.Command {
	return group("config", "Read and change the configuration of nodes",
		a.configGetCommand(), a.configValidateCommand(), a.configApplyCommand(), a.configEditCommand(), a.configConfirmCommand(),
		a.configHistoryCommand(), a.configDiffCommand(), a.configRollbackCommand(), a.configSealCommand(), a.configSchemaCommand())
}

func (a *app) configGetCommand() *cobra.Command {
	var revision uint64
	c := &cobra.Command{
		Use:   "get",
		Short: "Print the configuration of a node, without its secrets",
		Long: "Print the configuration of a node. Every secret is shown as " + config.Redacted + "; a document that is applied with that keeps the node's own. " +
			"What else is to be known of it, such as a trial or a reboot that it waits for, is on standard error.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			get := getConfig(revision)
			if a.format != output.FormatTable {
				return unary(cmd.Context(), a, get, columns[*configv1.GetResponse]{}, nil)
			}
			return texts(cmd.Context(), a, get, (*configv1.GetResponse).GetDocument, configNotes)
		},
	}
	c.Flags().Uint64VarP(&revision, "revision", "r", 0, "an older revision, instead of the current one")
	return c
}

// getConfig asks for a revision, 0 for the current one.
func getConfig(revision uint64) func(context.Context, *connection) (*configv1.GetResponse, error) {
	return func(ctx context.Context, conn *connection) (*configv1.GetResponse, error) {
		return configv1.NewConfigServiceClient(conn).Get(ctx, &configv1.GetRequest{Revision: revision})
	}
}

func configHistory(ctx context.Context, conn *connection) (*configv1.HistoryResponse, error) {
	return configv1.NewConfigServiceClient(conn).History(ctx, &configv1.HistoryRequest{})
}

// texts runs a call that has a text for an answer on all nodes, and writes the texts, each below the name of its node where there are several. What notes
// says of an answer goes to standard error.
func texts[T any](ctx context.Context, a *app, call func(context.Context, *connection) (T, error), text func(T) string, notes func(T) []string) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, _ string, conn *connection) (T, error) {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		return call(ctx, conn)
	})
	for _, r := range results {
		if r.err != nil {
			continue
		}
		out := text(r.resp)
		if len(results) > 1 {
			out = "# " + r.node + "\n" + out
		}
		if _, err := io.WriteString(a.stdout, output.CleanText(out)); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		for _, note := range notes(r.resp) {
			fmt.Fprintf(a.stderr, "%s: %s\n", r.node, output.Clean(note))
		}
	}
	return a.report(errorsOf(results))
}

// configNotes is what is to be known beside the document.
func configNotes(c *configv1.GetResponse) []string {
	r := c.GetRevision()
	notes := []string{fmt.Sprintf("revision %d, %s, by %s, mode %s", r.GetNumber(), stamp(r.GetTime()), r.GetBy(), modeText(r.GetMode()))}
	if t := c.GetTrial(); t != nil {
		notes = append(notes, trialText(t))
	}
	if n := c.GetStaged(); n != 0 {
		notes = append(notes, fmt.Sprintf("revision %d is staged: it takes effect with the next boot; `nodectl config get -r %d` prints it, `nodectl config rollback %d` gives it up",
			n, n, r.GetNumber()))
	}
	if len(c.GetPending()) > 0 {
		notes = append(notes, rebootText(c.GetPending()))
	}
	if l := c.GetLast(); l != nil && !l.GetSucceeded() {
		notes = append(notes, fmt.Sprintf("revision %d was taken back: %s", l.GetRevision(), l.GetReason()))
	}
	return append(notes, c.GetProblems()...)
}

func trialText(t *configv1.Trial) string {
	return fmt.Sprintf("revision %d is being tried: without `nodectl config confirm %d` the node goes back to revision %d in %s",
		t.GetRevision(), t.GetRevision(), t.GetBack(), roundedSeconds(t.GetLeft()))
}

func rebootText(pending []*configv1.Change) string {
	var fields []string
	for _, c := range pending {
		fields = append(fields, c.GetField())
	}
	return "a reboot is needed (`nodectl reboot`) for " + strings.Join(fields, ", ")
}

// modeText is a mode as the flags name it.
func modeText(m configv1.Mode) string {
	return strings.ReplaceAll(enumName(m.String(), "MODE_"), "_", "-")
}

func (a *app) configHistoryCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "history",
		Short: "List the revisions of the configuration that nodes keep",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, configHistory,
				columns[*configv1.HistoryResponse]{[]string{"REVISION", "TIME", "BY", "MODE", "STATE", "NOTE"}, historyRows}, nil)
		},
	}
}

func historyRows(h *configv1.HistoryResponse) [][]string {
	var rows [][]string
	for _, r := range h.GetRevisions() {
		state := ""
		switch {
		case r.GetProblem() != "":
			state = "damaged"
		case r.GetTrying():
			state = "tried"
		case r.GetCurrent():
			state = "current"
		case r.GetStaged():
			state = "staged"
		}
		note := r.GetNote()
		if r.GetProblem() != "" {
			note = r.GetProblem()
		}
		rows = append(rows, []string{strconv.FormatUint(r.GetNumber(), 10), stamp(r.GetTime()), r.GetBy(), modeText(r.GetMode()), state, note})
	}
	return rows
}

func (a *app) configDiffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff [FROM [TO]]",
		Short: "Compare two revisions of the configuration",
		Long: "Compare two revisions of the configuration. TO is the current one unless it is given, and FROM the one before TO. Of secrets it is said only " +
			"whether they differ.",
		Args: atMost(2, "the numbers of two revisions"),
		RunE: func(cmd *cobra.Command, args []string) error {
			numbers, err := revisions(args)
			if err != nil {
				return err
			}
			get := func(ctx context.Context, conn *connection) (*configv1.DiffResponse, error) {
				return configv1.NewConfigServiceClient(conn).Diff(ctx, &configv1.DiffRequest{From: numbers[0], To: numbers[1]})
			}
			if a.format != output.FormatTable {
				return unary(cmd.Context(), a, get, columns[*configv1.DiffResponse]{}, nil)
			}
			return texts(cmd.Context(), a, get, (*configv1.DiffResponse).GetText, diffNotes)
		},
	}
}

func diffNotes(d *configv1.DiffResponse) []string {
	var notes []string
	if d.GetText() == "" && len(d.GetSecrets()) == 0 {
		notes = append(notes, fmt.Sprintf("revisions %d and %d are the same", d.GetFrom(), d.GetTo()))
	}
	for _, field := range d.GetSecrets() {
		notes = append(notes, "the secret differs: "+field)
	}
	return notes
}

func (a *app) configSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of a configuration document, for editors",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			schema, err := config.Schema()
			if err != nil {
				return err
			}
			if _, err := a.stdout.Write(schema); err != nil {
				return fmt.Errorf("write output: %w", err)
			}
			return nil
		},
	}
}

// revisions reads two numbers; those that are not given are 0.
func revisions(args []string) (out [2]uint64, err error) {
	for i, arg := range args {
		if out[i], err = strconv.ParseUint(arg, 10, 63); err != nil || out[i] == 0 {
			return out, usagef("revision %q: expected a number as `nodectl config history` lists them", arg)
		}
	}
	return out, nil
}

func atMost(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > n {
			return usagef("expected at most %d arguments: %s", n, what)
		}
		return nil
	}
}
