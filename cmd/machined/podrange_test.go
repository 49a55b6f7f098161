package main

import (
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/storage"
)

// TestPodRangeLiesOnData: the pod range that a node keeps lies in the pool of the volume data, in the dataset that is mounted before all others, and goes with
// it; the workload plane does not see it.
func TestPodRangeLiesOnData(t *testing.T) {
	layout := kube.NodeLayout()
	var in storage.Dataset
	for _, v := range storage.DefaultSpec("/dev/vda").Volumes {
		if v.Name != storage.Data {
			continue
		}
		for _, d := range v.Pool.Datasets {
			if d.Target != "" && len(d.Target) > len(in.Target) && strings.HasPrefix(layout.PodRange, d.Target+"/") {
				in = d
			}
		}
	}
	if in.Name != "var" {
		t.Errorf("%s lies in the dataset %q, want var", layout.PodRange, in.Name)
	}
	if strings.HasPrefix(layout.PodRange, layout.PlaneVar+"/") {
		t.Errorf("%s lies below %s, which the workload plane sees", layout.PodRange, layout.PlaneVar)
	}
}
