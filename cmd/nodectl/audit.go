package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/cyvive/cyvive/api/proto/audit/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
	"github.com/cyvive/cyvive/internal/audit"
)

func (a *app) auditCommand() *cobra.Command {
	return group("audit", "Look at the log of who called what on nodes", a.auditListCommand(), a.auditVerifyCommand())
}

func (a *app) auditListCommand() *cobra.Command {
	var since string
	request := &auditv1.StreamEntriesRequest{}
	c := &cobra.Command{
		Use:   "list",
		Short: "List calls, oldest first",
		Long:  "List calls, oldest first, with those that were refused. Filters add up. A call that acts on the node or is a stream has one line when it begins and one when it ends.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := sinceTime(since, a.now())
			if err != nil {
				return err
			}
			request.Since = at
			return streaming(cmd.Context(), a, streamEntries(request), auditLine)
		},
	}
	flags := c.Flags()
	flags.StringVar(&request.Subject, "subject", "", "only calls by this common name")
	flags.StringVar(&request.Method, "method", "", "only methods whose full name contains this, for example Reboot")
	flags.StringVar(&request.Code, "code", "", "only calls that ended so, for example PermissionDenied")
	flags.StringVar(&since, "since", "", "only calls since then: a duration such as 2h, or a time such as 2026-11-23T04:00:00Z")
	return c
}

func streamEntries(r *auditv1.StreamEntriesRequest) func(context.Context, *connection) (receiver[*auditv1.StreamEntriesResponse], error) {
	return func(ctx context.Context, conn *connection) (receiver[*auditv1.StreamEntriesResponse], error) {
		return auditv1.NewAuditServiceClient(conn).StreamEntries(ctx, r)
	}
}

// sinceTime reads a time, or a duration before now. Empty is no time.
func sinceTime(text string, now time.Time) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return timestamppb.New(now.Add(-d)), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, usagef("--since %q: expected a duration such as 2h, or a time such as 2026-11-23T04:00:00Z", text)
	}
	return timestamppb.New(at), nil
}

// auditLine is one entry as a line.
func auditLine(e *auditv1.StreamEntriesResponse) string {
	if e.GetSequence() == 0 {
		return fmt.Sprintf("unreadable: %.200q", e.GetLine())
	}
	words := []string{fmt.Sprintf("%6d", e.GetSequence()), stamp(e.GetTime()), enumName(e.GetKind().String(), "ENTRY_KIND_")}
	for _, word := range []string{e.GetMethod(), e.GetCode(), e.GetSubject(), e.GetRoles(), e.GetPeer()} {
		if word != "" {
			words = append(words, word)
		}
	}
	if e.GetCount() > 0 {
		words = append(words, fmt.Sprintf("count=%d", e.GetCount()))
	}
	if e.GetError() != "" {
		words = append(words, fmt.Sprintf("%q", e.GetError()))
	}
	return strings.Join(words, "  ")
}

func (a *app) auditVerifyCommand() *cobra.Command {
	var known string
	c := &cobra.Command{
		Use:   "verify",
		Short: "Verify the hash chain of the log",
		Long: "Fetch the whole log and verify here that no byte of it was changed and no entry left out. The head that is printed can be noted " +
			"and given to a later call as --head: that call fails unless the log still contains it, so that a log written anew is found, too.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var head *audit.Head
			if known != "" {
				h, err := audit.ParseHead(known)
				if err != nil {
					return usageError{fmt.Errorf("--head: %w", err)}
				}
				head = &h
			}
			return a.verifyAudit(cmd.Context(), head)
		},
	}
	c.Flags().StringVar(&known, "head", "", "SEQUENCE:HASH that an earlier call printed and the log must contain")
	return c
}

func (a *app) verifyAudit(ctx context.Context, known *audit.Head) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, _ string, conn *connection) (*audit.Verifier, error) {
		v := &chainVerifier{known: known}
		if err := receive(ctx, conn, streamEntries(&auditv1.StreamEntriesRequest{}), v.add); err != nil {
			return nil, err
		}
		return &v.Verifier, v.end()
	})
	table := output.Table{Header: []string{"NODE", "ENTRIES", "DROPPED", "HEAD"}}
	for _, r := range results {
		if r.err == nil {
			h, dropped := r.resp.Head(), r.resp.Dropped().Sequence
			table.Rows = append(table.Rows, []string{r.node, fmt.Sprint(h.Sequence - dropped), fmt.Sprint(dropped), h.String()})
		}
	}
	if len(table.Rows) > 0 {
		if err := table.Write(a.stdout); err != nil {
			return err
		}
	}
	return a.report(errorsOf(results))
}

// chainVerifier verifies a log, and looks for an entry known from before.
type chainVerifier struct {
	audit.Verifier
	known *audit.Head
	found bool
}

func (v *chainVerifier) add(r *auditv1.StreamEntriesResponse) error {
	if _, err := v.Add(r.GetLine()); err != nil {
		return err
	}
	if v.known != nil && (v.Head() == *v.known || v.Dropped() == *v.known) {
		v.found = true
	}
	return nil
}

// end says what is wrong with a chain that is in order.
func (v *chainVerifier) end() error {
	switch {
	case v.Head().Sequence == 0:
		return errors.New("the log is empty, and this call should be in it: the node keeps none, or cannot write it")
	case v.known == nil || v.found:
		return nil
	case v.known.Sequence < v.Dropped().Sequence:
		return fmt.Errorf("entry %d was dropped since: the log begins with entry %d", v.known.Sequence, v.Dropped().Sequence+1)
	case v.known.Sequence > v.Head().Sequence:
		return fmt.Errorf("the log ends with entry %d and no longer has entry %d: its end was cut off, or it was written anew", v.Head().Sequence, v.known.Sequence)
	default:
		return fmt.Errorf("entry %d has another hash than it had: the log was written anew", v.known.Sequence)
	}
}
