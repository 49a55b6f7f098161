package server

import (
	"context"

	"google.golang.org/grpc"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
)

// poolService is node.pool.v1 on Pools.
type poolService struct {
	poolv1.UnimplementedPoolServiceServer
	pools Pools
}

// List implements poolv1.PoolServiceServer.
func (s *poolService) List(ctx context.Context, _ *poolv1.ListRequest) (*poolv1.ListResponse, error) {
	return s.pools.List(ctx)
}

// ListImportable implements poolv1.PoolServiceServer.
func (s *poolService) ListImportable(ctx context.Context, _ *poolv1.ListImportableRequest) (*poolv1.ListImportableResponse, error) {
	return s.pools.Importable(ctx)
}

// Plan implements poolv1.PoolServiceServer.
func (s *poolService) Plan(ctx context.Context, _ *poolv1.PlanRequest) (*poolv1.PlanResponse, error) {
	return s.pools.Plan(ctx)
}

// Confirm implements poolv1.PoolServiceServer.
func (s *poolService) Confirm(ctx context.Context, req *poolv1.ConfirmRequest) (*poolv1.ConfirmResponse, error) {
	if err := poolNamed(req.GetPool()); err != nil {
		return nil, err
	}
	if req.GetOperation() == "" {
		return nil, invalidf("no operation is named: a confirmation repeats the text of the one that it is for, as Plan and List have it")
	}
	if err := s.pools.Confirm(ctx, req.GetPool(), req.GetOperation(), subjectOf(ctx)); err != nil {
		return nil, err
	}
	return &poolv1.ConfirmResponse{}, nil
}

// Scrub implements poolv1.PoolServiceServer.
func (s *poolService) Scrub(ctx context.Context, req *poolv1.ScrubRequest) (*poolv1.ScrubResponse, error) {
	if err := poolNamed(req.GetPool()); err != nil {
		return nil, err
	}
	if a := req.GetAction(); a == poolv1.ScrubAction_SCRUB_ACTION_UNSPECIFIED || poolv1.ScrubAction_name[int32(a)] == "" {
		return nil, invalidf("action %v of a scrub is none of start, pause and stop", a)
	}
	if err := s.pools.Scrub(ctx, req.GetPool(), req.GetAction()); err != nil {
		return nil, err
	}
	return &poolv1.ScrubResponse{}, nil
}

// Trim implements poolv1.PoolServiceServer.
func (s *poolService) Trim(ctx context.Context, req *poolv1.TrimRequest) (*poolv1.TrimResponse, error) {
	if err := poolNamed(req.GetPool()); err != nil {
		return nil, err
	}
	if a := req.GetAction(); a == poolv1.TrimAction_TRIM_ACTION_UNSPECIFIED || poolv1.TrimAction_name[int32(a)] == "" {
		return nil, invalidf("action %v of a trim is none of start, pause and stop", a)
	}
	if err := s.pools.Trim(ctx, req.GetPool(), req.GetAction()); err != nil {
		return nil, err
	}
	return &poolv1.TrimResponse{}, nil
}

// Clear implements poolv1.PoolServiceServer.
func (s *poolService) Clear(ctx context.Context, req *poolv1.ClearRequest) (*poolv1.ClearResponse, error) {
	if err := poolNamed(req.GetPool()); err != nil {
		return nil, err
	}
	if err := s.pools.Clear(ctx, req.GetPool(), req.GetDevice()); err != nil {
		return nil, err
	}
	return &poolv1.ClearResponse{}, nil
}

// Offline implements poolv1.PoolServiceServer.
func (s *poolService) Offline(ctx context.Context, req *poolv1.OfflineRequest) (*poolv1.OfflineResponse, error) {
	if err := deviceNamed(req); err != nil {
		return nil, err
	}
	if c := req.GetConfirm(); c != "" && c != req.GetPool() {
		return nil, invalidf("the confirmation %.80q is not the name of the pool, %.80q", c, req.GetPool())
	}
	left, err := s.pools.Offline(ctx, req.GetPool(), req.GetDevice(), req.GetConfirm())
	if err != nil {
		return nil, err
	}
	return &poolv1.OfflineResponse{Redundancy: uint32(max(left, 0))}, nil
}

// Online implements poolv1.PoolServiceServer.
func (s *poolService) Online(ctx context.Context, req *poolv1.OnlineRequest) (*poolv1.OnlineResponse, error) {
	if err := deviceNamed(req); err != nil {
		return nil, err
	}
	if err := s.pools.Online(ctx, req.GetPool(), req.GetDevice()); err != nil {
		return nil, err
	}
	return &poolv1.OnlineResponse{}, nil
}

// GetCache implements poolv1.PoolServiceServer.
func (s *poolService) GetCache(ctx context.Context, _ *poolv1.GetCacheRequest) (*poolv1.GetCacheResponse, error) {
	return s.pools.Cache(ctx)
}

// StreamEvents implements poolv1.PoolServiceServer.
func (s *poolService) StreamEvents(req *poolv1.StreamEventsRequest, stream grpc.ServerStreamingServer[poolv1.StreamEventsResponse]) error {
	o := PoolEventOptions{StreamOptions: options(req.GetFollow(), req.Tail), AfterID: req.GetAfterId()}
	if t := req.GetAfterTime(); t != nil {
		if err := t.CheckValid(); err != nil {
			return invalidf("after_time: %v", err)
		}
		o.AfterTime = t.AsTime()
	}
	if (o.AfterID == 0) != o.AfterTime.IsZero() {
		return invalidf("after_id and after_time are those of one event: expected both or none")
	}
	return s.pools.Events(stream.Context(), o, stream.Send)
}

func poolNamed(name string) error {
	if name == "" {
		return invalidf("no pool is named")
	}
	return nil
}

// deviceNamed is for requests about one device.
func deviceNamed(req interface {
	GetPool() string
	GetDevice() string
}) error {
	if err := poolNamed(req.GetPool()); err != nil {
		return err
	}
	if req.GetDevice() == "" {
		return invalidf("no device of pool %.80q is named", req.GetPool())
	}
	return nil
}
