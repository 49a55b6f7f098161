package gates

import "k8s.io/component-base/featuregate"

// Gate is what stands for the process's own gate, and that.
func Gate() (standing, own featuregate.MutableVersionedFeatureGate) {
	return held, held.MutableVersionedFeatureGate
}

// Held are the names of the features that were held back.
func Held() map[featuregate.Feature]bool {
	names := map[featuregate.Feature]bool{}
	for name := range held.held {
		names[name] = true
	}
	return names
}
