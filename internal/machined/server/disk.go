package server

import (
	"context"

	diskv1 "github.com/cyvive/cyvive/api/proto/disk/v1"
)

// diskService is node.disk.v1 on Disks.
type diskService struct {
	diskv1.UnimplementedDiskServiceServer
	disks Disks
}

// ListVolumes implements diskv1.DiskServiceServer.
func (s *diskService) ListVolumes(ctx context.Context, _ *diskv1.ListVolumesRequest) (*diskv1.ListVolumesResponse, error) {
	list, err := s.disks.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	resp := &diskv1.ListVolumesResponse{}
	for _, v := range list {
		resp.Volumes = append(resp.Volumes, &diskv1.Volume{
			Name: v.Name, Device: v.Device, SizeBytes: v.SizeBytes, Mounted: v.Mounted, Encrypted: v.Encrypted, Recoverable: v.Recoverable,
			Reason: v.Reason,
		})
	}
	return resp, nil
}

// GetRecoveryKey implements diskv1.DiskServiceServer.
func (s *diskService) GetRecoveryKey(ctx context.Context, _ *diskv1.GetRecoveryKeyRequest) (*diskv1.GetRecoveryKeyResponse, error) {
	key, err := s.disks.RecoveryKey(ctx)
	if err != nil {
		return nil, err
	}
	return &diskv1.GetRecoveryKeyResponse{RecoveryKey: key}, nil
}

// ForgetRecoveryKey implements diskv1.DiskServiceServer.
func (s *diskService) ForgetRecoveryKey(ctx context.Context, req *diskv1.ForgetRecoveryKeyRequest) (*diskv1.ForgetRecoveryKeyResponse, error) {
	if err := s.disks.ForgetRecoveryKey(ctx, req.GetRecoveryKey()); err != nil {
		return nil, err
	}
	return &diskv1.ForgetRecoveryKeyResponse{}, nil
}

// Recover implements diskv1.DiskServiceServer.
func (s *diskService) Recover(ctx context.Context, req *diskv1.RecoverRequest) (*diskv1.RecoverResponse, error) {
	if req.GetVolume() == "" {
		return nil, invalidf("no volume is named")
	}
	if err := s.disks.Recover(ctx, req.GetVolume(), req.GetRecoveryKey()); err != nil {
		return nil, err
	}
	return &diskv1.RecoverResponse{}, nil
}

// Reseal implements diskv1.DiskServiceServer.
func (s *diskService) Reseal(ctx context.Context, _ *diskv1.ResealRequest) (*diskv1.ResealResponse, error) {
	if err := s.disks.Reseal(ctx); err != nil {
		return nil, err
	}
	return &diskv1.ResealResponse{}, nil
}

// RotateKeys implements diskv1.DiskServiceServer.
func (s *diskService) RotateKeys(ctx context.Context, _ *diskv1.RotateKeysRequest) (*diskv1.RotateKeysResponse, error) {
	names, err := s.disks.RotateKeys(ctx)
	if err != nil {
		return nil, err
	}
	return &diskv1.RotateKeysResponse{Volumes: names}, nil
}
