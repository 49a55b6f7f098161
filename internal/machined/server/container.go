package server

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	containerv1 "github.com/cyvive/cyvive/api/proto/container/v1"
)

// containerService is node.container.v1 on Containers.
type containerService struct {
	containerv1.UnimplementedContainerServiceServer
	containers Containers
}

// ListContainers implements containerv1.ContainerServiceServer.
func (s *containerService) ListContainers(ctx context.Context, _ *containerv1.ListContainersRequest) (*containerv1.ListContainersResponse, error) {
	list, incomplete, err := s.list(ctx)
	if err == nil && incomplete != "" {
		err = grpc.SetHeader(ctx, metadata.Pairs(IncompleteHeader, incomplete))
	}
	return &containerv1.ListContainersResponse{Containers: list}, err
}

// WatchContainers implements containerv1.ContainerServiceServer.
func (s *containerService) WatchContainers(_ *containerv1.WatchContainersRequest, stream grpc.ServerStreamingServer[containerv1.WatchContainersResponse]) error {
	return watch(stream.Context(), every(listInterval), func(ctx context.Context) (*containerv1.WatchContainersResponse, error) {
		list, incomplete, err := s.list(ctx)
		if incomplete != "" {
			_ = stream.SetHeader(metadata.Pairs(IncompleteHeader, incomplete)) // too late behind the first message
		}
		return &containerv1.WatchContainersResponse{Containers: list}, err
	}, stream.Send)
}

// list returns the containers, sorted, and in words what is missing; empty if nothing is.
func (s *containerService) list(ctx context.Context) (list []*containerv1.Container, incomplete string, err error) {
	containers, err := s.containers.Containers(ctx)
	if errors.Is(err, ErrIncomplete) {
		incomplete = err.Error()
	} else if err != nil {
		return nil, "", err
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
	for _, c := range sorted {
		list = append(list, containerToProto(c))
	}
	return list, incomplete, nil
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
