package server

import (
	"context"

	"google.golang.org/grpc"

	installv1 "github.com/cyvive/cyvive/api/proto/install/v1"
)

// Installs puts the node onto other disks of its machine, in the messages of the API.
// Safe for concurrent use. A request that cannot be understood is ErrInvalid; what the
// machine or its disks do not allow is ErrPrecondition. By is the caller's common name.
type Installs interface {
	// PlanInstall changes nothing.
	PlanInstall(ctx context.Context, t *installv1.Target, by string) (*installv1.InstallPlan, error)
	// RunInstall calls send from one goroutine, and gives up with its error or the
	// context's end.
	RunInstall(ctx context.Context, t *installv1.Target, by string, send func(*installv1.InstallResponse) error) error
}

// installService is node.install.v1 on Installs.
type installService struct {
	installv1.UnimplementedInstallServiceServer
	installs Installs
}

// Plan implements installv1.InstallServiceServer.
func (s *installService) Plan(ctx context.Context, req *installv1.PlanRequest) (*installv1.PlanResponse, error) {
	if req.GetTarget() == nil {
		return nil, invalidf("the request has no target")
	}
	plan, err := s.installs.PlanInstall(ctx, req.GetTarget(), subjectOf(ctx))
	if err != nil {
		return nil, err
	}
	return &installv1.PlanResponse{Plan: plan}, nil
}

// Install implements installv1.InstallServiceServer.
func (s *installService) Install(req *installv1.InstallRequest, stream grpc.ServerStreamingServer[installv1.InstallResponse]) error {
	if req.GetTarget() == nil {
		return invalidf("the request has no target")
	}
	return s.installs.RunInstall(stream.Context(), req.GetTarget(), subjectOf(stream.Context()), stream.Send)
}
