package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

func (a *app) dmesgCommand() *cobra.Command {
	var f tailFlags
	var previous bool
	var crash string
	c := &cobra.Command{
		Use:   "dmesg",
		Short: "Show the kernel's log",
		Long: "Show the kernel's log. --previous shows the end of the boot before's, which the kernel has left in the firmware's memory if it died; a boot " +
			"that ended in order leaves none. --crash shows that of an earlier one, of those that `nodectl crashes` lists.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if previous || crash != "" {
				if f.follow || previous && crash != "" {
					return usagef("--previous, --crash and --follow do not go together")
				}
				return streaming(cmd.Context(), a, streamCrashLog(crash, f), crashLine)
			}
			return streaming(cmd.Context(), a, streamDmesg(f), dmesgLine)
		},
	}
	f.register(c, "records")
	c.Flags().BoolVar(&previous, "previous", false, "the log of the boot before, if its kernel died")
	c.Flags().StringVar(&crash, "crash", "", "the log that this boot found, see `nodectl crashes`")
	return c
}

func streamDmesg(f tailFlags) func(context.Context, *connection) (receiver[*machinev1.StreamDmesgResponse], error) {
	return func(ctx context.Context, conn *connection) (receiver[*machinev1.StreamDmesgResponse], error) {
		return machinev1.NewMachineServiceClient(conn).StreamDmesg(ctx, &machinev1.StreamDmesgRequest{Follow: f.follow, Tail: f.lines()})
	}
}

// dmesgLine has the form of dmesg(1).
func dmesgLine(r *machinev1.StreamDmesgResponse) string {
	return fmt.Sprintf("[%12.6f] %s", r.GetSinceBoot().AsDuration().Seconds(), r.GetMessage())
}

func streamCrashLog(foundBy string, f tailFlags) func(context.Context, *connection) (receiver[*machinev1.StreamCrashLogResponse], error) {
	return func(ctx context.Context, conn *connection) (receiver[*machinev1.StreamCrashLogResponse], error) {
		return machinev1.NewMachineServiceClient(conn).StreamCrashLog(ctx, &machinev1.StreamCrashLogRequest{FoundByBootId: foundBy, Tail: f.lines()})
	}
}

// crashLine is dmesgLine, for a line that may have no time.
func crashLine(r *machinev1.StreamCrashLogResponse) string {
	if r.GetSinceBoot() == nil {
		return fmt.Sprintf("%15s%s", "", r.GetMessage())
	}
	return fmt.Sprintf("[%12.6f] %s", r.GetSinceBoot().AsDuration().Seconds(), r.GetMessage())
}

func (a *app) crashesCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "crashes",
		Aliases: []string{"crash"},
		Short:   "List the boots whose kernel died and left its log",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, listCrashes, columns[*machinev1.ListCrashesResponse]{
				[]string{"FOUND BY", "BOOT", "TIME", "RECORDS", "SIZE", "SUMMARY"}, crashRows,
			}, nil)
		},
	}
}

func listCrashes(ctx context.Context, conn *connection) (*machinev1.ListCrashesResponse, error) {
	return machinev1.NewMachineServiceClient(conn).ListCrashes(ctx, &machinev1.ListCrashesRequest{})
}

func crashRows(l *machinev1.ListCrashesResponse) [][]string {
	var rows [][]string
	for _, c := range l.GetCrashes() {
		rows = append(rows, []string{
			c.GetFoundByBootId(), c.GetBootId()[:min(len(c.GetBootId()), 8)], stamp(c.GetTime()), fmt.Sprint(c.GetRecords()), bytesText(c.GetSizeBytes()), c.GetSummary(),
		})
	}
	return rows
}
