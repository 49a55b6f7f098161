package main

import (
	"strings"
	"testing"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
)

// TestMarkedDevices: the status of a pool names the devices that are marked, with the reason, and no line is there for none.
func TestMarkedDevices(t *testing.T) {
	leaf := &poolv1.Vdev{Name: "/dev/vdb1", State: poolv1.State_STATE_ONLINE, Mark: "10 checksum errors in 10m0s"}
	p := &poolv1.Pool{Name: "tank", Imported: true, Declared: true, Vdevs: []*poolv1.Vdev{{
		Name: "mirror-0", Children: []*poolv1.Vdev{leaf, {Name: "/dev/vdc1", State: poolv1.State_STATE_ONLINE}},
	}}}
	text := func() string {
		var w strings.Builder
		writePools(&w, &poolv1.ListResponse{Pools: []*poolv1.Pool{p}})
		return w.String()
	}
	if got := text(); !strings.Contains(got, "marked:    /dev/vdb1: 10 checksum errors in 10m0s\n") {
		t.Errorf("got %s", got)
	}
	leaf.Mark = ""
	if got := text(); strings.Contains(got, "marked") {
		t.Errorf("without a mark: %s", got)
	}
}
