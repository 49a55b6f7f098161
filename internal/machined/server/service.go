package server

import (
	"context"
	"math"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
)

// PreviousPrefix is before the name of a service whose log of the boot before is meant.
// No service has a name that begins so.
const PreviousPrefix = "previous/"

// KernelLog is the name of the kernel's log among those of the boot before. No service
// has it.
const KernelLog = "kernel"

// serviceService is node.service.v1 on Services, Logs and PastLogs.
type serviceService struct {
	servicev1.UnimplementedServiceServiceServer
	services Services
	logs     Logs
	past     PastLogs
}

// ListServices implements servicev1.ServiceServiceServer.
func (s *serviceService) ListServices(ctx context.Context, _ *servicev1.ListServicesRequest) (*servicev1.ListServicesResponse, error) {
	list, err := s.list(ctx)
	return &servicev1.ListServicesResponse{Services: list}, err
}

// WatchServices implements servicev1.ServiceServiceServer.
func (s *serviceService) WatchServices(_ *servicev1.WatchServicesRequest, stream grpc.ServerStreamingServer[servicev1.WatchServicesResponse]) error {
	return watch(stream.Context(), every(listInterval), func(ctx context.Context) (*servicev1.WatchServicesResponse, error) {
		list, err := s.list(ctx)
		return &servicev1.WatchServicesResponse{Services: list}, err
	}, stream.Send)
}

func (s *serviceService) list(ctx context.Context) ([]*servicev1.Service, error) {
	services, err := s.services.Services(ctx)
	if err != nil {
		return nil, err
	}
	var out []*servicev1.Service
	for _, svc := range services {
		out = append(out, &servicev1.Service{
			Name:     svc.Name,
			State:    serviceStateToProto(svc.State),
			Pid:      svc.PID,
			Restarts: svc.Restarts,
			LastExit: svc.LastExit,
			Since:    timeToProto(svc.Since),
			Reason:   svc.Reason,
		})
	}
	return out, nil
}

// StartService implements servicev1.ServiceServiceServer.
func (s *serviceService) StartService(ctx context.Context, req *servicev1.StartServiceRequest) (*servicev1.StartServiceResponse, error) {
	return &servicev1.StartServiceResponse{}, named(ctx, req.GetService(), s.services.StartService)
}

// StopService implements servicev1.ServiceServiceServer.
func (s *serviceService) StopService(ctx context.Context, req *servicev1.StopServiceRequest) (*servicev1.StopServiceResponse, error) {
	return &servicev1.StopServiceResponse{}, named(ctx, req.GetService(), s.services.StopService)
}

// RestartService implements servicev1.ServiceServiceServer.
func (s *serviceService) RestartService(ctx context.Context, req *servicev1.RestartServiceRequest) (*servicev1.RestartServiceResponse, error) {
	return &servicev1.RestartServiceResponse{}, named(ctx, req.GetService(), s.services.RestartService)
}

// named calls do for a service that has a name.
func named(ctx context.Context, service string, do func(context.Context, string) error) error {
	if service == "" {
		return invalidf("service is empty, expected the name of a service")
	}
	return do(ctx, service)
}

// StreamLogs implements servicev1.ServiceServiceServer.
func (s *serviceService) StreamLogs(req *servicev1.StreamLogsRequest, stream grpc.ServerStreamingServer[servicev1.StreamLogsResponse]) error {
	if req.GetService() == "" {
		return invalidf("service is empty, expected the name of a service")
	}
	send := func(line []byte) error {
		return stream.Send(&servicev1.StreamLogsResponse{Line: strings.ToValidUTF8(string(line), "\uFFFD")})
	}
	o := options(req.GetFollow(), req.Tail)
	past, ok := strings.CutPrefix(req.GetService(), PreviousPrefix)
	switch {
	case !ok:
		return s.logs.Stream(stream.Context(), req.GetService(), o, send)
	case o.Follow:
		return invalidf("follow is set for the log of the boot before, which has ended: ask for it without")
	case past == "":
		names, err := s.past.PastServices(stream.Context())
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := send([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	}
	return s.past.PastLog(stream.Context(), past, o.Tail, func(what string) {
		_ = stream.SetHeader(metadata.Pairs(IncompleteHeader, what)) // an error is of a stream that has ended
	}, send)
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
