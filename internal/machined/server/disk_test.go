package server_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	diskv1 "github.com/cyvive/cyvive/api/proto/disk/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
)

func shut() *servertest.Node {
	return &servertest.Node{Disks: servertest.Disks{
		RecoveryKey: "secret-key",
		List: []server.Volume{
			{Name: "state", Device: "/dev/vda6", SizeBytes: 1 << 26, Encrypted: true, Recoverable: true, Reason: "does not open"},
			{Name: "data", Device: "/dev/vda7", SizeBytes: 1 << 30, Mounted: true},
		},
	}}
}

// TestDisk takes a node from a disk that does not open to one that is sealed anew.
func TestDisk(t *testing.T) {
	node := shut()
	client := diskv1.NewDiskServiceClient(admin(t, node))
	volumes, err := client.ListVolumes(t.Context(), &diskv1.ListVolumesRequest{})
	check(t, &diskv1.ListVolumesResponse{Volumes: []*diskv1.Volume{
		{Name: "state", Device: "/dev/vda6", SizeBytes: 1 << 26, Encrypted: true, Recoverable: true, Reason: "does not open"},
		{Name: "data", Device: "/dev/vda7", SizeBytes: 1 << 30, Mounted: true},
	}}, volumes, err)
	key, err := client.GetRecoveryKey(t.Context(), &diskv1.GetRecoveryKeyRequest{})
	check(t, &diskv1.GetRecoveryKeyResponse{RecoveryKey: "secret-key"}, key, err)
	for name, c := range map[string]struct {
		call func() error
		want codes.Code
	}{
		"forget another": {func() error {
			_, err := client.ForgetRecoveryKey(t.Context(), &diskv1.ForgetRecoveryKeyRequest{RecoveryKey: "other"})
			return err
		}, codes.InvalidArgument},
		"recover with another": {func() error {
			_, err := client.Recover(t.Context(), &diskv1.RecoverRequest{Volume: "state", RecoveryKey: "other"})
			return err
		}, codes.InvalidArgument},
		"recover nothing": {func() error {
			_, err := client.Recover(t.Context(), &diskv1.RecoverRequest{RecoveryKey: "secret-key"})
			return err
		}, codes.InvalidArgument},
		"recover what is not there": {func() error {
			_, err := client.Recover(t.Context(), &diskv1.RecoverRequest{Volume: "swap", RecoveryKey: "secret-key"})
			return err
		}, codes.NotFound},
		"recover what is open": {func() error {
			_, err := client.Recover(t.Context(), &diskv1.RecoverRequest{Volume: "data", RecoveryKey: "secret-key"})
			return err
		}, codes.FailedPrecondition},
	} {
		if err := c.call(); status.Code(err) != c.want || strings.Contains(err.Error(), "secret-key") {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	forgotten, err := client.ForgetRecoveryKey(t.Context(), &diskv1.ForgetRecoveryKeyRequest{RecoveryKey: "secret-key"})
	check(t, &diskv1.ForgetRecoveryKeyResponse{}, forgotten, err)
	if _, err := client.GetRecoveryKey(t.Context(), &diskv1.GetRecoveryKeyRequest{}); status.Code(err) != codes.NotFound {
		t.Errorf("the key, forgotten: %v", err)
	}
	recovered, err := client.Recover(t.Context(), &diskv1.RecoverRequest{Volume: "state", RecoveryKey: "secret-key"})
	check(t, &diskv1.RecoverResponse{}, recovered, err)
	sealed, err := client.Reseal(t.Context(), &diskv1.ResealRequest{})
	check(t, &diskv1.ResealResponse{}, sealed, err)
	rotated, err := client.RotateKeys(t.Context(), &diskv1.RotateKeysRequest{})
	check(t, &diskv1.RotateKeysResponse{Volumes: []string{"state"}}, rotated, err)
	if node.Disks.Resealed != 1 || node.Disks.Rotated != 1 {
		t.Errorf("sealed %d times, keys changed %d times", node.Disks.Resealed, node.Disks.Rotated)
	}
}
