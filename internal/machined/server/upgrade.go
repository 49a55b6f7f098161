package server

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
)

// upgradeService is node.upgrade.v1 on Upgrades.
type upgradeService struct {
	upgradev1.UnimplementedUpgradeServiceServer
	config Config
}

// Push implements upgradev1.UpgradeServiceServer.
func (s *upgradeService) Push(stream grpc.ClientStreamingServer[upgradev1.PushRequest, upgradev1.PushResponse]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return invalidf("nothing was sent, expected a header and a bundle")
	}
	if err != nil {
		return err
	}
	if first.GetHeader() == nil {
		return invalidf("the first message has no header")
	}
	allow := UpgradeAllow{Downgrade: first.GetHeader().GetAllowDowngrade(), WithoutExtensions: first.GetHeader().GetWithoutExtensions()}
	target, err := s.config.Upgrades.Push(stream.Context(), allow, &pieces{next: func() ([]byte, error) {
		m, err := stream.Recv()
		if err == nil && m.GetHeader() != nil {
			err = invalidf("a second header came, expected data")
		}
		return m.GetData(), err
	}})
	if err != nil {
		return err
	}
	return stream.SendAndClose(&upgradev1.PushResponse{Target: systemToProto(target)})
}

// pieces is what a stream of messages brings, as one reader. Its memory is one
// message.
type pieces struct {
	// next receives a message. It returns what that brings, which may be nothing.
	next func() ([]byte, error)
	rest []byte
}

// Read implements io.Reader.
func (p *pieces) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		data, err := p.next()
		if err != nil {
			return 0, err
		}
		p.rest = data
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// Pull implements upgradev1.UpgradeServiceServer.
func (s *upgradeService) Pull(req *upgradev1.PullRequest, stream grpc.ServerStreamingServer[upgradev1.PullResponse]) error {
	if req.GetSource() == "" {
		return invalidf("no source, expected the URL of a release")
	}
	p := Pull{
		Source: req.GetSource(), SHA256: req.GetSha256(),
		Allow: UpgradeAllow{Downgrade: req.GetAllowDowngrade(), WithoutExtensions: req.GetWithoutExtensions()},
	}
	target, err := s.config.Upgrades.Pull(stream.Context(), p, func(p PullProgress) error {
		return stream.Send(&upgradev1.PullResponse{
			ReceivedBytes: uint64(p.ReceivedBytes), TotalBytes: uint64(p.TotalBytes), Waiting: p.Waiting,
		})
	})
	if err != nil {
		return err
	}
	return stream.Send(&upgradev1.PullResponse{Target: systemToProto(target)})
}

// Install implements upgradev1.UpgradeServiceServer.
func (s *upgradeService) Install(req *upgradev1.InstallRequest, stream grpc.ServerStreamingServer[upgradev1.InstallResponse]) error {
	node, err := s.config.Machine.Node(stream.Context())
	if err != nil {
		return err
	}
	target, err := s.config.Upgrades.Install(stream.Context(), req.GetStaged(), func(written, total int64) error {
		return stream.Send(&upgradev1.InstallResponse{WrittenBytes: uint64(written), TotalBytes: uint64(total)})
	})
	if err != nil {
		return err
	}
	return stream.Send(&upgradev1.InstallResponse{Target: systemToProto(target), BootId: node.BootID})
}

// Rollback implements upgradev1.UpgradeServiceServer.
func (s *upgradeService) Rollback(ctx context.Context, req *upgradev1.RollbackRequest) (*upgradev1.RollbackResponse, error) {
	node, err := s.config.Machine.Node(ctx)
	if err != nil {
		return nil, err
	}
	target, err := s.config.Upgrades.Rollback(ctx, req.GetStaged())
	if err != nil {
		return nil, err
	}
	return &upgradev1.RollbackResponse{Target: systemToProto(target), BootId: node.BootID}, nil
}

// Cancel implements upgradev1.UpgradeServiceServer.
func (s *upgradeService) Cancel(ctx context.Context, _ *upgradev1.CancelRequest) (*upgradev1.CancelResponse, error) {
	return &upgradev1.CancelResponse{}, s.config.Upgrades.Cancel(ctx)
}

// Status implements upgradev1.UpgradeServiceServer.
func (s *upgradeService) Status(ctx context.Context, _ *upgradev1.StatusRequest) (*upgradev1.StatusResponse, error) {
	node, err := s.config.Machine.Node(ctx)
	if err != nil {
		return nil, err
	}
	u, err := s.config.Upgrades.UpgradeStatus(ctx)
	if err != nil {
		return nil, err
	}
	resp := &upgradev1.StatusResponse{
		Stage: stageToProto(u.Stage), Running: systemToProto(u.Running), Other: systemToProto(u.Other), Target: systemToProto(u.Target),
		Reason: u.Reason, WrittenBytes: uint64(u.WrittenBytes), TotalBytes: uint64(u.TotalBytes), Deadline: durationpb.New(u.Deadline), BootId: node.BootID,
	}
	for _, g := range u.Gates {
		resp.Gates = append(resp.Gates, &upgradev1.Gate{Name: g.Name, Holds: g.Holds, Reason: g.Reason, Since: timeToProto(g.Since), Waived: g.Waived})
	}
	if l := u.Last; l != nil {
		resp.Last = &upgradev1.Outcome{
			Target: systemToProto(l.Target), From: systemToProto(l.From), Succeeded: l.Succeeded, Reason: l.Reason, At: timeToProto(l.At),
		}
	}
	return resp, nil
}

// Watch implements upgradev1.UpgradeServiceServer.
func (s *upgradeService) Watch(_ *upgradev1.WatchRequest, stream grpc.ServerStreamingServer[upgradev1.WatchResponse]) error {
	return watch(stream.Context(), s.config.changes(), func(ctx context.Context) (*upgradev1.WatchResponse, error) {
		status, err := s.Status(ctx, nil)
		return &upgradev1.WatchResponse{Status: status}, err
	}, stream.Send)
}

// systemToProto leaves out what is none.
func systemToProto(s System) *upgradev1.System {
	if s == (System{}) {
		return nil
	}
	return &upgradev1.System{Version: s.Version, Slot: slotToProto(s.Slot), RootHash: s.RootHash}
}

func stageToProto(s UpgradeStage) upgradev1.Stage {
	switch s {
	case UpgradeIdle:
		return upgradev1.Stage_STAGE_IDLE
	case UpgradeWriting:
		return upgradev1.Stage_STAGE_WRITING
	case UpgradeArmed:
		return upgradev1.Stage_STAGE_ARMED
	case UpgradeTrial:
		return upgradev1.Stage_STAGE_TRIAL
	case UpgradeReverting:
		return upgradev1.Stage_STAGE_REVERTING
	default:
		return upgradev1.Stage_STAGE_UNSPECIFIED
	}
}
