package csi_test

import (
	"strings"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// TestValidate: what a volume has is confirmed, and of what it has not the answer says why.
func TestValidate(t *testing.T) {
	b := newBench(t)
	b.create("a", "ext4", with("parent=tank/k8s", "fsType=ext4"))
	for _, c := range []struct {
		name   string
		change func(*spec.ValidateVolumeCapabilitiesRequest)
		want   string
	}{
		{"as it is", func(*spec.ValidateVolumeCapabilitiesRequest) {}, ""},
		{"as it was made", func(r *spec.ValidateVolumeCapabilitiesRequest) {
			r.Parameters = map[string]string{"parent": "tank/k8s", "fsType": "ext4"}
			r.VolumeContext = map[string]string{"generation": "1", "storage.kubernetes.io/csiProvisionerIdentity": "x"}
		}, ""},
		{"a device", func(r *spec.ValidateVolumeCapabilitiesRequest) {
			r.VolumeCapabilities = append(r.VolumeCapabilities, capability("block"))
		}, "is a file system, not a device"},
		{"another file system", func(r *spec.ValidateVolumeCapabilitiesRequest) {
			r.VolumeCapabilities[0] = capability("xfs")
		}, "has the file system ext4"},
		{"many nodes", func(r *spec.ValidateVolumeCapabilitiesRequest) {
			r.VolumeCapabilities[0] = capability("", spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)
		}, "cannot be used on others"},
		{"another parent", func(r *spec.ValidateVolumeCapabilitiesRequest) {
			r.Parameters = map[string]string{"parent": "node/plane/volumes"}
		}, "is below tank/k8s"},
		{"no such parameter", func(r *spec.ValidateVolumeCapabilitiesRequest) {
			r.Parameters = map[string]string{"sync": "disabled"}
		}, "none that can be chosen"},
		{"a newer copy", func(r *spec.ValidateVolumeCapabilitiesRequest) {
			r.VolumeContext = map[string]string{"generation": "2"}
		}, "copy of generation 1"},
		{"no generation", func(r *spec.ValidateVolumeCapabilitiesRequest) {
			r.VolumeContext = map[string]string{"generation": "x"}
		}, "is no number"},
	} {
		r := &spec.ValidateVolumeCapabilitiesRequest{VolumeId: "a", VolumeCapabilities: []*spec.VolumeCapability{capability("ext4")}}
		c.change(r)
		answer, err := b.ValidateVolumeCapabilities(b.ctx, r)
		b.must(err)
		if n := len(answer.GetMessage()); n > 128 {
			t.Errorf("%s: a message of %d bytes, and CSI lets it have 128", c.name, n)
		}
		if got := answer.GetMessage(); (answer.GetConfirmed() != nil) != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: confirmed %t, %q; want %q", c.name, answer.GetConfirmed() != nil, got, c.want)
		}
	}
	_, err := b.ValidateVolumeCapabilities(b.ctx, &spec.ValidateVolumeCapabilitiesRequest{
		VolumeId: "gone", VolumeCapabilities: []*spec.VolumeCapability{capability("")},
	})
	b.code("of none", err, codes.NotFound)
	_, err = b.ValidateVolumeCapabilities(b.ctx, &spec.ValidateVolumeCapabilitiesRequest{VolumeId: "a"})
	b.code("without capabilities", err, codes.InvalidArgument)
}
