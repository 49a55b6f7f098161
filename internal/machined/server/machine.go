package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/pki"
)

// machineService is node.machine.v1 on a Machine, its kernel log and its boots.
type machineService struct {
	machinev1.UnimplementedMachineServiceServer
	config Config
}

// GetIdentity implements machinev1.MachineServiceServer.
func (s *machineService) GetIdentity(context.Context, *machinev1.GetIdentityRequest) (*machinev1.GetIdentityResponse, error) {
	id := s.config.Identity()
	resp := &machinev1.GetIdentityResponse{
		State: machinev1.NodeState_NODE_STATE_CONFIGURED, Fingerprint: pki.CertificateFingerprint(id.Certificate.Leaf).String(), Time: timeToProto(s.config.Now()),
		Recipient: s.config.Recipient(),
	}
	if id.Clients != nil {
		return resp, nil
	}
	u := id.Unconfigured
	resp.State, resp.OwnerConflicts = machinev1.NodeState_NODE_STATE_MAINTENANCE, u.Conflicts
	if !u.Owner.IsZero() {
		resp.Owner, resp.OwnerSource = u.Owner.String(), u.Source
	}
	return resp, nil
}

// GetVersion implements machinev1.MachineServiceServer.
func (s *machineService) GetVersion(ctx context.Context, _ *machinev1.GetVersionRequest) (*machinev1.GetVersionResponse, error) {
	v, err := s.config.Machine.Version(ctx)
	if err != nil {
		return nil, err
	}
	resp := &machinev1.GetVersionResponse{
		Version:       v.OS,
		KernelRelease: v.KernelRelease,
		Architecture:  runtime.GOARCH,
		RootHash:      v.RootHash,
		Slot:          slotToProto(v.Slot),
		Maintenance:   s.config.Identity().Clients == nil,
	}
	for _, c := range v.Components {
		resp.Components = append(resp.Components, &machinev1.Component{Name: c.Name, Version: c.Version, Source: c.Source})
	}
	return resp, nil
}

// GetHealth implements machinev1.MachineServiceServer.
func (s *machineService) GetHealth(ctx context.Context, _ *machinev1.GetHealthRequest) (*machinev1.GetHealthResponse, error) {
	checks, err := s.config.Machine.Health(ctx)
	if err != nil {
		return nil, err
	}
	healthy, _ := overall(checks)
	resp := &machinev1.GetHealthResponse{Healthy: healthy}
	for _, c := range checks {
		resp.Checks = append(resp.Checks, &machinev1.HealthCheck{
			Name: c.Name, Healthy: c.Healthy, Reason: c.why(), Since: timeToProto(c.Since),
		})
	}
	return resp, nil
}

// overall is the health of all checks, with the first reason against it. No
// check at all is not healthy: nothing is known yet.
func overall(checks []Check) (healthy bool, reason string) {
	for _, c := range checks {
		if !c.Healthy {
			return false, c.Name + ": " + c.why()
		}
	}
	if len(checks) == 0 {
		return false, "no part of the node has reported yet"
	}
	return true, ""
}

// GetNode implements machinev1.MachineServiceServer.
func (s *machineService) GetNode(ctx context.Context, _ *machinev1.GetNodeRequest) (*machinev1.GetNodeResponse, error) {
	n, err := s.config.Machine.Node(ctx)
	if err != nil {
		return nil, err
	}
	v, err := s.config.Machine.Version(ctx)
	if err != nil {
		return nil, err
	}
	checks, err := s.config.Machine.Health(ctx)
	if err != nil {
		return nil, err
	}
	resp := &machinev1.GetNodeResponse{
		Hostname:      n.Hostname,
		Version:       v.OS,
		KernelRelease: v.KernelRelease,
		Role:          roleToProto(n.Role),
		ClusterName:   n.ClusterName,
		BootId:        n.BootID,
		BootedAt:      timeToProto(n.BootedAt),
	}
	resp.Ready, resp.Reason = overall(slices.DeleteFunc(slices.Clone(checks), func(c Check) bool { return c.Aside }))
	for _, a := range n.Addresses {
		resp.Addresses = append(resp.Addresses, a.String())
	}
	return resp, nil
}

// WatchHealth implements machinev1.MachineServiceServer.
func (s *machineService) WatchHealth(_ *machinev1.WatchHealthRequest, stream grpc.ServerStreamingServer[machinev1.WatchHealthResponse]) error {
	return watch(stream.Context(), s.config.changes(), func(ctx context.Context) (*machinev1.WatchHealthResponse, error) {
		health, err := s.GetHealth(ctx, nil)
		return &machinev1.WatchHealthResponse{Health: health}, err
	}, stream.Send)
}

// WatchNode implements machinev1.MachineServiceServer.
func (s *machineService) WatchNode(_ *machinev1.WatchNodeRequest, stream grpc.ServerStreamingServer[machinev1.WatchNodeResponse]) error {
	return watch(stream.Context(), s.config.changes(), func(ctx context.Context) (*machinev1.WatchNodeResponse, error) {
		node, err := s.GetNode(ctx, nil)
		return &machinev1.WatchNodeResponse{Node: node}, err
	}, stream.Send)
}

// pieceBytes is how much of a file goes into one message.
const pieceBytes = 32 << 10

// GetSBOM implements machinev1.MachineServiceServer.
func (s *machineService) GetSBOM(_ *machinev1.GetSBOMRequest, stream grpc.ServerStreamingServer[machinev1.GetSBOMResponse]) error {
	if s.config.SBOM == nil {
		return fmt.Errorf("read the bill of materials: %w: this image has none", ErrNotFound)
	}
	file, err := s.config.SBOM()
	if err != nil {
		return fmt.Errorf("read the bill of materials: %w", err)
	}
	defer file.Close()
	return sendPieces(file, func(data []byte) error { return stream.Send(&machinev1.GetSBOMResponse{Data: data}) })
}

// sendPieces sends a bill of materials to its end.
func sendPieces(r io.Reader, send func([]byte) error) error {
	buffer := make([]byte, pieceBytes)
	for {
		n, err := io.ReadFull(r, buffer)
		if n > 0 {
			if err := send(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the bill of materials: %w", err)
		}
	}
}

// Reboot implements machinev1.MachineServiceServer.
func (s *machineService) Reboot(ctx context.Context, _ *machinev1.RebootRequest) (*machinev1.RebootResponse, error) {
	n, err := s.config.Machine.Node(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.config.Machine.Reboot(ctx); err != nil {
		return nil, err
	}
	return &machinev1.RebootResponse{BootId: n.BootID}, nil
}

// Shutdown implements machinev1.MachineServiceServer.
func (s *machineService) Shutdown(ctx context.Context, _ *machinev1.ShutdownRequest) (*machinev1.ShutdownResponse, error) {
	n, err := s.config.Machine.Node(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.config.Machine.Shutdown(ctx); err != nil {
		return nil, err
	}
	return &machinev1.ShutdownResponse{BootId: n.BootID}, nil
}

// StreamDmesg implements machinev1.MachineServiceServer.
func (s *machineService) StreamDmesg(req *machinev1.StreamDmesgRequest, stream grpc.ServerStreamingServer[machinev1.StreamDmesgResponse]) error {
	return s.config.Dmesg.Stream(stream.Context(), options(req.GetFollow(), req.Tail), func(r Record) error {
		return stream.Send(&machinev1.StreamDmesgResponse{
			Sequence:  r.Sequence,
			Level:     uint32(r.Level),
			Facility:  uint32(r.Facility),
			SinceBoot: durationpb.New(r.SinceBoot),
			Message:   r.Message,
		})
	})
}

// ListBoots implements machinev1.MachineServiceServer.
func (s *machineService) ListBoots(ctx context.Context, _ *machinev1.ListBootsRequest) (*machinev1.ListBootsResponse, error) {
	boots, err := s.config.Boots.Boots(ctx)
	if err != nil {
		return nil, err
	}
	resp := &machinev1.ListBootsResponse{}
	for _, b := range boots {
		resp.Boots = append(resp.Boots, bootToProto(b))
	}
	return resp, nil
}

func bootToProto(b Boot) *machinev1.Boot {
	boot := &machinev1.Boot{
		BootId:    b.ID,
		StartedAt: timeToProto(b.StartedAt),
		End:       endToProto(b.End),
		Uptime:    durationpb.New(b.Uptime),
		Version:   b.Version,
		Slot:      slotToProto(b.Slot),
		Reason:    b.Reason,
	}
	for _, m := range b.Milestones {
		boot.Milestones = append(boot.Milestones, &machinev1.Milestone{
			Name: m.Name, SinceKernelStart: durationpb.New(m.Since),
		})
	}
	return boot
}

// timeToProto leaves out what is not known.
func timeToProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func slotToProto(slot string) machinev1.Slot {
	switch slot {
	case "a":
		return machinev1.Slot_SLOT_A
	case "b":
		return machinev1.Slot_SLOT_B
	default:
		return machinev1.Slot_SLOT_UNSPECIFIED
	}
}

func roleToProto(r Role) machinev1.NodeRole {
	switch r {
	case RoleStandalone:
		return machinev1.NodeRole_NODE_ROLE_STANDALONE
	case RoleControlPlane:
		return machinev1.NodeRole_NODE_ROLE_CONTROL_PLANE
	case RoleWorker:
		return machinev1.NodeRole_NODE_ROLE_WORKER
	default:
		return machinev1.NodeRole_NODE_ROLE_UNSPECIFIED
	}
}

func endToProto(e BootEnd) machinev1.BootEnd {
	switch e {
	case BootRunning:
		return machinev1.BootEnd_BOOT_END_RUNNING
	case BootClean:
		return machinev1.BootEnd_BOOT_END_CLEAN
	case BootUnclean:
		return machinev1.BootEnd_BOOT_END_UNCLEAN
	default:
		return machinev1.BootEnd_BOOT_END_UNSPECIFIED
	}
}
