package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

func (a *app) getCommand() *cobra.Command {
	return group("get", "Show summaries", a.getNodesCommand())
}

func (a *app) getNodesCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "nodes",
		Aliases: []string{"node"},
		Short:   "List the nodes with their state",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, getNode, columns[*machinev1.GetNodeResponse]{
				[]string{"NAME", "ROLE", "READY", "VERSION", "KERNEL", "ADDRESSES", "UPTIME", "REASON"},
				func(n *machinev1.GetNodeResponse) [][]string { return nodeRows(n, a.now()) },
			}, nil)
		},
	}
}

func getNode(ctx context.Context, conn *connection) (*machinev1.GetNodeResponse, error) {
	return machinev1.NewMachineServiceClient(conn).GetNode(ctx, &machinev1.GetNodeRequest{})
}

func nodeRows(n *machinev1.GetNodeResponse, now time.Time) [][]string {
	var uptime string
	if n.GetBootedAt() != nil {
		uptime = now.Sub(n.GetBootedAt().AsTime()).Round(time.Second).String()
	}
	return [][]string{{
		n.GetHostname(), enumName(n.GetRole().String(), "NODE_ROLE_"), yesNo(n.GetReady()), n.GetVersion(),
		n.GetKernelRelease(), strings.Join(n.GetAddresses(), ","), uptime, n.GetReason(),
	}}
}
