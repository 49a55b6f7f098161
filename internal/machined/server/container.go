package server

import (
	"cmp"
	"context"
	"slices"

	containerv1 "github.com/cyvive/cyvive/api/proto/container/v1"
)

// containerService is node.container.v1 on Containers.
type containerService struct {
	containerv1.UnimplementedContainerServiceServer
	containers Containers
}

// ListContainers implements containerv1.ContainerServiceServer.
func (s *containerService) ListContainers(ctx context.Context, _ *containerv1.ListContainersRequest) (*containerv1.ListContainersResponse, error) {
	containers, err := s.containers.Containers(ctx)
	if err != nil {
		return nil, err
	}
	sorted := slices.SortedFunc(slices.Values(containers), func(a, b Container) int {
		return cmp.Or(
			cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.PodNamespace, b.PodNamespace),
			cmp.Compare(a.Pod, b.Pod),
			cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.ID, b.ID),
		)
	})
	resp := &containerv1.ListContainersResponse{}
	for _, c := range sorted {
		resp.Containers = append(resp.Containers, containerToProto(c))
	}
	return resp, nil
}

func containerToProto(c Container) *containerv1.Container {
	return &containerv1.Container{
		Namespace:    c.Namespace,
		Name:         c.Name,
		Id:           c.ID,
		Image:        c.Image,
		Pod:          c.Pod,
		PodNamespace: c.PodNamespace,
		Pid:          c.PID,
		State:        containerStateToProto(c.State),
		StartedAt:    timeToProto(c.StartedAt),
		ExitCode:     c.ExitCode,
		Restarts:     c.Restarts,
	}
}

func containerStateToProto(s ContainerState) containerv1.ContainerState {
	switch s {
	case ContainerCreated:
		return containerv1.ContainerState_CONTAINER_STATE_CREATED
	case ContainerRunning:
		return containerv1.ContainerState_CONTAINER_STATE_RUNNING
	case ContainerStopped:
		return containerv1.ContainerState_CONTAINER_STATE_STOPPED
	case ContainerPaused:
		return containerv1.ContainerState_CONTAINER_STATE_PAUSED
	default:
		return containerv1.ContainerState_CONTAINER_STATE_UNSPECIFIED
	}
}
