package server

import (
	"context"

	"google.golang.org/grpc"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
)

// replicationService is the ReplicationService of node.replication.v1 on Replication.
type replicationService struct {
	replicationv1.UnimplementedReplicationServiceServer
	config Config
}

// List implements replicationv1.ReplicationServiceServer.
func (s *replicationService) List(ctx context.Context, _ *replicationv1.ListRequest) (*replicationv1.ListResponse, error) {
	jobs, err := s.config.Replication.List(ctx, "")
	if err != nil {
		return nil, err
	}
	return &replicationv1.ListResponse{Jobs: jobs}, nil
}

// Watch implements replicationv1.ReplicationServiceServer.
func (s *replicationService) Watch(r *replicationv1.WatchRequest, stream grpc.ServerStreamingServer[replicationv1.WatchResponse]) error {
	return watch(stream.Context(), s.config.Replication.Changed, func(ctx context.Context) (*replicationv1.WatchResponse, error) {
		jobs, err := s.config.Replication.List(ctx, r.GetJob())
		return &replicationv1.WatchResponse{Jobs: jobs}, err
	}, stream.Send)
}

// Run implements replicationv1.ReplicationServiceServer.
func (s *replicationService) Run(ctx context.Context, r *replicationv1.RunRequest) (*replicationv1.RunResponse, error) {
	if err := jobNamed(r.GetJob()); err != nil {
		return nil, err
	}
	run, err := s.config.Replication.Run(ctx, r.GetJob(), r.GetDecisions())
	if err != nil {
		return nil, err
	}
	return &replicationv1.RunResponse{Run: run}, nil
}

// Plan implements replicationv1.ReplicationServiceServer.
func (s *replicationService) Plan(ctx context.Context, r *replicationv1.PlanRequest) (*replicationv1.PlanResponse, error) {
	if err := jobNamed(r.GetJob()); err != nil {
		return nil, err
	}
	return s.config.Replication.Plan(ctx, r.GetJob())
}

// PlanFailover implements replicationv1.ReplicationServiceServer.
func (s *replicationService) PlanFailover(ctx context.Context, r *replicationv1.PlanFailoverRequest) (*replicationv1.PlanFailoverResponse, error) {
	if err := jobNamed(r.GetJob()); err != nil {
		return nil, err
	}
	return s.config.Replication.PlanFailover(ctx, r.GetJob())
}

// Failover implements replicationv1.ReplicationServiceServer.
func (s *replicationService) Failover(ctx context.Context, r *replicationv1.FailoverRequest) (*replicationv1.FailoverResponse, error) {
	if err := jobNamed(r.GetJob()); err != nil {
		return nil, err
	}
	return s.config.Replication.Failover(ctx, r.GetJob(), r.GetConfirm(), r.GetDecisions())
}

// Failback implements replicationv1.ReplicationServiceServer.
func (s *replicationService) Failback(ctx context.Context, r *replicationv1.FailbackRequest) (*replicationv1.FailbackResponse, error) {
	if err := jobNamed(r.GetJob()); err != nil {
		return nil, err
	}
	run, err := s.config.Replication.Failback(ctx, r.GetJob(), r.GetConfirm(), r.GetDecisions())
	if err != nil {
		return nil, err
	}
	return &replicationv1.FailbackResponse{Run: run}, nil
}

// Verify implements replicationv1.ReplicationServiceServer.
func (s *replicationService) Verify(r *replicationv1.VerifyRequest, stream grpc.ServerStreamingServer[replicationv1.VerifyResponse]) error {
	if err := jobNamed(r.GetJob()); err != nil {
		return err
	}
	return s.config.Replication.Verify(stream.Context(), r.GetJob(), r.GetContents(), stream.Send)
}

func jobNamed(name string) error {
	if name == "" {
		return invalidf("no job is named")
	}
	return nil
}
