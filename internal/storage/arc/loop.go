package arc

import (
	"errors"
	"fmt"
	"time"
)

// Module is the kernel's side. Package module implements it.
type Module interface {
	// Stats are those of now.
	Stats() (Stats, error)
	// Pressure is that on memory; ErrNoPressure where the kernel measures none.
	Pressure() (Pressure, error)
	// SetLimits sets both, the smaller first, and fails where the module does not take them.
	SetLimits(Limits) error
}

// Step measures once, and sets the limits if they are to be others. It returns those that are in force. Where no pressure is measured there is a limit all the same.
func (g *Governor) Step(now time.Time, m Module, rule uint64) (Limits, error) {
	s, err := m.Stats()
	if err != nil {
		return Limits{}, err
	}
	p, err := m.Pressure()
	if err != nil && !errors.Is(err, ErrNoPressure) {
		return Limits{MinBytes: s.MinBytes, MaxBytes: s.MaxBytes}, err
	}
	want := g.Limit(now, p, rule, s.SizeBytes)
	if s.MinBytes == want.MinBytes && s.MaxBytes == want.MaxBytes {
		return want, nil
	}
	if err := m.SetLimits(want); err != nil {
		return Limits{MinBytes: s.MinBytes, MaxBytes: s.MaxBytes}, fmt.Errorf("limit the ARC to %d MiB: %w", want.MaxBytes>>20, err)
	}
	return want, nil
}
