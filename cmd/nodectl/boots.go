package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

func (a *app) bootsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "boots",
		Aliases: []string{"boot"},
		Short:   "Show the timeline of the running boot and the ledger of all boots",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.format != output.FormatTable {
				return unary(cmd.Context(), a, listBoots, columns[*machinev1.ListBootsResponse]{}, nil)
			}
			return both(cmd.Context(), a, listBoots, timelineColumns(), columns[*machinev1.ListBootsResponse]{
				[]string{"BOOT", "STARTED", "END", "UPTIME", "VERSION", "SLOT", "REASON"}, bootRows,
			})
		},
	}
}

func (a *app) timelineCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "timeline",
		Short: "Show how long the running boot took to reach each milestone",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, listBoots, timelineColumns(), nil)
		},
	}
}

func listBoots(ctx context.Context, conn *connection) (*machinev1.ListBootsResponse, error) {
	return machinev1.NewMachineServiceClient(conn).ListBoots(ctx, &machinev1.ListBootsRequest{})
}

func timelineColumns() columns[*machinev1.ListBootsResponse] {
	return columns[*machinev1.ListBootsResponse]{[]string{"MILESTONE", "SECONDS", "DELTA"}, timelineRows}
}

// timelineRows is the milestones of the newest boot.
func timelineRows(l *machinev1.ListBootsResponse) [][]string {
	if len(l.GetBoots()) == 0 {
		return nil
	}
	var rows [][]string
	var before time.Duration
	for _, m := range l.GetBoots()[0].GetMilestones() {
		since := m.GetSinceKernelStart().AsDuration()
		rows = append(rows, []string{m.GetName(), fmt.Sprintf("%.3f", since.Seconds()), fmt.Sprintf("%+.3f", (since - before).Seconds())})
		before = since
	}
	return rows
}

func bootRows(l *machinev1.ListBootsResponse) [][]string {
	var rows [][]string
	for _, b := range l.GetBoots() {
		rows = append(rows, []string{
			b.GetBootId()[:min(len(b.GetBootId()), 8)], stamp(b.GetStartedAt()), enumName(b.GetEnd().String(), "BOOT_END_"),
			b.GetUptime().AsDuration().Round(time.Second).String(), b.GetVersion(), enumName(b.GetSlot().String(), "SLOT_"), b.GetReason(),
		})
	}
	return rows
}
