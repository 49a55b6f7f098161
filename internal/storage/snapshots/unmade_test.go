package snapshots

import (
	"context"
	"maps"
	"slices"
	"testing"
)

// TestUnmadeVolumes: a volume of Kubernetes that is being made is not there for a schedule until it has its name. What somebody calls so elsewhere is.
func TestUnmadeVolumes(t *testing.T) {
	m := newModel("tank/volumes", "tank/volumes/pvc-1", "tank/volumes/_new-pvc-2", "tank/data", "tank/data/_new-house")
	r := New(m, m.clock, func(context.Context) (Bases, Unknown, error) { return Bases{}, nil, nil })
	spec := Spec{Policies: []Policy{{
		Name: "p", Prefix: "p-", Keep: Retention{Last: 1}, Targets: []Target{{Dataset: "tank/volumes", Recursive: true}, {Dataset: "tank/data", Recursive: true}},
	}}}
	obs, err := r.Observe(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(obs.Datasets)), []string{"tank/data", "tank/data/_new-house", "tank/volumes", "tank/volumes/pvc-1"}; !slices.Equal(got, want) {
		t.Errorf("seen are %q, want %q", got, want)
	}
}
