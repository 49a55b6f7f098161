package server

import (
	"context"
	"time"

	"google.golang.org/grpc"

	kubev1 "github.com/cyvive/cyvive/api/proto/kube/v1"
)

// kubeService is node.kube.v1 on Kube.
type kubeService struct {
	kubev1.UnimplementedKubeServiceServer
	kube Kube
}

// GetKubeconfig implements kubev1.KubeServiceServer.
func (s *kubeService) GetKubeconfig(ctx context.Context, _ *kubev1.GetKubeconfigRequest) (*kubev1.GetKubeconfigResponse, error) {
	k, err := s.kube.Kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	return &kubev1.GetKubeconfigResponse{
		Kubeconfig:  string(k.YAML),
		ClusterName: k.ClusterName,
		ExpiresAt:   timeToProto(k.ExpiresAt),
	}, nil
}

// Bounds of the time that a drain may take.
const (
	defaultDrain = 5 * time.Minute
	minDrain     = time.Second
	maxDrain     = time.Hour
)

// Drain implements kubev1.KubeServiceServer.
func (s *kubeService) Drain(req *kubev1.DrainRequest, stream grpc.ServerStreamingServer[kubev1.DrainResponse]) error {
	o := DrainOptions{Deadline: defaultDrain, Alone: req.GetAlone()}
	if d := req.GetDeadline(); d != nil {
		o.Deadline = d.AsDuration() // saturates
	}
	if o.Deadline < minDrain || o.Deadline > maxDrain {
		return invalidf("a deadline of %s, expected one from %s to %s", o.Deadline, minDrain, maxDrain)
	}
	out, err := s.kube.Drain(stream.Context(), o, func(p DrainProgress) error {
		return stream.Send(&kubev1.DrainResponse{Gone: uint32(p.Gone), Remaining: uint32(p.Remaining), Waiting: p.Waiting})
	})
	if err != nil {
		return err
	}
	return stream.Send(&kubev1.DrainResponse{
		Gone: uint32(out.Gone), Remaining: uint32(out.Remaining), Result: drainResultToProto(out.Result), Reason: out.Reason,
	})
}

func drainResultToProto(r DrainResult) kubev1.DrainResult {
	switch r {
	case DrainComplete:
		return kubev1.DrainResult_DRAIN_RESULT_COMPLETE
	case DrainPartial:
		return kubev1.DrainResult_DRAIN_RESULT_PARTIAL
	case DrainSkipped:
		return kubev1.DrainResult_DRAIN_RESULT_SKIPPED
	default:
		return kubev1.DrainResult_DRAIN_RESULT_UNSPECIFIED
	}
}

// Uncordon implements kubev1.KubeServiceServer.
func (s *kubeService) Uncordon(ctx context.Context, _ *kubev1.UncordonRequest) (*kubev1.UncordonResponse, error) {
	changed, err := s.kube.Uncordon(ctx)
	if err != nil {
		return nil, err
	}
	return &kubev1.UncordonResponse{Changed: changed}, nil
}
