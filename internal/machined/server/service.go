package server

import (
	"context"
	"math"
	"strings"

	"google.golang.org/grpc"

	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
)

// serviceService is node.service.v1 on Services and Logs.
type serviceService struct {
	servicev1.UnimplementedServiceServiceServer
	services Services
	logs     Logs
}

// ListServices implements servicev1.ServiceServiceServer.
func (s *serviceService) ListServices(ctx context.Context, _ *servicev1.ListServicesRequest) (*servicev1.ListServicesResponse, error) {
	services, err := s.services.Services(ctx)
	if err != nil {
		return nil, err
	}
	resp := &servicev1.ListServicesResponse{}
	for _, svc := range services {
		resp.Services = append(resp.Services, &servicev1.Service{
			Name:     svc.Name,
			State:    serviceStateToProto(svc.State),
			Pid:      svc.PID,
			Restarts: svc.Restarts,
			LastExit: svc.LastExit,
			Since:    timeToProto(svc.Since),
		})
	}
	return resp, nil
}

// StreamLogs implements servicev1.ServiceServiceServer.
func (s *serviceService) StreamLogs(req *servicev1.StreamLogsRequest, stream grpc.ServerStreamingServer[servicev1.StreamLogsResponse]) error {
	if req.GetService() == "" {
		return invalidf("service is empty, expected the name of a service")
	}
	return s.logs.Stream(stream.Context(), req.GetService(), options(req.GetFollow(), req.Tail), func(line []byte) error {
		return stream.Send(&servicev1.StreamLogsResponse{Line: strings.ToValidUTF8(string(line), "\uFFFD")})
	})
}

// options reads what every stream of a log takes.
func options(follow bool, tail *uint32) StreamOptions {
	o := StreamOptions{Follow: follow, Tail: -1}
	if tail != nil {
		o.Tail = int(min(*tail, math.MaxInt32))
	}
	return o
}

func serviceStateToProto(s ServiceState) servicev1.ServiceState {
	switch s {
	case ServiceStopped:
		return servicev1.ServiceState_SERVICE_STATE_STOPPED
	case ServiceStarting:
		return servicev1.ServiceState_SERVICE_STATE_STARTING
	case ServiceRunning:
		return servicev1.ServiceState_SERVICE_STATE_RUNNING
	case ServiceStopping:
		return servicev1.ServiceState_SERVICE_STATE_STOPPING
	case ServiceFailed:
		return servicev1.ServiceState_SERVICE_STATE_FAILED
	default:
		return servicev1.ServiceState_SERVICE_STATE_UNSPECIFIED
	}
}
