package server

import (
	"context"

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
