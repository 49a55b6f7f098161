package server

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/grpc"

	containerv1 "github.com/cyvive/cyvive/api/proto/container/v1"
)

// containerService is node.container.v1 on Containers.
type containerService struct {
	containerv1.UnimplementedContainerServiceServer
	containers Containers
}

// ListContainers implements containerv1.ContainerServiceServer.
func (s *containerService) ListContainers(ctx context.Context, _ *containerv1.ListContainersRequest) (*containerv1.ListContainersResponse, error) {
	list, err := s.list(ctx)
	return &containerv1.ListContainersResponse{Containers: list}, err
}

// WatchContainers implements containerv1.ContainerServiceServer.
func (s *containerService) WatchContainers(_ *containerv1.WatchContainersRequest, stream grpc.ServerStreamingServer[containerv1.WatchContainersResponse]) error {
	return watch(stream.Context(), every(listInterval), func(ctx context.Context) (*containerv1.WatchContainersResponse, error) {
		list, err := s.list(ctx)
		return &containerv1.WatchContainersResponse{Containers: list}, err
	}, stream.Send)
}

// list returns the containers, sorted.
func (s *containerService) list(ctx context.Context) ([]*containerv1.Container, error) {
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
	var out []*containerv1.Container
	for _, c := range sorted {
		out = append(out, containerToProto(c))
	}
	return out, nil
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
