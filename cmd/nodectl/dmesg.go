package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
)

func (a *app) dmesgCommand() *cobra.Command {
	var f tailFlags
	var previous bool
	var crash string
	c := &cobra.Command{
		Use:   "dmesg",
		Short: "Show the kernel's log",
		Long: "Show the kernel's log. --previous shows that of the boot before: what its kernel left in the firmware's memory if it died, which is the end, or else " +
			"what the node kept of it, without the last seconds if that boot was ended by a power cut. --crash shows what an earlier one left, of those that " +
			"`nodectl crashes` lists.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case previous && crash != "", f.follow && (previous || crash != ""):
				return usagef("--previous, --crash and --follow do not go together")
			case previous:
				return streaming(cmd.Context(), a, streamPreviousDmesg(f, a.tellLacks), previousLine)
			case crash != "":
				return streaming(cmd.Context(), a, streamCrashLog(crash, f), crashLine)
			}
			return streaming(cmd.Context(), a, streamDmesg(f), dmesgLine)
		},
	}
	f.register(c, "records")
	c.Flags().BoolVar(&previous, "previous", false, "the log of the boot before")
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

// kernelLog is the name of the kernel's log among those of the boot before.
const kernelLog = "kernel"

// streamPreviousDmesg brings what the kernel of the boot before left when it died or, if
// it left nothing, what the node kept of its log. Note is as of streamPreviousLogs.
func streamPreviousDmesg(f tailFlags, note func(node, lacks string)) func(context.Context, *connection) (receiver[proto.Message], error) {
	return func(ctx context.Context, conn *connection) (receiver[proto.Message], error) {
		left, err := streamCrashLog("", f)(ctx, conn)
		if err != nil {
			return nil, err
		}
		first, err := left.Recv()
		if status.Code(err) != codes.NotFound {
			return &begun[*machinev1.StreamCrashLogResponse]{stream: left, first: first, err: err, ahead: true}, nil
		}
		kept, err := streamPreviousLogs(kernelLog, f, note)(ctx, conn)
		if err != nil {
			return nil, err
		}
		return &begun[*servicev1.StreamLogsResponse]{stream: kept}, nil
	}
}

// begun is a stream as one of messages of any kind. What it brought first may have been
// received already.
type begun[T proto.Message] struct {
	stream receiver[T]
	first  T
	err    error
	ahead  bool
}

// Recv implements receiver.
func (b *begun[T]) Recv() (proto.Message, error) {
	if b.ahead {
		b.ahead = false
		return b.first, b.err
	}
	return b.stream.Recv()
}

// previousLine is dmesgLine, for what streamPreviousDmesg brings.
func previousLine(m proto.Message) string {
	switch m := m.(type) {
	case *machinev1.StreamCrashLogResponse:
		return crashLine(m)
	case *servicev1.StreamLogsResponse:
		return withoutPriority(m.GetLine())
	}
	return ""
}

// withoutPriority takes away what is before the time in "<6>[    1.234567] message".
func withoutPriority(line string) string {
	priority, rest, ok := strings.Cut(line, ">")
	number, begins := strings.CutPrefix(priority, "<")
	if !ok || !begins || strings.Trim(number, "0123456789") != "" {
		return line
	}
	return rest
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
