package main

import (
	"context"

	"github.com/spf13/cobra"

	containerv1 "github.com/cyvive/cyvive/api/proto/container/v1"
)

func (a *app) containerCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List the containers of both planes",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, listContainers, containerColumns(), nil)
		},
	}
	return group("container", "Look at the containers of nodes", list)
}

func listContainers(ctx context.Context, conn *connection) (*containerv1.ListContainersResponse, error) {
	return containerv1.NewContainerServiceClient(conn).ListContainers(ctx, &containerv1.ListContainersRequest{})
}

func containerColumns() columns[*containerv1.ListContainersResponse] {
	return columns[*containerv1.ListContainersResponse]{
		[]string{"NAMESPACE", "POD", "CONTAINER", "STATE", "PID", "RESTARTS", "STARTED", "IMAGE"}, containerRows,
	}
}

func containerRows(l *containerv1.ListContainersResponse) [][]string {
	var rows [][]string
	for _, c := range l.GetContainers() {
		pod := c.GetPod()
		if c.GetPodNamespace() != "" {
			pod = c.GetPodNamespace() + "/" + pod
		}
		rows = append(rows, []string{
			c.GetNamespace(), pod, c.GetName(), enumName(c.GetState().String(), "CONTAINER_STATE_"),
			number(c.GetPid(), c.GetPid() != 0), number(c.GetRestarts(), true), stamp(c.GetStartedAt()), c.GetImage(),
		})
	}
	return rows
}
