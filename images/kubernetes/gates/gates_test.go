// The test is no part of the package: what it imports the package would import, too, and be initialized after it.
package gates_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	provisioner "github.com/kubernetes-csi/external-provisioner/v6/pkg/features"
	resizer "github.com/kubernetes-csi/external-resizer/v2/pkg/features"
	snapshotter "github.com/kubernetes-csi/external-snapshotter/v8/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	kubernetes "k8s.io/kubernetes/pkg/features"

	"github.com/cyvive/cyvive/images/kubernetes/gates"
)

// TestGates has the features of all of them in one process. That it runs at all shows most: without the package, the initialization of Kubernetes' own panics.
func TestGates(t *testing.T) {
	standing, own := gates.Gate()
	if utilfeature.DefaultMutableFeatureGate != standing || utilfeature.DefaultFeatureGate != featuregate.FeatureGate(own) {
		t.Error("the gate was not put in place, or is asked itself")
	}
	csiOnly := []featuregate.Feature{provisioner.Topology, provisioner.ReleaseLeaderElectionOnExit, resizer.AnnotateFsResize, snapshotter.VolumeGroupSnapshot}
	both := map[featuregate.Feature]bool{
		kubernetes.VolumeAttributesClass: true, kubernetes.RecoverVolumeExpansionFailure: true, kubernetes.CrossNamespaceVolumeDataSource: false,
	}
	for name := range both {
		if !gates.Held()[name] {
			t.Errorf("%s was not held back: the controllers do not have it any more", name)
		}
	}
	before := own.GetAllVersioned()
	for _, name := range csiOnly {
		if _, ok := before[name]; ok {
			t.Errorf("%s is one of Kubernetes' programs", name)
		}
	}
	gates.Restore()
	if utilfeature.DefaultMutableFeatureGate != own {
		t.Error("the process's own gate was not put back")
	}
	if err := gates.Register(); err != nil {
		t.Fatal(err)
	}
	after := own.GetAllVersioned()
	for _, name := range csiOnly {
		if _, ok := after[name]; !ok {
			t.Errorf("%s is not registered", name)
		}
		delete(after, name)
	}
	if diff := cmp.Diff(versions(before), versions(after)); diff != "" {
		t.Errorf("features beside those of the controllers (-before +after):\n%s", diff)
	}
	for name, want := range both {
		if got := utilfeature.DefaultFeatureGate.Enabled(name); got != want {
			t.Errorf("%s: got %t, want %t", name, got, want)
		}
		if specs := after[name]; len(specs) == 0 || specs[0].Version.Major() == 0 {
			t.Errorf("%s is not as Kubernetes has it: %v", name, specs)
		}
	}
}

// versions counts those of each feature.
func versions(features map[featuregate.Feature]featuregate.VersionedSpecs) map[featuregate.Feature]int {
	out := map[featuregate.Feature]int{}
	for name, specs := range features {
		out[name] = len(specs)
	}
	return out
}
