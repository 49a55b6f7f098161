package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

func (a *app) poolConfirmCommand() *cobra.Command {
	var operation string
	c := &cobra.Command{
		Use:   "confirm POOL",
		Short: "Allow one operation that a pool of a node waits for (needs node:admin)",
		Long: "Allow one operation that a pool of a node waits for, since data is lost by it (needs node:admin). The operation is shown, and the name of the pool is\n" +
			"then read from standard input. Where several wait, --operation says which, by its whole text as `nodectl pool status` shows it; what has changed\n" +
			"since is not done. The confirmation holds for ten minutes, and for this once.",
		Args: poolArg(), ValidArgsFunction: a.completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.oneNode("a confirmation"); err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				return a.confirmPool(ctx, node, conn, args[0], operation)
			})
		},
	}
	c.Flags().StringVar(&operation, "operation", "", "of several operations the one with this text")
	return c
}

func (a *app) confirmPool(ctx context.Context, node string, conn *connection, pool, operation string) error {
	asking, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	plan, err := poolv1.NewPoolServiceClient(conn).Plan(asking, &poolv1.PlanRequest{})
	if err != nil {
		return err
	}
	var waiting []string
	for _, o := range plan.GetOperations() {
		if o.GetPool() == pool && o.GetWaiting() && (operation == "" || o.GetText() == operation) {
			waiting = append(waiting, o.GetText())
		}
	}
	switch {
	case len(waiting) == 0 && operation != "":
		return fmt.Errorf("no such operation waits for pool %s any more; see nodectl pool plan", pool)
	case len(waiting) == 0:
		return fmt.Errorf("nothing waits for a confirmation of pool %s; see nodectl pool status", pool)
	case len(waiting) > 1:
		return fmt.Errorf("%d operations wait; say which one with --operation:\n  %s", len(waiting), output.CleanText(strings.Join(waiting, "\n  ")))
	}
	fmt.Fprintf(a.stderr, "%s: %s\n", node, output.CleanText(waiting[0]))
	typed, err := a.readName("Type the name of the pool to have this done: ")
	if err != nil {
		return err
	}
	if typed != pool {
		return fmt.Errorf("%q is not the name of the pool; nothing is done", typed)
	}
	ctx, cancel = context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if _, err := poolv1.NewPoolServiceClient(conn).Confirm(ctx, &poolv1.ConfirmRequest{Pool: typed, Operation: waiting[0]}); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s: confirmed; nodectl pool status tells what comes of it\n", node)
	return nil
}

// maxNameBytes is more than any name of a pool, dataset or snapshot has.
const maxNameBytes = 1024

// readName reads a line from standard input, whether that is a terminal or not.
func (a *app) readName(prompt string) (string, error) {
	return a.readNameFrom(bufio.NewReader(io.LimitReader(os.Stdin, maxNameBytes)), prompt)
}

// readNameFrom is readName where several names are read one after the other.
func (a *app) readNameFrom(in *bufio.Reader, prompt string) (string, error) {
	fmt.Fprint(a.stderr, prompt)
	line, err := in.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the name: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", usagef("no name came on standard input; nothing is done")
	}
	return line, nil
}
