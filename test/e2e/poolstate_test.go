package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
)

// pool is what the node says of one of its pools.
func (p *pooled) pool(ctx context.Context, name string) (*poolv1.Pool, error) {
	var list poolv1.ListResponse
	if err := p.ask(ctx, &list, "pool", "status", name); err != nil {
		return nil, err
	}
	if len(list.GetPools()) != 1 {
		return nil, fmt.Errorf("pool status %s has %d pools", name, len(list.GetPools()))
	}
	return list.GetPools()[0], nil
}

// awaitPool waits until a pool fulfils a condition, which returns what is missing.
func (p *pooled) awaitPool(t *testing.T, ctx context.Context, name, what string, missing func(*poolv1.Pool) error) {
	t.Helper()
	eventually(t, ctx, what, func(ctx context.Context) error {
		found, err := p.pool(ctx, name)
		if err != nil {
			return err
		}
		if err := missing(found); err != nil {
			return fmt.Errorf("%w: %s %s %s\n%s", err, found.GetState(), found.GetSummary(), found.GetNext(), found.GetPicture())
		}
		return nil
	})
}

// well is an error for a pool that is not as it should be.
func well(p *poolv1.Pool) error {
	if !p.GetImported() || !p.GetHealthy() || p.GetState() != poolv1.State_STATE_ONLINE || p.GetDataErrors() > 0 || len(p.GetWaiting()) > 0 {
		return errors.New("the pool is not well")
	}
	return nil
}

// devices are the vdevs of a pool that are no groups.
func devices(vdevs []*poolv1.Vdev) (all []*poolv1.Vdev) {
	for _, v := range vdevs {
		if len(v.GetChildren()) == 0 {
			all = append(all, v)
		}
		all = append(all, devices(v.GetChildren())...)
	}
	return all
}

// goneStates are those of a device that the pool cannot use.
func goneStates() []poolv1.State {
	return []poolv1.State{poolv1.State_STATE_REMOVED, poolv1.State_STATE_FAULTED, poolv1.State_STATE_UNAVAILABLE}
}

// lost are the devices that the pool has no use of any more.
func lost(p *poolv1.Pool) (all []*poolv1.Vdev) {
	for _, v := range devices(p.GetVdevs()) {
		if v.GetClass() != poolv1.Class_CLASS_SPARE && slices.Contains(goneStates(), v.GetState()) {
			all = append(all, v)
		}
	}
	return all
}

// spares are the states of a pool's spares.
func spares(p *poolv1.Pool) (all []poolv1.State) {
	for _, v := range devices(p.GetVdevs()) {
		if v.GetClass() == poolv1.Class_CLASS_SPARE {
			all = append(all, v.GetState())
		}
	}
	return all
}

func resilvered(p *poolv1.Pool) bool {
	s := p.GetScan()
	return s.GetFunction() == poolv1.Function_FUNCTION_RESILVER && s.GetProgress() == poolv1.Progress_PROGRESS_FINISHED && s.GetErrors() == 0
}

// spareBack is an error for a pool of which not two devices are there, and a spare that waits. Errors of the device that was pulled may be counted still.
func spareBack(p *poolv1.Pool) error {
	data := 0
	for _, v := range devices(p.GetVdevs()) {
		if v.GetClass() == poolv1.Class_CLASS_DATA && v.GetState() == poolv1.State_STATE_ONLINE {
			data++
		}
	}
	if p.GetState() != poolv1.State_STATE_ONLINE || data != 2 || !slices.Equal(spares(p), []poolv1.State{poolv1.State_STATE_AVAILABLE}) {
		return fmt.Errorf("%d devices are online, spares are %v", data, spares(p))
	}
	return nil
}

// scrubbed is an error for a pool whose last scan is no scrub that has ended without an error.
func scrubbed(p *poolv1.Pool) error {
	s := p.GetScan()
	if s.GetFunction() != poolv1.Function_FUNCTION_SCRUB || s.GetProgress() != poolv1.Progress_PROGRESS_FINISHED {
		return errors.New("it is not scrubbed")
	}
	if s.GetErrors() > 0 || p.GetDataErrors() > 0 {
		return fmt.Errorf("the scrub found %d errors, the pool has %d", s.GetErrors(), p.GetDataErrors())
	}
	return nil
}
