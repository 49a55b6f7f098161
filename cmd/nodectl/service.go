package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
)

func (a *app) serviceCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List the services of nodes",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, listServices, columns[*servicev1.ListServicesResponse]{
				[]string{"SERVICE", "STATE", "PID", "RESTARTS", "SINCE", "LAST EXIT"}, serviceRows,
			}, nil)
		},
	}
	return group("service", "Look at the services of nodes", list, a.logsCommand())
}

func listServices(ctx context.Context, conn *connection) (*servicev1.ListServicesResponse, error) {
	return servicev1.NewServiceServiceClient(conn).ListServices(ctx, &servicev1.ListServicesRequest{})
}

func serviceRows(l *servicev1.ListServicesResponse) [][]string {
	var rows [][]string
	for _, s := range l.GetServices() {
		rows = append(rows, []string{
			s.GetName(), enumName(s.GetState().String(), "SERVICE_STATE_"), number(s.GetPid(), s.GetPid() != 0),
			number(s.GetRestarts(), true), stamp(s.GetSince()), s.GetLastExit(),
		})
	}
	return rows
}

func (a *app) logsCommand() *cobra.Command {
	var f tailFlags
	c := &cobra.Command{
		Use:               "logs SERVICE",
		Short:             "Show what a service wrote",
		Args:              oneArg("the name of a service, see `nodectl service list`"),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			return streaming(cmd.Context(), a, func(ctx context.Context, conn *connection) (receiver[*servicev1.StreamLogsResponse], error) {
				return servicev1.NewServiceServiceClient(conn).StreamLogs(ctx, &servicev1.StreamLogsRequest{
					Service: args[0], Follow: f.follow, Tail: f.lines(),
				})
			}, (*servicev1.StreamLogsResponse).GetLine)
		},
	}
	f.register(c, "lines")
	return c
}

func (f *tailFlags) register(c *cobra.Command, what string) {
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with new "+what+" until interrupted")
	c.Flags().IntVar(&f.tail, "tail", -1, "begin with the newest so many "+what+"; all by default")
}

// completionTimeout is how long a shell waits for a node.
const completionTimeout = time.Second

// completeServices offers the services of the first node.
func (a *app) completeServices(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	t, err := a.target()
	if err != nil || len(args) > 0 || len(t.nodes) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
	defer cancel()
	conn, err := t.dial(t.nodes[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer conn.Close()
	resp, err := listServices(ctx, conn)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range resp.GetServices() {
		names = append(names, s.GetName())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
