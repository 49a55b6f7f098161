package timesync

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Sample is what one server says.
type Sample struct {
	Server string
	// Offset is what has to be added to the node's clock, Distance the most by which that may be wrong.
	Offset, Distance time.Duration
}

// ErrDisagree says that no time has more than half of the servers for it.
var ErrDisagree = errors.New("the time servers do not agree with each other")

// Pick returns the sample of least distance among those that are right together: the largest number of samples whose intervals, each of a sample's distance
// around its offset, have a point in common (Marzullo's algorithm, RFC 5905 section 11.2.1). More than half must. The error names the samples.
func Pick(samples []Sample) (Sample, error) {
	var best []Sample
	for _, s := range samples {
		// An intersection of intervals begins where one of them begins.
		at := s.Offset - s.Distance
		var agree []Sample
		for _, o := range samples {
			if o.Offset-o.Distance <= at && at <= o.Offset+o.Distance {
				agree = append(agree, o)
			}
		}
		if len(agree) > len(best) {
			best = agree
		}
	}
	if 2*len(best) <= len(samples) {
		var texts []string
		for _, s := range samples {
			texts = append(texts, fmt.Sprintf("%s says %s", s.Server, s.Offset.Round(time.Millisecond)))
		}
		slices.Sort(texts)
		return Sample{}, fmt.Errorf("%w: %v", ErrDisagree, texts)
	}
	return slices.MinFunc(best, func(a, b Sample) int {
		return cmp.Or(cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.Server, b.Server))
	}), nil
}

// Correction is what is done about an offset.
type Correction int

// The corrections.
const (
	Slew Correction = iota + 1
	Step
	Refuse
)

const (
	// maxSlew is the largest offset that is slewed: the kernel's loop takes 0.5 s at most (MAXPHASE, include/linux/timex.h).
	maxSlew = 400 * time.Millisecond
	// maxLater is the largest step after the first correction of a boot; RFC 5905 calls it the panic threshold.
	maxLater = 1000 * time.Second
)

// Decide says what to do about an offset, in a boot whose clock was corrected before or not.
func Decide(offset time.Duration, before bool) Correction {
	switch {
	case offset.Abs() <= maxSlew:
		return Slew
	case before && offset.Abs() > maxLater:
		return Refuse
	}
	return Step
}

const (
	// MinPoll and MaxPoll bound the time between two questions, once the clock is right.
	MinPoll = 64 * time.Second
	MaxPoll = 1024 * time.Second
	// near is how close the clock has to be for servers to be asked less often.
	near = 20 * time.Millisecond
)

// nextPoll is the time until servers are asked again, after the time before and the offset that was found.
func nextPoll(last, offset time.Duration) time.Duration {
	if last == 0 || offset.Abs() > near {
		return MinPoll
	}
	return min(2*last, MaxPoll)
}
