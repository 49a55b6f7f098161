package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// maxRequest is what goes into one call with room for the rest of it: the node takes 64 KiB.
const maxRequest = 60 << 10

// readDocument reads a file, or standard input for a dash.
func readDocument(path string) (string, error) {
	var data []byte
	var err error
	if path == "-" {
		data, err = io.ReadAll(io.LimitReader(os.Stdin, config.MaxBytes+1))
	} else {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fmt.Errorf("read configuration: %w", err)
	}
	if len(data) > config.MaxBytes {
		return "", fmt.Errorf("read configuration: %s has more than %d bytes, the most that a configuration may have", path, config.MaxBytes)
	}
	return string(data), nil
}

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a configuration, without asking any node",
		Long: "Check a configuration, without asking any node. Each mistake is printed with its file, line, field and what was expected. " +
			"`nodectl config validate` also says what a configuration would change on a node.",
		Args: oneArg("the file of a configuration, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := readDocument(args[0])
			if err != nil {
				return err
			}
			owner, rest, err := config.TakeOwner(args[0], []byte(data))
			if err != nil {
				return err
			}
			passphrase, rest, err := config.TakePassphrase(args[0], rest)
			if err != nil {
				return err
			}
			if owner != nil {
				fmt.Fprintf(a.stderr, "%s: names the owner %s\n", args[0], owner)
			}
			if !passphrase.IsZero() {
				fmt.Fprintf(a.stderr, "%s: gives a disk's passphrase\n", args[0])
			}
			if rest == nil && (owner != nil || !passphrase.IsZero()) {
				return nil
			}
			cfg, err := config.ParseSealed(args[0], rest, config.LeaveSealed)
			if err != nil {
				if strings.Contains(data, config.Redacted) {
					err = fmt.Errorf("%w\nsecrets that are not shown are known to the node alone: `nodectl config validate %s` has it look", err, args[0])
				}
				return err
			}
			fmt.Fprintf(a.stderr, "%s: valid, for the node %s\n", args[0], cfg.Machine.Hostname)
			return nil
		},
	}
}

func (a *app) configValidateCommand() *cobra.Command {
	var patch string
	c := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a configuration on a node, and print what it would change there",
		Args:  atMost(1, "the file of a configuration, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := readInput(args, patch)
			if err != nil {
				return err
			}
			call := func(ctx context.Context, conn *connection) (*configv1.ValidateResponse, error) {
				return configv1.NewConfigServiceClient(conn).Validate(ctx, &configv1.ValidateRequest{
					Document: in.document, Patch: in.patch, Name: in.name, PatchName: in.patchName,
				})
			}
			if a.format != output.FormatTable {
				return unary(cmd.Context(), a, call, columns[*configv1.ValidateResponse]{}, mistaken)
			}
			return a.validated(cmd.Context(), call)
		},
	}
	c.Flags().StringVar(&patch, "patch", "", "file of a strategic-merge patch that goes onto it")
	return c
}

// validated prints what nodes say of a configuration.
func (a *app) validated(ctx context.Context, call func(context.Context, *connection) (*configv1.ValidateResponse, error)) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, _ string, conn *connection) (*configv1.ValidateResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		return call(ctx, conn)
	})
	for i, r := range results {
		if r.err != nil {
			continue
		}
		if results[i].err = mistaken(r.resp); results[i].err != nil {
			continue
		}
		if err := a.printChanges(r.node, len(results) > 1, r.resp.GetChanges(), r.resp.GetDomains()); err != nil {
			return err
		}
	}
	return a.report(errorsOf(results))
}

// mistaken is an error for documents with mistakes.
func mistaken(v *configv1.ValidateResponse) error {
	var lines []string
	for _, m := range v.GetMistakes() {
		e := config.Error{File: m.GetFile(), Line: int(m.GetLine()), Field: m.GetField(), Problem: m.GetProblem()}
		lines = append(lines, e.Error())
	}
	if len(lines) > 0 {
		return errors.New(strings.Join(append([]string{"the configuration is not valid:"}, lines...), "\n"))
	}
	for _, c := range v.GetChanges() {
		if c.GetEffect() == configv1.Effect_EFFECT_NEVER {
			return fmt.Errorf("a node cannot change %s: %s", c.GetField(), c.GetReason())
		}
	}
	return nil
}

// printChanges prints what changes, and what the parts of the node do for it.
func (a *app) printChanges(node string, several bool, changes []*configv1.Change, domains []*configv1.Domain) error {
	if len(changes) == 0 && len(domains) == 0 {
		fmt.Fprintf(a.stderr, "%s: nothing changes\n", node)
		return nil
	}
	fields := output.Table{Header: []string{"FIELD", "EFFECT", "REASON"}}
	for _, c := range changes {
		fields.Rows = append(fields.Rows, []string{c.GetField(), enumName(c.GetEffect().String(), "EFFECT_"), c.GetReason()})
	}
	work := output.Table{Header: []string{"PART", "OPERATION"}}
	for _, d := range domains {
		for _, op := range d.GetOperations() {
			work.Rows = append(work.Rows, []string{d.GetName(), op})
		}
		if d.GetWaits() != "" {
			work.Rows = append(work.Rows, []string{d.GetName(), "(" + d.GetWaits() + ")"})
		} else if len(d.GetOperations()) == 0 {
			work.Rows = append(work.Rows, []string{d.GetName(), "(nothing has to be done now)"})
		}
	}
	if several {
		if _, err := fmt.Fprintf(a.stdout, "# %s\n", node); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	// A first configuration has no changes: there is nothing that it is compared with.
	if len(changes) > 0 {
		if err := fields.Write(a.stdout); err != nil {
			return err
		}
		if len(work.Rows) == 0 {
			return nil
		}
		if _, err := fmt.Fprintln(a.stdout); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	return work.Write(a.stdout)
}
