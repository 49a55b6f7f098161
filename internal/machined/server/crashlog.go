package server

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

// ListCrashes implements machinev1.MachineServiceServer.
func (s *machineService) ListCrashes(ctx context.Context, _ *machinev1.ListCrashesRequest) (*machinev1.ListCrashesResponse, error) {
	crashes, err := s.config.Crashes.Crashes(ctx)
	if err != nil {
		return nil, err
	}
	boots, err := s.config.Boots.Boots(ctx)
	if err != nil {
		return nil, err
	}
	resp := &machinev1.ListCrashesResponse{}
	for _, c := range crashes {
		resp.Crashes = append(resp.Crashes, &machinev1.Crash{
			FoundByBootId: c.FoundBy, BootId: bootBefore(boots, c.FoundBy), Time: timeToProto(c.Time), Summary: c.Summary,
			Records: uint32(c.Records), SizeBytes: uint64(c.SizeBytes),
		})
	}
	return resp, nil
}

// bootBefore is the ID of the boot before one, empty if the ledger does not have it.
func bootBefore(boots []Boot, id string) string {
	i := slices.IndexFunc(boots, func(b Boot) bool { return b.ID == id })
	if i < 0 || i+1 == len(boots) {
		return ""
	}
	return boots[i+1].ID
}

// StreamCrashLog implements machinev1.MachineServiceServer.
func (s *machineService) StreamCrashLog(req *machinev1.StreamCrashLogRequest, stream grpc.ServerStreamingServer[machinev1.StreamCrashLogResponse]) error {
	tail := options(false, req.Tail).Tail
	return s.config.Crashes.CrashLog(stream.Context(), req.GetFoundByBootId(), tail, func(l CrashLine) error {
		m := &machinev1.StreamCrashLogResponse{Level: uint32(l.Level), Message: l.Message, Record: l.Record}
		if l.Since != nil {
			m.SinceBoot = durationpb.New(*l.Since)
		}
		return stream.Send(m)
	})
}
