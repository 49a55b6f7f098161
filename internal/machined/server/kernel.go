package server

import (
	"context"

	"google.golang.org/grpc"

	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
)

// kernelService is node.kernel.v1 on Kernel.
type kernelService struct {
	kernelv1.UnimplementedKernelServiceServer
	kernel Kernel
}

// ListProcesses implements kernelv1.KernelServiceServer.
func (s *kernelService) ListProcesses(ctx context.Context, _ *kernelv1.ListProcessesRequest) (*kernelv1.ListProcessesResponse, error) {
	list, err := s.kernel.Processes(ctx)
	return &kernelv1.ListProcessesResponse{Processes: list}, err
}

// WatchProcesses implements kernelv1.KernelServiceServer.
func (s *kernelService) WatchProcesses(req *kernelv1.WatchProcessesRequest, stream grpc.ServerStreamingServer[kernelv1.WatchProcessesResponse]) error {
	return watch(stream.Context(), interval(req.GetInterval()), func(ctx context.Context) (*kernelv1.WatchProcessesResponse, error) {
		list, err := s.kernel.Processes(ctx)
		return &kernelv1.WatchProcessesResponse{Processes: list}, err
	}, stream.Send)
}

// ListMounts implements kernelv1.KernelServiceServer.
func (s *kernelService) ListMounts(ctx context.Context, _ *kernelv1.ListMountsRequest) (*kernelv1.ListMountsResponse, error) {
	list, err := s.kernel.Mounts(ctx)
	return &kernelv1.ListMountsResponse{Mounts: list}, err
}

// WatchMounts implements kernelv1.KernelServiceServer.
func (s *kernelService) WatchMounts(req *kernelv1.WatchMountsRequest, stream grpc.ServerStreamingServer[kernelv1.WatchMountsResponse]) error {
	return watch(stream.Context(), interval(req.GetInterval()), func(ctx context.Context) (*kernelv1.WatchMountsResponse, error) {
		list, err := s.kernel.Mounts(ctx)
		return &kernelv1.WatchMountsResponse{Mounts: list}, err
	}, stream.Send)
}

// ListCgroups implements kernelv1.KernelServiceServer.
func (s *kernelService) ListCgroups(ctx context.Context, _ *kernelv1.ListCgroupsRequest) (*kernelv1.ListCgroupsResponse, error) {
	list, truncated, err := s.kernel.Cgroups(ctx)
	return &kernelv1.ListCgroupsResponse{Cgroups: list, Truncated: truncated}, err
}

// WatchCgroups implements kernelv1.KernelServiceServer.
func (s *kernelService) WatchCgroups(req *kernelv1.WatchCgroupsRequest, stream grpc.ServerStreamingServer[kernelv1.WatchCgroupsResponse]) error {
	return watch(stream.Context(), interval(req.GetInterval()), func(ctx context.Context) (*kernelv1.WatchCgroupsResponse, error) {
		list, truncated, err := s.kernel.Cgroups(ctx)
		return &kernelv1.WatchCgroupsResponse{Cgroups: list, Truncated: truncated}, err
	}, stream.Send)
}

// GetStats implements kernelv1.KernelServiceServer.
func (s *kernelService) GetStats(ctx context.Context, _ *kernelv1.GetStatsRequest) (*kernelv1.GetStatsResponse, error) {
	stats, err := s.kernel.Stats(ctx)
	return &kernelv1.GetStatsResponse{Stats: stats}, err
}

// WatchStats implements kernelv1.KernelServiceServer.
func (s *kernelService) WatchStats(req *kernelv1.WatchStatsRequest, stream grpc.ServerStreamingServer[kernelv1.WatchStatsResponse]) error {
	return watch(stream.Context(), interval(req.GetInterval()), func(ctx context.Context) (*kernelv1.WatchStatsResponse, error) {
		stats, err := s.kernel.Stats(ctx)
		return &kernelv1.WatchStatsResponse{Stats: stats}, err
	}, stream.Send)
}
