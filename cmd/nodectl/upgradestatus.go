package main

import (
	"context"

	"github.com/spf13/cobra"

	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

func (a *app) upgradeStatusCommand() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what nodes run, what they could run, and how far an upgrade is",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case watch:
				return watching(cmd.Context(), a, kind[*upgradev1.StatusResponse, *upgradev1.WatchResponse]{
					columns: upgradeColumns(), keys: 0,
					watch: func(ctx context.Context, conn *connection) (receiver[*upgradev1.WatchResponse], error) {
						return upgradev1.NewUpgradeServiceClient(conn).Watch(ctx, &upgradev1.WatchRequest{})
					},
					unwrap: (*upgradev1.WatchResponse).GetStatus,
				})
			case a.format != output.FormatTable:
				return unary(cmd.Context(), a, getUpgrade, upgradeColumns(), nil)
			}
			return both(cmd.Context(), a, getUpgrade, upgradeColumns(), columns[*upgradev1.StatusResponse]{
				[]string{"GATE", "HOLDS", "SINCE", "REASON"}, gateRows,
			})
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "go on with what changes until interrupted")
	return c
}

func getUpgrade(ctx context.Context, conn *connection) (*upgradev1.StatusResponse, error) {
	return upgradev1.NewUpgradeServiceClient(conn).Status(ctx, &upgradev1.StatusRequest{})
}

func upgradeColumns() columns[*upgradev1.StatusResponse] {
	return columns[*upgradev1.StatusResponse]{[]string{"STAGE", "RUNNING", "OTHER", "TARGET", "LAST UPGRADE", "REASON"}, upgradeRows}
}

// upgradeRows is one row: the reason is that of the stage or, while there is none, that of the last upgrade.
func upgradeRows(s *upgradev1.StatusResponse) [][]string {
	reason, last := s.GetReason(), ""
	if s.GetTotalBytes() > 0 {
		reason = percent(s.GetWrittenBytes(), s.GetTotalBytes()) + " written"
	}
	if l := s.GetLast(); l != nil {
		last = l.GetTarget().GetVersion() + " failed"
		if l.GetSucceeded() {
			last = l.GetTarget().GetVersion() + " succeeded"
		}
		if reason == "" {
			reason = l.GetReason()
		}
	}
	return [][]string{{
		enumName(s.GetStage().String(), "STAGE_"), systemText(s.GetRunning()), systemText(s.GetOther()), systemText(s.GetTarget()), last, reason,
	}}
}

func gateRows(s *upgradev1.StatusResponse) [][]string {
	var rows [][]string
	for _, g := range s.GetGates() {
		holds := yesNo(g.GetHolds())
		if g.GetWaived() {
			holds += " (not asked for)"
		}
		rows = append(rows, []string{g.GetName(), holds, stamp(g.GetSince()), g.GetReason()})
	}
	return rows
}
