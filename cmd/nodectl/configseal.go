package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
)

func (a *app) configSealCommand() *cobra.Command {
	var recipients []string
	c := &cobra.Command{
		Use:   "seal FILE",
		Short: "Seal the secrets of a configuration, so that the nodes it is for can open them and nobody else",
		Long: "Seal the secrets of a configuration, or of a patch, so that the nodes it is for can open them and nobody else, and print it. Whom they are sealed for " +
			"is said by --recipient, or asked of the nodes. Which fields were sealed is on standard error: what is not among them, a comment too, is printed as it is. " +
			"A secret that is sealed is taken only where it was sealed: in its field, and beside the same host and authority.",
		Example: "  nodectl config seal node1.yaml > node1.sealed.yaml\n  nodectl config seal --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p node1.yaml",
		Args:    oneArg("the file of a configuration or of a patch, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.sealConfig(cmd.Context(), args[0], recipients)
		},
	}
	c.Flags().StringArrayVar(&recipients, "recipient", nil, "whom to seal for, age1…, as nodectl identity shows it; may be given more than once; no node is asked then")
	return c
}

func (a *app) sealConfig(ctx context.Context, path string, recipients []string) error {
	data, err := readDocument(path)
	if err != nil {
		return err
	}
	if len(recipients) == 0 {
		if recipients, err = a.askRecipients(ctx); err != nil {
			return err
		}
	}
	to, err := config.ParseRecipients(recipients)
	if err != nil {
		return usageError{err}
	}
	sealed, err := to.Seal([]byte(data))
	if err != nil {
		return fmt.Errorf("seal %s: %w", path, err)
	}
	for _, field := range sealed.Left {
		fmt.Fprintf(a.stderr, "%s: left in the clear, since it opens the disk that has the key for what is sealed: %s\n", path, field)
	}
	if len(sealed.Fields) == 0 {
		return fmt.Errorf("seal %s: there is no secret in it that is not sealed and could be", path)
	}
	fmt.Fprintf(a.stderr, "%s: sealed %s\n", path, strings.Join(sealed.Fields, ", "))
	if _, err := a.stdout.Write(sealed.Documents); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// askRecipients asks the nodes what is sealed for them; all have to say it.
func (a *app) askRecipients(ctx context.Context) ([]string, error) {
	t, err := a.target()
	if err != nil {
		return nil, err
	}
	results := each(ctx, t, func(ctx context.Context, _ string, conn *connection) (*machinev1.GetIdentityResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		return getIdentity(ctx, conn)
	})
	var out []string
	for i, r := range results {
		if r.err == nil && r.resp.GetRecipient() == "" {
			results[i].err = errors.New("it has nothing to seal for: its state volume is not open, or its release does not know of sealed secrets")
		}
		out = append(out, r.resp.GetRecipient())
	}
	return out, a.report(errorsOf(results))
}
