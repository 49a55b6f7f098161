package server

import (
	"context"
	"slices"

	"google.golang.org/grpc"

	resetv1 "github.com/cyvive/cyvive/api/proto/reset/v1"
)

// ResetOrder is what is to be wiped, and how.
type ResetOrder struct {
	State, Data bool
	// Forced waits for nothing.
	Forced   bool
	PowerOff bool
	// Confirm is the name of the node that is meant, By the caller's common name.
	Confirm, By string
}

// ResetStage is where a reset is.
type ResetStage int

// The stages; see the protos for what they mean.
const (
	ResetLeaving ResetStage = iota + 1
	ResetArmed
)

// Resets wipes volumes of the node. Safe for concurrent use.
type Resets interface {
	// Reset returns when the node goes down. It is ErrInvalid where the node is not the
	// one that is meant, ErrPrecondition where it cannot be done now. It calls tell from
	// one goroutine; what tell returns, and the end of the context, end nothing once the
	// volumes are to be wiped.
	Reset(ctx context.Context, o ResetOrder, tell func(s ResetStage, what string) error) error
}

// resetService is node.reset.v1 on Resets.
type resetService struct {
	resetv1.UnimplementedResetServiceServer
	config Config
}

// Reset implements resetv1.ResetServiceServer.
func (s *resetService) Reset(req *resetv1.ResetRequest, stream grpc.ServerStreamingServer[resetv1.ResetResponse]) error {
	ctx := stream.Context()
	o := ResetOrder{PowerOff: req.GetPowerOff(), Confirm: req.GetConfirm(), By: subjectOf(ctx)}
	for _, v := range req.GetVolumes() {
		switch v {
		case resetv1.Volume_VOLUME_STATE:
			o.State = true
		case resetv1.Volume_VOLUME_DATA:
			o.Data = true
		default:
			return invalidf("volume %d is not known to this node", v)
		}
	}
	if len(req.GetVolumes()) == 0 {
		return invalidf("no volume is named, expected state, data or both")
	}
	modes := []resetv1.Mode{resetv1.Mode_MODE_UNSPECIFIED, resetv1.Mode_MODE_GRACEFUL, resetv1.Mode_MODE_FORCED}
	if !slices.Contains(modes, req.GetMode()) {
		return invalidf("mode %d is not known to this node", req.GetMode())
	}
	o.Forced = req.GetMode() == resetv1.Mode_MODE_FORCED
	node, err := s.config.Machine.Node(ctx)
	if err != nil {
		return err
	}
	err = s.config.Resets.Reset(ctx, o, func(stage ResetStage, what string) error {
		return stream.Send(&resetv1.ResetResponse{Stage: resetStageToProto(stage), What: what})
	})
	if err != nil {
		return err
	}
	return stream.Send(&resetv1.ResetResponse{Stage: resetv1.Stage_STAGE_ARMED, What: "the node goes down", BootId: node.BootID})
}

func resetStageToProto(s ResetStage) resetv1.Stage {
	switch s {
	case ResetLeaving:
		return resetv1.Stage_STAGE_LEAVING
	case ResetArmed:
		return resetv1.Stage_STAGE_ARMED
	default:
		return resetv1.Stage_STAGE_UNSPECIFIED
	}
}
