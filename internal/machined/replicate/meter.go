package replicate

import "time"

// meterSeconds is over how many seconds a rate is taken.
const meterSeconds = 10

// meter counts bytes, and how many came in the last seconds. Times may come from a clock that is set: what comes out of order counts for the total alone.
type meter struct {
	began   time.Time
	total   uint64
	seconds [meterSeconds]struct {
		number int64
		bytes  uint64
	}
}

func (m *meter) add(now time.Time, n int) {
	m.total += uint64(n)
	number := int64(now.Sub(m.began) / time.Second)
	if number < 0 {
		return
	}
	s := &m.seconds[number%meterSeconds]
	if s.number != number {
		s.number, s.bytes = number, 0
	}
	s.bytes += uint64(n)
}

// perSecond is the rate of the last whole seconds, or of all the time there was if that is less.
func (m *meter) perSecond(now time.Time) uint64 {
	elapsed := now.Sub(m.began)
	number := int64(elapsed / time.Second)
	if number < meterSeconds {
		if elapsed < time.Millisecond {
			return 0
		}
		return uint64(float64(m.total) / elapsed.Seconds())
	}
	sum := uint64(0)
	for _, s := range m.seconds {
		// The second that goes on is left out, with that of the same place before it.
		if s.number < number && s.number >= number-(meterSeconds-1) {
			sum += s.bytes
		}
	}
	return sum / (meterSeconds - 1)
}
