package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	containerv1 "github.com/cyvive/cyvive/api/proto/container/v1"
)

func (a *app) containerCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List the containers of both planes",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var lacking sync.Map // answer → what is missing in it
			return unary(cmd.Context(), a, func(ctx context.Context, conn *connection) (*containerv1.ListContainersResponse, error) {
				var header metadata.MD
				resp, err := containerv1.NewContainerServiceClient(conn).ListContainers(ctx, &containerv1.ListContainersRequest{}, grpc.Header(&header))
				if what := header.Get(incompleteHeader); len(what) > 0 {
					lacking.Store(resp, what[0])
				}
				return resp, err
			}, containerColumns(), func(resp *containerv1.ListContainersResponse) error {
				if what, ok := lacking.Load(resp); ok {
					return fmt.Errorf("%s", what)
				}
				return nil
			})
		},
	}
	return group("container", "Look at the containers of nodes", list)
}

// incompleteHeader is the header of an answer in which something is missing.
const incompleteHeader = "cyvive-incomplete-bin"

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
