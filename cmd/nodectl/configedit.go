package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/editor"
)

// remark begins lines that the editor shows and that are not applied.
const remark = "#| "

func (a *app) configEditCommand() *cobra.Command {
	var f applyFlags
	c := &cobra.Command{
		Use:   "edit",
		Short: "Change the configuration of a node in an editor (needs node:admin)",
		Long: "Change the configuration of a node in the editor that VISUAL or EDITOR names (needs node:admin). What the node does not take comes back into the editor, " +
			"with what is wrong. Nothing is changed when the text is left as it was.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := f.request(input{}); err != nil {
				return err
			}
			t, err := a.target()
			if err != nil {
				return err
			}
			if len(t.nodes) > 1 {
				return usagef("a configuration is that of one node, and these are %d: choose one with --nodes", len(t.nodes))
			}
			return a.editConfig(cmd.Context(), t, f)
		},
	}
	f.register(c)
	return c
}

// editConfig has a person change the current document until the node takes it, or they leave it.
func (a *app) editConfig(ctx context.Context, t *target, f applyFlags) error {
	conn, err := t.dial(t.nodes[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	call, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	now, err := getConfig(0)(call, conn)
	if err != nil {
		return a.report([]failure{{t.nodes[0], t.explain(err, conn.lastCause())}})
	}
	if err := fitsRequest(len(now.GetDocument())); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "nodectl-")
	if err != nil {
		return fmt.Errorf("make a folder for the editor: %w", err)
	}
	path := filepath.Join(dir, "configuration.yaml")
	keep := false
	defer func() {
		if !keep {
			_ = os.RemoveAll(dir)
		}
	}()
	last, remarks := now.GetDocument(), []string{"Secrets are not shown, and kept where they are left so. Lines that begin so are left out."}
	for {
		if err := os.WriteFile(path, []byte(withRemarks(remarks, last)), 0o600); err != nil {
			return fmt.Errorf("write for the editor: %w", err)
		}
		edited, err := editor.Edit(editor.Command(a.getenv), path)
		if err != nil {
			if keep = last != now.GetDocument(); keep {
				fmt.Fprintf(a.stderr, "your text is in %s\n", path)
			}
			return err
		}
		text := withoutRemarks(string(edited))
		if text == last || strings.TrimSpace(text) == "" {
			if last == now.GetDocument() {
				fmt.Fprintln(a.stderr, "nothing was changed")
				return nil
			}
			keep = true
			return fmt.Errorf("nothing was changed on the node; your text is in %s", path)
		}
		request, err := f.request(input{name: "configuration", document: text})
		if err != nil {
			return err
		}
		request.ExpectedRevision = now.GetRevision().GetNumber()
		if remarks, err = a.applyEdited(ctx, t, conn, f, request); err != nil {
			keep = true
			fmt.Fprintf(a.stderr, "your text is in %s\n", path)
			return err
		}
		if remarks == nil {
			return nil
		}
		last = text
	}
}

// applyEdited applies a request, unless the node does not take it as it is: then it returns what is to be said of it in the editor.
func (a *app) applyEdited(ctx context.Context, t *target, conn *connection, f applyFlags, request *configv1.ApplyRequest) (remarks []string, err error) {
	if err := fitsRequest(len(request.GetDocument())); err != nil {
		return nil, err
	}
	check, cancel := context.WithTimeout(ctx, max(a.timeout, bootEntryTimeout))
	defer cancel()
	_, err = configv1.NewConfigServiceClient(conn).Apply(check, dryRun(request))
	switch code := status.Code(err); {
	case err == nil:
		return nil, a.applyConfig(ctx, f, request)
	case code == codes.InvalidArgument, code == codes.FailedPrecondition:
		return strings.Split(status.Convert(err).Message(), "\n"), nil
	default:
		return nil, t.explain(err, conn.lastCause())
	}
}

// dryRun is a request that changes nothing.
func dryRun(r *configv1.ApplyRequest) *configv1.ApplyRequest {
	return &configv1.ApplyRequest{
		Document: r.GetDocument(), Name: r.GetName(), Mode: r.GetMode(), TryTimeout: r.GetTryTimeout(), ExpectedRevision: r.GetExpectedRevision(), DryRun: true,
	}
}

// withRemarks puts remarks above a text. The lines that mistakes name are counted without them.
func withRemarks(remarks []string, text string) string {
	var b strings.Builder
	for _, r := range remarks {
		b.WriteString(remark + r + "\n")
	}
	return b.String() + text
}

func withoutRemarks(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, strings.TrimSpace(remark)) {
			b.WriteString(line)
		}
	}
	return b.String()
}
