package snapshots

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestUnknownBases: where it is not known what replication needs of one pool, nothing of that is pruned, and others are.
func TestUnknownBases(t *testing.T) {
	for what, c := range map[string]struct {
		unknown Unknown
		err     error
		want    []string
	}{
		"all is known":      {want: []string{"bad/x", "badly/x", "good/x"}},
		"one is suspended":  {unknown: Unknown{"bad": "its pool is suspended"}, want: []string{"badly/x", "good/x"}},
		"nothing is known":  {err: errors.New("no configuration"), want: nil},
		"all, as is stated": {unknown: Unknown{"": "no configuration"}, want: nil},
	} {
		t.Run(what, func(t *testing.T) {
			datasets := []string{"bad/x", "badly/x", "good/x"}
			m := newModel(datasets...)
			spec := Spec{Policies: []Policy{{Name: "p", Prefix: "p-", Keep: Retention{Last: 1}}}}
			for _, d := range datasets {
				spec.Policies[0].Targets = append(spec.Policies[0].Targets, Target{Dataset: d})
				for range 3 {
					m.pass(time.Hour)
					name := Name("p-", m.now, func(string) bool { return false })
					if err := m.Snapshot(t.Context(), []string{d + "@" + name}, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			r := New(m, m.clock, func(context.Context) (Bases, Unknown, error) { return Bases{}, c.unknown, c.err })
			obs, err := r.Observe(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, op := range r.Diff(spec, obs) {
				for _, name := range op.Snapshots {
					if dataset, _, _ := strings.Cut(name, "@"); op.Verb == Prune && !slices.Contains(got, dataset) {
						got = append(got, dataset)
					}
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("pruned on %q, want %q", got, c.want)
			}
		})
	}
}

// silent is a system of which one pool answers only when the context ends.
type silent struct{ *model }

func (s silent) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	if strings.HasPrefix(q.Roots[0], "bad/") {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return s.model.List(ctx, q)
}

// TestSilentPool: a pool that does not answer keeps the others waiting for some time, and no longer.
func TestSilentPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel("bad/x", "good/x")
		spec := Spec{Policies: []Policy{{Name: "p", Prefix: "p-", Targets: []Target{{Dataset: "bad/x"}, {Dataset: "good/x"}}}}}
		r := New(silent{m}, m.clock, func(context.Context) (Bases, Unknown, error) { return Bases{}, nil, nil })
		began := time.Now()
		obs, err := r.Observe(t.Context(), spec)
		if took := time.Since(began); err != nil || took > 2*patience {
			t.Fatalf("after %s: %v", took, err)
		}
		if _, found := obs.Datasets["good/x"]; !found || !strings.Contains(obs.Missing["bad/x"], "no answer within") {
			t.Errorf("found %v, missing %v", obs.Datasets, obs.Missing)
		}
	})
}
