package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

func (a *app) serviceCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List the services of nodes",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, listServices, serviceColumns(), nil)
		},
	}
	return group("service", "Look at the services of nodes, stop and start them", list, a.logsCommand(),
		a.turnCommand("start", "Start a service that was stopped", "started", func(ctx context.Context, c servicev1.ServiceServiceClient, name string) error {
			_, err := c.StartService(ctx, &servicev1.StartServiceRequest{Service: name})
			return err
		}),
		a.turnCommand("stop", "Stop a service until it is started, or the next boot", "stopped", func(ctx context.Context, c servicev1.ServiceServiceClient, name string) error {
			_, err := c.StopService(ctx, &servicev1.StopServiceRequest{Service: name})
			return err
		}),
		a.turnCommand("restart", "End a service, which then starts anew", "restarted", func(ctx context.Context, c servicev1.ServiceServiceClient, name string) error {
			_, err := c.RestartService(ctx, &servicev1.RestartServiceRequest{Service: name})
			return err
		}))
}

// turnTimeout is for a service to end: it gets half a minute before it is killed.
const turnTimeout = time.Minute

// turnCommand makes a verb that acts on one service. What was done is not data,
// and goes to standard error.
func (a *app) turnCommand(verb, short, done string, do func(context.Context, servicev1.ServiceServiceClient, string) error) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " SERVICE",
		Short:             short + " (needs node:operator)",
		Args:              oneArg("the name of a service, see `nodectl service list`"),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.target()
			if err != nil {
				return err
			}
			results := each(cmd.Context(), t, func(ctx context.Context, node string, conn *connection) (struct{}, error) {
				ctx, cancel := context.WithTimeout(ctx, max(a.timeout, turnTimeout))
				defer cancel()
				err := do(ctx, servicev1.NewServiceServiceClient(conn), args[0])
				if err == nil {
					fmt.Fprintf(a.stderr, "%s: %s %s\n", node, args[0], done)
				}
				return struct{}{}, err
			})
			return a.report(errorsOf(results))
		},
	}
}

func serviceColumns() columns[*servicev1.ListServicesResponse] {
	return columns[*servicev1.ListServicesResponse]{
		[]string{"SERVICE", "STATE", "PID", "RESTARTS", "SINCE", "LAST EXIT", "REASON"}, serviceRows,
	}
}

func watchServices(ctx context.Context, conn *connection) (receiver[*servicev1.WatchServicesResponse], error) {
	return servicev1.NewServiceServiceClient(conn).WatchServices(ctx, &servicev1.WatchServicesRequest{})
}

func listServices(ctx context.Context, conn *connection) (*servicev1.ListServicesResponse, error) {
	return servicev1.NewServiceServiceClient(conn).ListServices(ctx, &servicev1.ListServicesRequest{})
}

func serviceRows(l *servicev1.ListServicesResponse) [][]string {
	var rows [][]string
	for _, s := range l.GetServices() {
		rows = append(rows, []string{
			s.GetName(), enumName(s.GetState().String(), "SERVICE_STATE_"), number(s.GetPid(), s.GetPid() != 0),
			number(s.GetRestarts(), true), stamp(s.GetSince()), s.GetLastExit(), s.GetReason(),
		})
	}
	return rows
}

func (a *app) logsCommand() *cobra.Command {
	var f tailFlags
	var previous bool
	c := &cobra.Command{
		Use:   "logs SERVICE",
		Short: "Show what a service wrote",
		Long: "Show what a service wrote since the node booted, the newest 1 to 2 MiB of it. --previous shows what it wrote in the boot before: the newest 512 KiB to 1 MiB, " +
			"without the last seconds if that boot was ended by a power cut or a kernel that died.",
		Args: oneArg("the name of a service, see `nodectl service list`"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if !previous || len(args) > 0 {
				return a.completeServices(cmd, args, begun)
			}
			return a.fromNode(previousServices), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !previous {
				return streaming(cmd.Context(), a, streamLogs(args[0], f), (*servicev1.StreamLogsResponse).GetLine)
			}
			if f.follow {
				return usagef("--previous and --follow do not go together: the boot before has ended")
			}
			return streaming(cmd.Context(), a, streamPreviousLogs(args[0], f, a.tellLacks), (*servicev1.StreamLogsResponse).GetLine)
		},
	}
	f.register(c, "lines")
	c.Flags().BoolVar(&previous, "previous", false, "what it wrote in the boot before")
	return c
}

func streamLogs(service string, f tailFlags) func(context.Context, *connection) (receiver[*servicev1.StreamLogsResponse], error) {
	return func(ctx context.Context, conn *connection) (receiver[*servicev1.StreamLogsResponse], error) {
		return servicev1.NewServiceServiceClient(conn).StreamLogs(ctx, &servicev1.StreamLogsRequest{Service: service, Follow: f.follow, Tail: f.lines()})
	}
}

// tellLacks says what a node says is missing in its log of the boot before.
func (a *app) tellLacks(node, lacks string) {
	fmt.Fprintf(a.stderr, "%s: %s\n", node, output.Clean(lacks))
}

// previousPrefix makes the name of a service that of its log of the boot before. Alone it
// is the list of those.
const previousPrefix = "previous/"

// streamPreviousLogs calls note with what a node says is missing, if anything is.
func streamPreviousLogs(service string, f tailFlags, note func(node, lacks string)) func(context.Context, *connection) (receiver[*servicev1.StreamLogsResponse], error) {
	return func(ctx context.Context, conn *connection) (receiver[*servicev1.StreamLogsResponse], error) {
		stream, err := servicev1.NewServiceServiceClient(conn).StreamLogs(ctx, &servicev1.StreamLogsRequest{Service: previousPrefix + service, Tail: f.lines()})
		if err != nil {
			return nil, err
		}
		header, err := stream.Header()
		if what := header.Get(incompleteHeader); err == nil && len(what) > 0 {
			note(conn.node, what[0])
		}
		return stream, nil // what is wrong with the header, the first message says too
	}
}

// previousServices returns the names of the logs of the boot before, maxServices of them
// at most.
func previousServices(ctx context.Context, conn *connection) ([]string, error) {
	var names []string
	err := receive(ctx, conn, streamLogs(previousPrefix, tailFlags{tail: -1}), func(r *servicev1.StreamLogsResponse) error {
		if len(names) < maxServices {
			names = append(names, r.GetLine())
		}
		return nil
	})
	return names, err
}

func (f *tailFlags) register(c *cobra.Command, what string) {
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with new "+what+" until interrupted")
	c.Flags().IntVar(&f.tail, "tail", -1, "begin with the newest so many "+what+"; all by default")
}
