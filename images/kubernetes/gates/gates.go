// Package gates keeps the feature gates of Kubernetes' own programs apart from those of the CSI controllers that are linked into the same program.
//
// Both register their features in k8s.io/apiserver/pkg/util/feature when their packages are initialized, and some have one name: VolumeAttributesClass is
// one of Kubernetes', with a history of versions, and one of external-provisioner's and -resizer's, without. A name that comes back as something else is an
// error, and Kubernetes panics with it: as the controllers' packages are initialized first, kubelet and kube-apiserver would not start.
//
// So this package puts a gate of its own in the place where they register. It passes on what has versions, as all of Kubernetes' features do, and holds back
// the others. It is in time because of its import path: of the packages whose imports are initialized, Go initializes the first by path (The Go Programming
// Language Specification, "Package initialization"; since Go 1.21). Those of the controllers import all that this one does, and begin with
// github.com/kubernetes-csi.
package gates

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
)

// held stands for the gate of the process until Restore.
var held *holding

func init() {
	held = &holding{MutableVersionedFeatureGate: utilfeature.DefaultMutableFeatureGate, held: map[featuregate.Feature]featuregate.FeatureSpec{}}
	utilfeature.DefaultMutableFeatureGate = held
}

// holding is a feature gate that holds back features without versions. It is used from one goroutine: that of initialization, then that of main.
type holding struct {
	featuregate.MutableVersionedFeatureGate
	held map[featuregate.Feature]featuregate.FeatureSpec
}

// Add implements featuregate.MutableFeatureGate.
func (h *holding) Add(features map[featuregate.Feature]featuregate.FeatureSpec) error {
	for name, spec := range features {
		h.held[name] = spec
	}
	return nil
}

// Restore puts the process's own gate back. To be called first in main.
func Restore() { utilfeature.DefaultMutableFeatureGate = held.MutableVersionedFeatureGate }

// Register adds what was held back, but for the names that Kubernetes has: those stay as Kubernetes has them. To be called, once, by the program that runs the
// controllers, before it does: they panic when they ask for a feature that is not there.
func Register() error {
	known := held.GetAllVersioned()
	add := map[featuregate.Feature]featuregate.VersionedSpecs{}
	for name, spec := range held.held {
		if _, ok := known[name]; ok {
			continue
		}
		spec.Version = version.MajorMinor(0, 0) // as Add has it: whatever version is emulated
		add[name] = featuregate.VersionedSpecs{spec}
	}
	if err := held.AddVersioned(add); err != nil {
		return fmt.Errorf("register the features of the CSI controllers: %w", err)
	}
	return nil
}
